package model

// Memory of a pass: the trunk's acts, then those of the wave, then scratch. A
// trunk that is computed itself has its scratch where waves have their acts.

// actsPerToken is the number of values per token in acts.
func (w *Workspace) actsPerToken(a *Adapter) int64 {
	c := &w.model.Config
	n := 2*c.Hidden + 2 + 2*c.Heads*c.HeadDim + 2*c.KVHeads*c.HeadDim + c.Heads + 2*c.Inter
	if c.QKNorm {
		n += (c.Heads + c.KVHeads) * (c.HeadDim + 1)
	}
	if c.PostNorms {
		n += 2 * (c.Hidden + 1)
	}
	for i := range inputs {
		n += lowWidth(a, i)
	}
	return int64(n)
}

// recompute says how many blocks of a trunk and of waves of the given numbers
// of tokens keep only their input, so that acts stay within MaxBytes where they
// can. A trunk is computed again once, a wave's memory serves many: the trunk
// goes first.
func (w *Workspace) recompute(a *Adapter, trunk, wave int) (ofTrunk, ofWave int) {
	c, layers, acts := &w.model.Config, len(w.model.Layers), w.actsPerToken(a)
	keys := int64(2 * c.KVHeads * c.HeadDim)
	over := int64(trunk)*(acts+int64(2*c.Heads*c.HeadDim)) + int64(wave)*acts
	over = over*int64(layers)*4 - w.MaxBytes
	blocks := func(saved int64) int {
		if over <= 0 || saved <= 0 {
			return 0
		}
		n := min(int64(layers), (over+saved-1)/saved)
		over -= n * saved
		return int(n)
	}
	ofTrunk = blocks(4 * int64(trunk) * (acts - int64(c.Hidden) - keys))
	ofWave = blocks(4 * int64(wave) * (acts - int64(c.Hidden)))
	return ofTrunk, ofWave
}

// lowWidth is n*r: the width of A x for input i.
func lowWidth(a *Adapter, i int) int {
	if a == nil {
		return 0
	}
	n := 0
	for _, t := range inputTargets[i] {
		if a.Layers[0].A[t] != nil {
			n += a.Rank
		}
	}
	return n
}

// carver hands out buffers of t rows.
type carver struct {
	w     *Workspace
	a     *Adapter
	t     int
	grad  bool
	trunk bool
}

func (v *carver) take(width int) []float32 { return v.w.arena.take(v.t * width) }

// stage lays out the acts of a stage whose blocks before kept keep their input
// only (without gradients: no block keeps anything).
func (v *carver) stage(s *stage, kept int) {
	c, n := &v.w.model.Config, len(v.w.model.Layers)
	s.layers, s.kept = resize(s.layers, n), kept
	s.out, s.dx = v.take(c.Hidden), nil
	if v.grad {
		s.dx = v.take(c.Hidden)
	} else {
		s.kept = n
	}
	var one acts // of the blocks that keep nothing
	if s.kept > 0 {
		one = v.block()
	}
	var odd []float32
	if !v.grad {
		odd = v.take(c.Hidden)
	}
	for l := range s.layers {
		layer := &s.layers[l]
		if l >= s.kept {
			*layer = v.block()
		} else {
			*layer = one
			v.apart(layer, l, odd)
		}
		if v.trunk && v.grad {
			layer.dkq, layer.dvq = v.take(c.Heads*c.HeadDim), v.take(c.Heads*c.HeadDim)
		}
	}
}

// apart gives layer, whose block shares its acts, what it must not share: its
// input while a backward comes, and a trunk's keys and values.
func (v *carver) apart(layer *acts, l int, odd []float32) {
	c := &v.w.model.Config
	switch {
	case !v.grad && l%2 == 1:
		layer.x1 = odd
	case v.grad && l > 0:
		layer.x1 = v.take(c.Hidden)
	}
	if v.trunk {
		layer.k, layer.v = v.take(c.KVHeads*c.HeadDim), v.take(c.KVHeads*c.HeadDim)
	}
}

func (v *carver) block() acts {
	c, take := &v.w.model.Config, v.take
	qw, vw := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	s := acts{x1: take(c.Hidden), inv1: take(1), q: take(qw), k: take(vw), v: take(vw), o: take(qw), lse: take(c.Heads),
		x2: take(c.Hidden), inv2: take(1), gate: take(c.Inter), up: take(c.Inter)}
	for i := range inputs {
		s.low[i] = take(lowWidth(v.a, i))
	}
	if c.QKNorm {
		s.q0, s.k0, s.invQ, s.invK = take(qw), take(vw), take(c.Heads), take(c.KVHeads)
	}
	if c.PostNorms {
		s.attnOut, s.mlpOut, s.invAttn, s.invMLP = take(c.Hidden), take(c.Hidden), take(1), take(1)
	}
	return s
}

func (v *carver) scratch() scratch {
	c, take := &v.w.model.Config, v.take
	qw, vw := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	s := scratch{norm: take(c.Hidden), prod: take(c.Inter)}
	if !v.grad {
		return s
	}
	low := 0
	for i := range inputs {
		low = max(low, lowWidth(v.a, i))
	}
	s.dnorm, s.dq, s.do = take(c.Hidden), take(qw), take(qw)
	s.dk, s.dv = take(vw), take(vw)
	if !v.trunk {
		s.dkq, s.dvq = take(qw), take(qw)
	}
	s.dprod, s.dlow = take(c.Inter), take(low)
	if c.QKNorm {
		s.dq0, s.dk0 = take(qw), take(vw)
	}
	if c.PostNorms {
		s.dpost = take(c.Hidden)
	}
	return s
}
