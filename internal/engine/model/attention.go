package model

import (
	"math"

	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// Causal attention over trees. A query of the prompt sees the prompt up to
// itself; a query of a branch sees the whole prompt and its branch up to
// itself; in a windowed layer only the last of these keys. The unit of work is one query head of one prompt or branch (backward:
// of one tree): units write disjoint memory, so the result is the same for any
// number of threads.
//
// Scores of a block of queries are two small products, against the prompt's
// keys and against the branch's own, side by side in one row per query; each
// query's values are accumulated over keys in the order of their positions.

// attnScratch is one worker's memory.
type attnScratch struct {
	probs, grads []float32 // [block, keys]
}

// queryBlock is the number of queries whose scores are held at once: about
// 256 KiB of them, so that they stay in the second-level cache.
func queryBlock(keys int) int { return max(16, min(128, (1<<16)/max(1, keys)&^15)) }

// scratch returns worker's memory for n scores in each buffer.
func (w *Workspace) scratch(worker, n int) *attnScratch {
	s := &w.workers[worker]
	if len(s.probs) < n {
		s.probs, s.grads = make([]float32, n), make([]float32, n)
	}
	return s
}

// attend sets s.o and s.lse of layer l from s.q, s.k and s.v.
func (w *Workspace) attend(l int, s *acts) {
	heads := w.model.Config.Heads
	w.window = w.model.Config.Kind(l).Window
	w.pool.Do(len(w.forest.segments)*heads, 1, func(worker, lo, hi int) {
		for unit := lo; unit < hi; unit++ {
			own, prompt := w.forest.segments[unit/heads], segment{}
			if own.prompt >= 0 {
				prompt = w.forest.segments[own.prompt]
			}
			w.attendSegment(s, worker, unit%heads, prompt, own)
		}
	})
}

// attendSegment computes one head of the queries of own, which see all keys of
// prompt and own's up to themselves.
func (w *Workspace) attendSegment(s *acts, worker, head int, prompt, own segment) {
	keys := prompt.n + own.n
	block := queryBlock(keys)
	scratch := w.scratch(worker, block*keys)
	for first := 0; first < own.n; first += block {
		n := min(block, own.n-first)
		b := w.block(s, head, prompt, own, first, n)
		b.scores(scratch.probs)
		for i := range n {
			row := scratch.probs[i*b.keys : (i+1)*b.keys]
			lo, hi := w.seen(prompt.n + first + i)
			seen := row[lo:hi]
			top := kernel.Max(seen)
			sum := kernel.ExpSub(seen, seen, top)
			kernel.Scale(seen, float32(1/sum))
			clear(row[:lo])
			clear(row[hi:])
			s.lse[(b.row+i)*w.model.Config.Heads+head] = top + float32(math.Log(sum))
		}
		o := s.o[b.row*b.ldq+b.q:]
		b.weighted(o, b.ldq, scratch.probs, s.v, b.v, 1)
	}
}

// seen is the range of keys that the query at the given position sees: keys
// count from the beginning of the sequence.
func (w *Workspace) seen(position int) (lo, hi int) {
	if w.window > 0 {
		lo = max(0, position+1-w.window)
	}
	return lo, position + 1
}

// queries is a block of n queries of one head with the keys they may see.
type queries struct {
	s           *acts
	row, n      int // first row and number of queries
	prompt, own segment
	ownKeys     int // keys of own that the block's last query sees
	keys        int // prompt.n + ownKeys: width of a row of scores
	dim         int
	scale       float32
	q, k, v     int // column of the head in a row of q, k, v
	ldq, ldk    int
}

func (w *Workspace) block(s *acts, head int, prompt, own segment, first, n int) queries {
	c := &w.model.Config
	kv := head / (c.Heads / c.KVHeads) * c.HeadDim
	return queries{s: s, row: own.row + first, n: n, prompt: prompt, own: own, ownKeys: first + n, keys: prompt.n + first + n,
		dim: c.HeadDim, scale: c.ScoreScale(),
		q: head * c.HeadDim, k: kv, v: kv, ldq: c.Heads * c.HeadDim, ldk: c.KVHeads * c.HeadDim}
}

// scores sets dst [n, keys] to the scaled products of queries and keys, those
// of unseen keys included.
func (b *queries) scores(dst []float32) { b.against(dst, b.s.q[b.row*b.ldq+b.q:], b.s.k, b.k, b.scale) }

// against sets dst [n, keys] = alpha x (keys' rows of y at column col)ᵀ, x
// [n, dim] being rows of width ldq.
func (b *queries) against(dst, x, y []float32, col int, alpha float32) {
	if b.prompt.n > 0 {
		kernel.GemmNT(dst, b.keys, x, b.ldq, y[b.prompt.row*b.ldk+col:], b.ldk, b.n, b.prompt.n, b.dim, alpha, false)
	}
	kernel.GemmNT(dst[b.prompt.n:], b.keys, x, b.ldq, y[b.own.row*b.ldk+col:], b.ldk, b.n, b.ownKeys, b.dim, alpha, false)
}

// weighted sets dst [n, dim] (rows of width ld) = p [n, keys] times the keys'
// rows of y at column col, times alpha.
func (b *queries) weighted(dst []float32, ld int, p, y []float32, col int, alpha float32) {
	acc := false
	if b.prompt.n > 0 {
		kernel.GemmNN(dst, ld, p, b.keys, y[b.prompt.row*b.ldk+col:], b.ldk, b.n, b.dim, b.prompt.n, alpha, false)
		acc = true
	}
	kernel.GemmNN(dst, ld, p[b.prompt.n:], b.keys, y[b.own.row*b.ldk+col:], b.ldk, b.n, b.dim, b.ownKeys, alpha, acc)
}
