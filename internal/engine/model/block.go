package model

// forwardBlock computes block l from s.x1 into next [T, H]; with next nil only
// what s keeps for the backward.
func (w *Workspace) forwardBlock(l int, a *Adapter, s *acts, next []float32) {
	layer := &w.model.Layers[l]
	w.rmsNorm(w.norm, s.x1, layer.AttnNorm, s.inv1, len(w.forest.tokens))
	w.forwardHeads(l, a, s)
	w.attend(l, s)
	w.join(l, inputO, a, s, s.o, s.x1, s.x2, layer.AttnPost, s.attnOut, s.invAttn)

	w.rmsNorm(w.norm, s.x2, layer.MLPNorm, s.inv2, len(w.forest.tokens))
	w.forwardLinear(l, inputMLP, a, s, w.norm, false, s.gate, s.up)
	w.gateMul(w.prod, s.gate, s.up)
	if next == nil && layer.MLPPost == nil {
		w.lowRank(l, inputDown, a, s, w.prod)
		return
	}
	if next == nil {
		next = w.norm // nobody needs it, but what its norm keeps
	}
	w.join(l, inputDown, a, s, w.prod, s.x2, next, layer.MLPPost, s.mlpOut, s.invMLP)
}

// forwardHeads sets s.q, s.k and s.v from the normalised stream. In bfloat16
// precision keys and values are rounded, because decoding stores them so; their
// gradients pass through.
func (w *Workspace) forwardHeads(l int, a *Adapter, s *acts) {
	c, layer, rows := &w.model.Config, &w.model.Layers[l], len(w.forest.tokens)
	if layer.QNorm == nil {
		w.forwardLinear(l, inputAttn, a, s, w.norm, false, s.q, s.k, s.v)
	} else {
		w.forwardLinear(l, inputAttn, a, s, w.norm, false, s.q0, s.k0, s.v)
		w.rmsNorm(s.q, s.q0, layer.QNorm, s.invQ, rows*c.Heads)
		w.rmsNorm(s.k, s.k0, layer.KNorm, s.invK, rows*c.KVHeads)
	}
	w.rotate(l, s.q, c.Heads)
	w.rotate(l, s.k, c.KVHeads)
	if w.model.Head.BF16 != nil {
		w.through(s.k)
		w.through(s.v)
	}
}

// join sets to = from + norm(y), y being the linear layer that reads input i
// from x; post is the norm's weight. Without it, y is added as it is and not kept.
func (w *Workspace) join(l, i int, a *Adapter, s *acts, x, from, to, post, y, inv []float32) {
	if post == nil {
		w.copy(to, from)
		w.forwardLinear(l, i, a, s, x, true, to)
		return
	}
	w.forwardLinear(l, i, a, s, x, false, y)
	w.rmsNorm(to, y, post, inv, len(w.forest.tokens))
	w.add(to, from)
}

// joinBackward returns the gradient of the linear layer that join adds, given
// that of its sum, w.dx.
func (w *Workspace) joinBackward(post, y, inv []float32) []float32 {
	if post == nil {
		return w.dx
	}
	clear(w.dpost)
	w.rmsNormBackward(w.dpost, w.dx, y, post, inv, len(w.forest.tokens))
	return w.dpost
}

// backwardBlock turns w.dx, the gradient of block l's output, into that of its
// input, and adds the gradients of the block's LoRA to g. It overwrites
// s.gate and s.up. With stop, nothing below the block needs a gradient.
func (w *Workspace) backwardBlock(l int, a, g *Adapter, s *acts, stop bool) {
	layer := &w.model.Layers[l]
	below := func(i int) bool { return !stop || w.adaptsUpTo(a, i) }

	w.gateMul(w.prod, s.gate, s.up)
	dprod := w.dprod
	if !below(inputMLP) {
		dprod = nil
	}
	w.backwardLinear(l, inputDown, a, g, s, w.prod, dprod, false, w.joinBackward(layer.MLPPost, s.mlpOut, s.invMLP))
	if dprod == nil {
		return
	}
	w.gateMulBackward(s.gate, s.up, dprod)

	w.rmsNorm(w.norm, s.x2, layer.MLPNorm, s.inv2, len(w.forest.tokens))
	dnorm := w.dnorm
	if !below(inputO) {
		dnorm = nil
	}
	w.backwardLinear(l, inputMLP, a, g, s, w.norm, dnorm, false, s.gate, s.up)
	if dnorm == nil {
		return
	}
	w.rmsNormBackward(w.dx, dnorm, s.x2, layer.MLPNorm, s.inv2, len(w.forest.tokens))

	do := w.do
	if !below(inputAttn) {
		do = nil
	}
	w.backwardLinear(l, inputO, a, g, s, s.o, do, false, w.joinBackward(layer.AttnPost, s.attnOut, s.invAttn))
	if do == nil {
		return
	}
	w.attendBackward(l, s)
	dq, dk := w.headsBackward(l, s)

	w.rmsNorm(w.norm, s.x1, layer.AttnNorm, s.inv1, len(w.forest.tokens))
	dnorm = w.dnorm
	if stop {
		dnorm = nil
	}
	w.backwardLinear(l, inputAttn, a, g, s, w.norm, dnorm, false, dq, dk, w.dv)
	if dnorm != nil {
		w.rmsNormBackward(w.dx, dnorm, s.x1, layer.AttnNorm, s.inv1, len(w.forest.tokens))
	}
}

// headsBackward turns w.dq and w.dk, the gradients of s.q and s.k, into those of
// the linear layers' outputs.
func (w *Workspace) headsBackward(l int, s *acts) (dq, dk []float32) {
	c, layer, rows := &w.model.Config, &w.model.Layers[l], len(w.forest.tokens)
	w.rotateBackward(l, w.dq, c.Heads)
	w.rotateBackward(l, w.dk, c.KVHeads)
	if layer.QNorm == nil {
		return w.dq, w.dk
	}
	clear(w.dq0)
	clear(w.dk0)
	w.rmsNormBackward(w.dq0, w.dq, s.q0, layer.QNorm, s.invQ, rows*c.Heads)
	w.rmsNormBackward(w.dk0, w.dk, s.k0, layer.KNorm, s.invK, rows*c.KVHeads)
	return w.dq0, w.dk0
}

// adaptsUpTo says whether a target that reads input i or an earlier one of a
// block is adapted.
func (w *Workspace) adaptsUpTo(a *Adapter, i int) bool {
	for j := range i + 1 {
		if lowWidth(a, j) > 0 {
			return true
		}
	}
	return false
}
