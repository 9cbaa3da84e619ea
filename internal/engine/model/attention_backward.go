package model

import "github.com/firekeep/firekeep/internal/engine/kernel"

// attendBackward sets layer l's w.dq, w.dk and w.dv from w.do, the gradient of s.o. It
// computes the probabilities again from s.lse.
//
// Every query head accumulates its own dK and dV (w.dkq, w.dvq), the prompt's
// in the order of the branches; then the heads that share a key head are added
// in order. With p the probabilities and D = sum of do*o:
//
//	dv = pᵀ do    dp = do vᵀ    ds = p (dp - D)    dq = scale ds k    dk = scale dsᵀ q
func (w *Workspace) attendBackward(l int, s *acts) {
	heads := w.model.Config.Heads
	w.window = w.model.Config.Kind(l).Window
	w.pool.Do(len(w.forest.trees)*heads, 1, func(worker, lo, hi int) {
		for unit := lo; unit < hi; unit++ {
			tree, head := w.forest.trees[unit/heads], unit%heads
			prompt := w.forest.segments[tree.prompt]
			w.clearKeyGradients(head, prompt)
			w.attendSegmentBackward(s, worker, head, segment{}, prompt)
			for _, branch := range w.forest.segments[tree.prompt+1 : tree.end] {
				w.clearKeyGradients(head, branch)
				w.attendSegmentBackward(s, worker, head, prompt, branch)
			}
		}
	})
	w.sumHeads(w.dk, w.dkq)
	w.sumHeads(w.dv, w.dvq)
}

// clearKeyGradients zeroes one head of dK and dV.
func (w *Workspace) clearKeyGradients(head int, s segment) {
	c := &w.model.Config
	ld := c.Heads * c.HeadDim
	for row := s.row; row < s.row+s.n; row++ {
		at := row*ld + head*c.HeadDim
		clear(w.dkq[at : at+c.HeadDim])
		clear(w.dvq[at : at+c.HeadDim])
	}
}

// attendSegmentBackward is the backward of attendSegment.
func (w *Workspace) attendSegmentBackward(s *acts, worker, head int, prompt, own segment) {
	keys := prompt.n + own.n
	block := queryBlock(keys)
	scratch := w.scratch(worker, block*keys)
	heads := w.model.Config.Heads
	for first := 0; first < own.n; first += block {
		n := min(block, own.n-first)
		b := w.block(s, head, prompt, own, first, n)
		at := b.row*b.ldq + b.q
		do, o := w.do[at:], s.o[at:]
		p, dp := scratch.probs, scratch.grads
		b.scores(p)
		b.against(dp, do, s.v, b.v, 1)
		for i := range n {
			lo, hi := w.seen(prompt.n + first + i)
			row, drow := p[i*b.keys:(i+1)*b.keys], dp[i*b.keys:(i+1)*b.keys]
			kernel.ExpSub(row[lo:hi], row[lo:hi], s.lse[(b.row+i)*heads+head])
			for _, unseen := range [][]float32{row[:lo], row[hi:], drow[:lo], drow[hi:]} {
				clear(unseen)
			}
			d := kernel.Dot(do[i*b.ldq:i*b.ldq+b.dim], o[i*b.ldq:i*b.ldq+b.dim])
			softmaxBackward(drow[lo:hi], row[lo:hi], d)
		}
		b.toKeys(w.dvq, p, do, 1)
		b.toKeys(w.dkq, dp, s.q[at:], b.scale)
		b.weighted(w.dq[at:], b.ldq, dp, s.k, b.k, b.scale)
	}
}

// softmaxBackward sets dp = p (dp - d).
func softmaxBackward(dp, p []float32, d float32) {
	p = p[:len(dp)]
	for i, v := range dp {
		dp[i] = p[i] * (v - d)
	}
}

// toKeys adds alpha pᵀ x to the keys' rows of dst [T, Q] at the head's column:
// p [n, keys], x [n, dim] rows of width ldq.
func (b *queries) toKeys(dst, p, x []float32, alpha float32) {
	if b.prompt.n > 0 {
		kernel.GemmTN(dst[b.prompt.row*b.ldq+b.q:], b.ldq, p, b.keys, x, b.ldq, b.prompt.n, b.dim, b.n, alpha, true)
	}
	kernel.GemmTN(dst[b.own.row*b.ldq+b.q:], b.ldq, p[b.prompt.n:], b.keys, x, b.ldq, b.ownKeys, b.dim, b.n, alpha, true)
}

// sumHeads adds the query heads of src [T, Q] that share a key head into dst [T, V].
func (w *Workspace) sumHeads(dst, src []float32) {
	c := &w.model.Config
	group := c.Heads / c.KVHeads
	w.rows(func(row int) {
		for kv := range c.KVHeads {
			to := dst[(row*c.KVHeads+kv)*c.HeadDim:][:c.HeadDim]
			from := src[(row*c.Heads+kv*group)*c.HeadDim:]
			copy(to, from)
			for h := 1; h < group; h++ {
				kernel.Add(to, from[h*c.HeadDim:][:c.HeadDim])
			}
		}
	})
}
