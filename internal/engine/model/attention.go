package model

import (
	"math"

	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// Causal attention over trees. A query of the prompt sees the prompt up to
// itself; a query of a branch sees the whole prompt and its branch up to
// itself; in a windowed layer only the last of these keys. The unit of work is
// one query head of one prompt or branch (backward: of one tree): units write
// disjoint memory, so the result is the same for any number of threads.
//
// Scores of a block of queries are products against the prompt's keys and
// against the branch's own, side by side in one row per query, and exist for
// that block only; each query's values are accumulated over keys in the order
// of their positions. Among a segment's own keys, a block works in steps of
// diagonal queries, so that little is computed that no query sees.

// attnScratch is one worker's memory.
type attnScratch struct {
	probs, grads []float32 // [block, keys]
}

// queryBlock is the number of queries whose scores are held at once: about
// 256 KiB of them, so that they stay in the second-level cache.
func queryBlock(keys int) int { return max(16, min(128, (1<<16)/max(1, keys)&^15)) }

// diagonal is the number of queries that share a range of own keys: a multiple
// of the strips of rows that the kernels like, in bfloat16 of those of its.
const (
	diagonal     = 28
	diagonalHalf = 64
)

// step is diagonal or diagonalHalf.
func (b *queries) step() int {
	if b.half {
		return diagonalHalf
	}
	return diagonal
}

// scores returns worker's memory for n scores in each buffer.
func (w *Workspace) scores(worker, n int) *attnScratch {
	s := &w.workers[worker]
	if len(s.probs) < n {
		s.probs, s.grads = make([]float32, n), make([]float32, n)
	}
	return s
}

// keys is a run of keys and values: rows [row, row+n) of k and v [., V], with
// their gradients per query head in dk and dv [., Q].
type keys struct {
	row, n       int
	k, v, dk, dv []float32
}

// own returns the keys of a segment of the stage.
func (w *Workspace) own(s *acts, g segment) keys {
	k := keys{row: g.row, n: g.n, k: s.k, v: s.v, dk: w.dkq, dv: w.dvq}
	if s.dkq != nil {
		k.dk, k.dv = s.dkq, s.dvq
	}
	return k
}

// prefix returns the keys that a segment sees besides its own in layer l.
func (w *Workspace) prefix(l int, s *acts, prompt int) keys {
	switch prompt {
	case nothing:
		return keys{}
	case theTrunk:
		t := &w.trunk.layers[l]
		return keys{n: len(w.trunk.forest.tokens), k: t.k, v: t.v, dk: t.dkq, dv: t.dvq}
	}
	return w.own(s, w.forest.segments[prompt])
}

// attend sets s.o and s.lse of layer l from s.q, s.k and s.v.
func (w *Workspace) attend(l int, s *acts) {
	w.window = w.model.Config.Kind(l).Window
	w.each(w.pool.Threads(), 1, attendLanes, op{s: s, l: l, n: w.pool.Threads()})
}

// attendLanes gives every thread each o.n-th unit: heads cost alike, segments do
// not.
func attendLanes(w *Workspace, o *op, worker, lo, hi int) {
	heads := w.model.Config.Heads
	for lane := lo; lane < hi; lane++ {
		for unit := lane; unit < len(w.forest.segments)*heads; unit += o.n {
			own := w.forest.segments[unit/heads]
			w.attendSegment(o.s, worker, unit%heads, w.prefix(o.l, o.s, own.prompt), w.own(o.s, own))
		}
	}
}

// attendSegment computes one head of the queries of own, which see all keys of
// prompt and own's up to themselves.
func (w *Workspace) attendSegment(s *acts, worker, head int, prompt, own keys) {
	block := queryBlock(prompt.n + own.n)
	scratch := w.scores(worker, block*(prompt.n+own.n))
	for first := 0; first < own.n; first += block {
		b := w.block(head, prompt, own, first, min(block, own.n-first))
		q := s.q[b.row*b.ldq+b.q:]
		b.against(scratch.probs, q, b.prompt.k, b.own.k, b.scale, false)
		for i := range b.n {
			row := scratch.probs[i*b.keys : (i+1)*b.keys]
			lo, hi := b.seen(i)
			seen := row[lo:hi]
			top := kernel.Max(seen)
			sum := kernel.ExpSub(seen, seen, top)
			kernel.Scale(seen, float32(1/sum))
			clear(row[:lo])
			clear(row[hi:b.reach(i)])
			s.lse[(b.row+i)*w.model.Config.Heads+head] = top + float32(math.Log(sum))
		}
		b.weighted(s.o[b.row*b.ldq+b.q:], scratch.probs, b.prompt.v, b.own.v, 1)
	}
}

// queries is a block of n queries of one head with the keys they may see.
type queries struct {
	row, n      int // first row and number of queries
	first       int // of own, that the block's first query is
	prompt, own keys
	keys        int // prompt.n + first + n: width of a row of scores
	skip        int // keys at the beginning of the sequence that none of them sees
	window      int
	dim         int
	scale       float32
	half        bool // products in bfloat16
	q, kv       int  // column of the head in a row of q, and of k and v
	ldq, ldk    int
}

func (w *Workspace) block(head int, prompt, own keys, first, n int) queries {
	c := &w.model.Config
	b := queries{row: own.row + first, n: n, first: first, prompt: prompt, own: own, window: w.window,
		dim: c.HeadDim, scale: c.ScoreScale(),
		q: head * c.HeadDim, kv: head / (c.Heads / c.KVHeads) * c.HeadDim, ldq: c.Heads * c.HeadDim, ldk: c.KVHeads * c.HeadDim}
	if w.window > 0 { // keys before the first query's window are not computed
		b.skip = max(0, prompt.n+first+1-w.window)
		ofPrompt := min(b.skip, prompt.n)
		b.prompt.row += ofPrompt
		b.prompt.n -= ofPrompt
		ofOwn := b.skip - ofPrompt
		b.own.row += ofOwn
		b.own.n -= ofOwn
		b.first -= ofOwn
	}
	b.keys = b.prompt.n + b.first + n
	return b
}

// seen is the range of keys that query i sees.
func (b *queries) seen(i int) (lo, hi int) {
	hi = b.prompt.n + b.first + i + 1
	if b.window > 0 {
		lo = max(0, hi-b.window)
	}
	return lo, hi
}

// reach is the number of keys for which scores of query i are computed.
func (b *queries) reach(i int) int {
	return b.prompt.n + b.first + min(b.n, i/b.step()*b.step()+b.step())
}

// against sets dst [n, keys], up to the reach of each query, to alpha x (keys'
// rows of prompt and own)ᵀ, x [n, dim] being rows of width ldq.
func (b *queries) against(dst, x, prompt, own []float32, alpha float32, fine bool) {
	if b.prompt.n > 0 {
		b.nt(dst, x, prompt[b.prompt.row*b.ldk+b.kv:], b.n, b.prompt.n, alpha, fine)
	}
	step := b.step()
	for i := 0; i < b.n; i += step {
		m := min(step, b.n-i)
		b.nt(dst[i*b.keys+b.prompt.n:], x[i*b.ldq:], own[b.own.row*b.ldk+b.kv:], m, b.first+i+m, alpha, fine)
	}
}

// nt sets dst [m, n] of width keys to alpha x yᵀ, y being rows of width ldk.
func (b *queries) nt(dst, x, y []float32, m, n int, alpha float32, fine bool) {
	if b.half {
		kernel.HalfNT(dst, b.keys, x, b.ldq, y, b.ldk, m, n, b.dim, alpha, false, fine)
	} else {
		kernel.GemmNT(dst, b.keys, x, b.ldq, y, b.ldk, m, n, b.dim, alpha, false)
	}
}

// weighted sets dst [n, dim] (rows of width ldq) to p [n, keys] times the keys'
// rows of prompt and own, times alpha.
func (b *queries) weighted(dst, p, prompt, own []float32, alpha float32) {
	product, acc, step := kernel.GemmNN, false, b.step()
	if b.half {
		product = kernel.HalfNN
	}
	if b.prompt.n > 0 {
		product(dst, b.ldq, p, b.keys, prompt[b.prompt.row*b.ldk+b.kv:], b.ldk, b.n, b.dim, b.prompt.n, alpha, false)
		acc = true
	}
	for i := 0; i < b.n; i += step {
		m := min(step, b.n-i)
		product(dst[i*b.ldq:], b.ldq, p[i*b.keys+b.prompt.n:], b.keys, own[b.own.row*b.ldk+b.kv:], b.ldk, m, b.dim, b.first+i+m, alpha, acc)
	}
}
