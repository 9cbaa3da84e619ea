package model

// forwardBlock computes block l from s.x1 into next [T, H]; with next nil only
// what s keeps for the backward.
func (w *Workspace) forwardBlock(l int, a *Adapter, s *acts, next []float32) {
	layer := &w.model.Layers[l]
	w.rmsNorm(w.norm, s.x1, layer.AttnNorm, s.inv1, len(w.forest.tokens))
	w.forwardLinear(l, inputAttn, a, s, w.norm, false, s.q, s.k, s.v)
	w.rotate(s.q, w.model.Config.Heads)
	w.rotate(s.k, w.model.Config.KVHeads)
	w.attend(s)
	copy(s.x2, s.x1)
	w.forwardLinear(l, inputO, a, s, s.o, true, s.x2)

	w.rmsNorm(w.norm, s.x2, layer.MLPNorm, s.inv2, len(w.forest.tokens))
	w.forwardLinear(l, inputMLP, a, s, w.norm, false, s.gate, s.up)
	w.siluMul(w.prod, s.gate, s.up)
	if next == nil {
		w.lowRank(l, inputDown, a, s, w.prod)
		return
	}
	copy(next, s.x2)
	w.forwardLinear(l, inputDown, a, s, w.prod, true, next)
}

// backwardBlock turns w.dx, the gradient of block l's output, into that of its
// input, and adds the gradients of the block's LoRA to g. It overwrites
// s.gate and s.up. With stop, nothing below the block needs a gradient.
func (w *Workspace) backwardBlock(l int, a, g *Adapter, s *acts, stop bool) {
	layer := &w.model.Layers[l]
	below := func(i int) bool { return !stop || w.adaptsUpTo(a, i) }

	w.siluMul(w.prod, s.gate, s.up)
	dprod := w.dprod
	if !below(inputMLP) {
		dprod = nil
	}
	w.backwardLinear(l, inputDown, a, g, s, w.prod, dprod, false, w.dx)
	if dprod == nil {
		return
	}
	w.siluMulBackward(s.gate, s.up, dprod)

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
	w.backwardLinear(l, inputO, a, g, s, s.o, do, false, w.dx)
	if do == nil {
		return
	}
	w.attendBackward(s)
	w.rotateBackward(w.dq, w.model.Config.Heads)
	w.rotateBackward(w.dk, w.model.Config.KVHeads)

	w.rmsNorm(w.norm, s.x1, layer.AttnNorm, s.inv1, len(w.forest.tokens))
	dnorm = w.dnorm
	if stop {
		dnorm = nil
	}
	w.backwardLinear(l, inputAttn, a, g, s, w.norm, dnorm, false, w.dq, w.dk, w.dv)
	if dnorm != nil {
		w.rmsNormBackward(w.dx, dnorm, s.x1, layer.AttnNorm, s.inv1, len(w.forest.tokens))
	}
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
