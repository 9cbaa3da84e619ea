package model

import (
	"math"

	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// Causal attention over trees. A query of the prompt sees the prompt up to
// itself; a query of a branch sees the whole prompt and its branch up to
// itself; in a windowed layer only the last of these keys. The unit of work is
// one query head of a piece of a prompt or branch (attention_units.go): units write
// disjoint memory or wait for each other, so the result is the same for any number
// of threads.
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

// keys is a run of keys and values: rows [row, row+n) of k and v [., V], with
// their gradients per query head in dk and dv [., Q], and where its panels are.
type keys struct {
	row, n       int
	slot         int // of the first row's key in the panels
	skip         int // keys of the run that lie before row
	k, v, dk, dv []float32
}

// own returns the keys of the index-th segment of the stage.
func (w *Workspace) own(s *acts, index int) keys {
	g := w.forest.segments[index]
	k := keys{row: g.row, n: g.n, slot: slot(g.row, index), k: s.k, v: s.v}
	if w.seesTrunk() {
		k.slot += panelsOf(len(w.trunk.forest.tokens)) * kernel.Panel
	}
	k.dk, k.dv = w.keyGradients(s)
	return k
}

// keyGradients returns the gradients of the stage's keys and values per query head.
func (w *Workspace) keyGradients(s *acts) (dk, dv []float32) {
	if s.dkq != nil {
		return s.dkq, s.dvq
	}
	return w.dkq, w.dvq
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
	return w.own(s, prompt)
}

// attend sets s.o and s.lse of layer l from s.q, s.k and s.v.
func (w *Workspace) attend(l int, s *acts) {
	w.window = w.model.Config.Kind(l).Window
	w.arrange(l, s, false)
	w.begin(w.piecesOf(0, len(w.forest.segments)) * w.model.Config.Heads)
	w.each(w.pool.Threads(), 1, attendUnits, op{s: s, l: l})
}

// attendUnits computes units as long as there are any.
func attendUnits(w *Workspace, o *op, worker, _, _ int) {
	for {
		n, ok := w.units.take()
		if !ok {
			return
		}
		head, p := w.unit(n)
		w.attendPiece(o.s, worker, head, w.prefix(o.l, o.s, w.forest.segments[p.segment].prompt), w.own(o.s, p.segment), p)
	}
}

// attendPiece computes one head of a piece of the queries of own, which see all keys
// of prompt and own's up to themselves.
func (w *Workspace) attendPiece(s *acts, worker, head int, prompt, own keys, p piece) {
	block, scratch := queryBlock(prompt.n+own.n), &w.workers[worker]
	for first := p.first; first < p.end; first += block {
		b := w.block(head, prompt, own, first, min(block, p.end-first), false)
		q := s.q[b.row*b.ldq+b.q:]
		b.against(scratch.probs, q, turnedKeys)
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
		b.weighted(s.o[b.row*b.ldq+b.q:], scratch.probs, valuePanels)
	}
}

// queries is a block of n queries of one head with the keys they may see.
type queries struct {
	row, n      int // first row and number of queries
	first       int // of own, that the block's first query is
	prompt, own keys
	keys        int // prompt.n + first + n: width of a row of scores
	window      int
	dim         int
	scale       float32
	half        bool // products in bfloat16
	panels      *keyPanels
	head        int // of keys
	q, kv       int // column of the head in a row of q, and of k and v
	ldq, ldk    int
}

func (w *Workspace) block(head int, prompt, own keys, first, n int, half bool) queries {
	c, kv := &w.model.Config, head/(w.model.Config.Heads/w.model.Config.KVHeads)
	b := queries{half: half, panels: &w.panels, head: kv, row: own.row + first, n: n, first: first, prompt: prompt, own: own, window: w.window,
		dim: c.HeadDim, scale: c.ScoreScale(),
		q: head * c.HeadDim, kv: kv * c.HeadDim, ldq: c.Heads * c.HeadDim, ldk: c.KVHeads * c.HeadDim}
	if w.window > 0 { // keys before the first query's window are not computed
		skip := max(0, prompt.n+first+1-w.window)
		ofPrompt := min(skip, prompt.n)
		b.prompt.drop(ofPrompt, half)
		b.own.drop(skip-ofPrompt, half)
		b.first -= b.own.skip
	}
	b.keys = b.prompt.n + b.first + n
	return b
}

// drop takes the first n keys from a run, as many of them as fill panels.
func (k *keys) drop(n int, half bool) {
	if !half && n < k.n {
		n -= n % kernel.Panel
	}
	k.row, k.n, k.skip = k.row+n, k.n-n, k.skip+n
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

// against sets dst [n, keys], up to the reach of each query, to x (rows of prompt and
// own in a part of the panels)ᵀ, x [n, dim] being rows of width ldq.
func (b *queries) against(dst, x []float32, part int) {
	if b.prompt.n > 0 {
		b.scores(dst, x, &b.prompt, part, b.n, b.prompt.n)
	}
	for i := 0; i < b.n; i += diagonal {
		m := min(diagonal, b.n-i)
		b.scores(dst[i*b.keys+b.prompt.n:], x[i*b.ldq:], &b.own, part, m, b.first+i+m)
	}
}

// scores sets dst [m, n] of width keys to x yᵀ, y being the first n keys of k.
func (b *queries) scores(dst, x []float32, k *keys, part, m, n int) {
	y := b.panels.turned(part, b.head, k.slot+k.skip, b.dim)
	kernel.GemmPanels(dst, b.keys, x, b.ldq, y, turnedDepth(b.dim), m, n, b.dim, false)
}

// weighted sets dst [n, dim] (rows of width ldq) to p [n, keys] times the rows of
// prompt and own in a part of the panels.
func (b *queries) weighted(dst, p []float32, part int) {
	if b.prompt.n > 0 {
		b.sums(dst, p, &b.prompt, part, b.n, b.prompt.n, false)
	}
	for i := 0; i < b.n; i += diagonal {
		m := min(diagonal, b.n-i)
		b.sums(dst[i*b.ldq:], p[i*b.keys+b.prompt.n:], &b.own, part, m, b.first+i+m, b.prompt.n > 0)
	}
}

// sums sets dst [m, dim] to p [m, n] of width keys times the first n keys of k; acc:
// adds.
func (b *queries) sums(dst, p []float32, k *keys, part, m, n int, acc bool) {
	y := b.panels.upright(part, b.head, k.slot, b.dim)[k.skip*kernel.Panel:]
	kernel.GemmPanels(dst, b.ldq, p, b.keys, y, k.skip+k.n, m, b.dim, n, acc)
}
