package model

import "github.com/firekeep/firekeep/internal/engine/kernel"

// attendBackward sets layer l's w.dq, w.dk and w.dv from w.do, the gradient of
// s.o. It computes the probabilities again from s.lse.
//
// Every query head accumulates its own dK and dV, the prompt's in the order of
// the branches and then from the prompt itself; then the heads that share a key
// head are added in order. With p the probabilities and D = sum of do*o:
//
//	dv = pᵀ do    dp = do vᵀ    ds = p (dp - D)    dq = scale ds k    dk = scale dsᵀ q
func (w *Workspace) attendBackward(l int, s *acts) {
	w.window = w.model.Config.Kind(l).Window
	w.each(len(w.forest.trees)*w.model.Config.Heads, 1, attendTreesBackward, op{s: s, l: l})
	all := w.own(s, segment{})
	w.each(len(w.forest.tokens), 1, sumHeads, op{y: w.dk, x: all.dk})
	w.each(len(w.forest.tokens), 1, sumHeads, op{y: w.dv, x: all.dv})
}

func attendTreesBackward(w *Workspace, o *op, worker, lo, hi int) {
	heads := w.model.Config.Heads
	for unit := lo; unit < hi; unit++ {
		tree, head := w.forest.trees[unit/heads], unit%heads
		prompt := w.prefix(o.l, o.s, tree.prompt)
		if tree.prompt >= 0 && o.s.dkq == nil { // a trunk's hold what its branches added
			w.clearKeyGradients(head, prompt)
		}
		for _, g := range w.forest.segments[tree.first:tree.end] {
			branch := w.own(o.s, g)
			w.clearKeyGradients(head, branch)
			w.attendSegmentBackward(o.s, worker, head, prompt, branch)
		}
		if tree.prompt >= 0 {
			w.attendSegmentBackward(o.s, worker, head, keys{}, prompt)
		}
	}
}

// clearKeyGradients zeroes one head of dK and dV.
func (w *Workspace) clearKeyGradients(head int, k keys) {
	c := &w.model.Config
	ld := c.Heads * c.HeadDim
	for row := k.row; row < k.row+k.n; row++ {
		at := row*ld + head*c.HeadDim
		clear(k.dk[at : at+c.HeadDim])
		clear(k.dv[at : at+c.HeadDim])
	}
}

// attendSegmentBackward is the backward of attendSegment.
func (w *Workspace) attendSegmentBackward(s *acts, worker, head int, prompt, own keys) {
	block := queryBlock(prompt.n + own.n)
	scratch := w.scores(worker, block*(prompt.n+own.n))
	heads := w.model.Config.Heads
	for first := 0; first < own.n; first += block {
		b := w.block(head, prompt, own, first, min(block, own.n-first))
		b.half = w.half
		at := b.row*b.ldq + b.q
		do, o := w.do[at:], s.o[at:]
		p, dp := scratch.probs, scratch.grads
		b.against(p, s.q[at:], b.prompt.k, b.own.k, b.scale, true)
		b.against(dp, do, b.prompt.v, b.own.v, 1, true)
		for i := range b.n {
			lo, hi := b.seen(i)
			row, drow := p[i*b.keys:i*b.keys+b.reach(i)], dp[i*b.keys:i*b.keys+b.reach(i)]
			kernel.ExpSub(row[lo:hi], row[lo:hi], s.lse[(b.row+i)*heads+head])
			clear(row[:lo])
			clear(row[hi:])
			clear(drow[:lo])
			clear(drow[hi:])
			d := kernel.Dot(do[i*b.ldq:i*b.ldq+b.dim], o[i*b.ldq:i*b.ldq+b.dim])
			softmaxBackward(drow[lo:hi], row[lo:hi], d)
		}
		b.toKeys(b.prompt.dv, b.own.dv, p, do, 1)
		b.toKeys(b.prompt.dk, b.own.dk, dp, s.q[at:], b.scale)
		b.weighted(w.dq[at:], dp, b.prompt.k, b.own.k, b.scale)
	}
}

// softmaxBackward sets dp = p (dp - d).
func softmaxBackward(dp, p []float32, d float32) {
	p = p[:len(dp)]
	for i, v := range dp {
		dp[i] = p[i] * (v - d)
	}
}

// toKeys adds alpha pᵀ x to the keys' rows of prompt and own [., Q] at the
// head's column: p [n, keys], x [n, dim] rows of width ldq.
func (b *queries) toKeys(prompt, own, p, x []float32, alpha float32) {
	product, step := kernel.GemmTN, b.step()
	if b.half {
		product = kernel.HalfTN
	}
	if b.prompt.n > 0 {
		product(prompt[b.prompt.row*b.ldq+b.q:], b.ldq, p, b.keys, x, b.ldq, b.prompt.n, b.dim, b.n, alpha, true)
	}
	if b.first > 0 {
		product(own[b.own.row*b.ldq+b.q:], b.ldq, p[b.prompt.n:], b.keys, x, b.ldq, b.first, b.dim, b.n, alpha, true)
	}
	for i := 0; i < b.n; i += step { // keys of the block itself: seen by later queries
		m := min(step, b.n-i)
		product(own[(b.own.row+b.first+i)*b.ldq+b.q:], b.ldq, p[i*b.keys+b.prompt.n+b.first+i:], b.keys, x[i*b.ldq:], b.ldq, m, b.dim, b.n-i, alpha, true)
	}
}

// sumHeads adds the query heads of x [T, Q] that share a key head into y [T, V].
func sumHeads(w *Workspace, o *op, _, lo, hi int) {
	c := &w.model.Config
	group := c.Heads / c.KVHeads
	for row := lo; row < hi; row++ {
		for kv := range c.KVHeads {
			to := o.y[(row*c.KVHeads+kv)*c.HeadDim:][:c.HeadDim]
			from := o.x[(row*c.Heads+kv*group)*c.HeadDim:]
			copy(to, from)
			for h := 1; h < group; h++ {
				kernel.Add(to, from[h*c.HeadDim:][:c.HeadDim])
			}
		}
	}
}
