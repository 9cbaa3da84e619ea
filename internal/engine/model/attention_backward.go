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
	if !w.half {
		w.arrange(l, s, true)
	}
	w.beginBackward()
	w.each(w.pool.Threads(), 1, attendUnitsBackward, op{s: s, l: l})
	dk, dv := w.keyGradients(s)
	w.each(len(w.forest.tokens), 1, sumHeads, op{y: w.dk, x: dk})
	w.each(len(w.forest.tokens), 1, sumHeads, op{y: w.dv, x: dv})
}

// attendUnitsBackward computes units as long as there are any.
func attendUnitsBackward(w *Workspace, o *op, worker, _, _ int) {
	for {
		n, ok := w.units.take()
		if !ok {
			return
		}
		chain, first, end := w.unitBackward(n)
		for ; first < end; first++ {
			w.units.await(chain, first)
			w.attendStepBackward(o, worker, chain, first)
		}
	}
}

// attendStepBackward computes the n-th piece of a chain.
func (w *Workspace) attendStepBackward(o *op, worker, chain, n int) {
	defer w.units.done[chain].Add(1) // whoever waits must not wait for a part that panicked
	tree, head := chain/w.model.Config.Heads, chain%w.model.Config.Heads
	t := w.forest.trees[tree]
	p := w.piece(t.first, n)
	prompt, own := w.prefix(o.l, o.s, t.prompt), w.own(o.s, p.segment)
	if n == 0 && t.prompt >= 0 && o.s.dkq == nil { // a trunk's hold what its branches added
		w.clearKeyGradients(head, prompt)
	}
	if p.segment == t.prompt {
		prompt = keys{}
	} else if p.first == 0 {
		w.clearKeyGradients(head, own)
	}
	w.attendPieceBackward(o.s, worker, head, prompt, own, p)
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

// attendPieceBackward is the backward of attendPiece.
func (w *Workspace) attendPieceBackward(s *acts, worker, head int, prompt, own keys, p piece) {
	block, scratch := queryBlock(prompt.n+own.n), &w.workers[worker]
	heads := w.model.Config.Heads
	for first := p.first; first < p.end; first += block {
		b := w.block(head, prompt, own, first, min(block, p.end-first), w.half)
		at := b.row*b.ldq + b.q
		do, o := w.do[at:], s.o[at:]
		probs, dp := scratch.probs, scratch.grads
		if b.half {
			b.againstHalf(probs, s.q[at:], b.prompt.k, b.own.k, b.scale)
			b.againstHalf(dp, do, b.prompt.v, b.own.v, 1)
		} else {
			b.against(probs, s.q[at:], turnedKeys)
			b.against(dp, do, valuePanels)
		}
		for i := range b.n {
			lo, hi := b.seen(i)
			row, drow := probs[i*b.keys:i*b.keys+b.reach(i)], dp[i*b.keys:i*b.keys+b.reach(i)]
			clear(row[:lo])
			clear(row[hi:])
			clear(drow[:lo])
			clear(drow[hi:])
			d := kernel.Dot(do[i*b.ldq:i*b.ldq+b.dim], o[i*b.ldq:i*b.ldq+b.dim])
			kernel.SoftmaxBackward(row[lo:hi], drow[lo:hi], s.lse[(b.row+i)*heads+head], d)
		}
		b.toKeys(b.prompt.dv, b.own.dv, probs, do, 1)
		b.toKeys(b.prompt.dk, b.own.dk, dp, s.q[at:], b.scale)
		if b.half {
			b.weightedHalf(w.dq[at:], dp, b.prompt.k, b.own.k, b.scale)
		} else {
			b.weighted(w.dq[at:], dp, uprightKeys)
		}
	}
}

// againstHalf sets dst [n, keys], up to the reach of each query, to alpha x (keys'
// rows of prompt and own)ᵀ in bfloat16, x [n, dim] being rows of width ldq.
func (b *queries) againstHalf(dst, x, prompt, own []float32, alpha float32) {
	if b.prompt.n > 0 {
		kernel.HalfNT(dst, b.keys, x, b.ldq, prompt[b.prompt.row*b.ldk+b.kv:], b.ldk, b.n, b.prompt.n, b.dim, alpha, false, true)
	}
	for i := 0; i < b.n; i += diagonalHalf {
		m := min(diagonalHalf, b.n-i)
		kernel.HalfNT(dst[i*b.keys+b.prompt.n:], b.keys, x[i*b.ldq:], b.ldq, own[b.own.row*b.ldk+b.kv:], b.ldk, m, b.first+i+m, b.dim, alpha, false, true)
	}
}

// weightedHalf sets dst [n, dim] (rows of width ldq) to p [n, keys] times the keys'
// rows of prompt and own, times alpha, in bfloat16.
func (b *queries) weightedHalf(dst, p, prompt, own []float32, alpha float32) {
	acc := b.prompt.n > 0
	if acc {
		kernel.HalfNN(dst, b.ldq, p, b.keys, prompt[b.prompt.row*b.ldk+b.kv:], b.ldk, b.n, b.dim, b.prompt.n, alpha, false)
	}
	for i := 0; i < b.n; i += diagonalHalf {
		m := min(diagonalHalf, b.n-i)
		kernel.HalfNN(dst[i*b.ldq:], b.ldq, p[i*b.keys+b.prompt.n:], b.keys, own[b.own.row*b.ldk+b.kv:], b.ldk, m, b.dim, b.first+i+m, alpha, acc)
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
