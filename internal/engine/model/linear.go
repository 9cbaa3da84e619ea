package model

import (
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// The linear layers that read one input x [T, in], with LoRA:
//
//	low_t = x A_tᵀ                     [T, r]
//	y_t   = x W_tᵀ + bias_t + scale low_t B_tᵀ  [T, out_t]

// forwardLinear computes the targets that read input i of block l. ys are the
// outputs in the order of inputTargets[i]; acc adds to what they hold.
func (w *Workspace) forwardLinear(l, i int, a *Adapter, s *acts, x []float32, acc bool, ys ...[]float32) {
	c, m := &w.model.Config, len(w.forest.tokens)
	nr, in := lowWidth(a, i), w.inputWidth(i)
	w.lowRank(l, i, a, s, x)
	r := w.round(x, in)
	defer r.Release()
	off := 0
	for j, t := range inputTargets[i] {
		out, _ := c.Linear(engine.Targets[t])
		if weights := w.model.Layers[l].Linear[t]; w.rounds() {
			w.pool.ForwardRounded(ys[j], out, &r, weights, acc)
		} else {
			w.pool.Forward(ys[j], out, x, in, weights, m, acc)
		}
		if bias := w.model.Layers[l].Bias[t]; bias != nil {
			w.addBias(ys[j], bias)
		}
		if a != nil && a.Layers[l].B[t] != nil {
			w.pool.NT(ys[j], out, s.low[i][off:], nr, a.Layers[l].B[t], a.Rank, m, out, a.Rank, a.Scale(), true)
			off += a.Rank
		}
	}
}

// lowRank sets s.low[i] = x Aᵀ for the adapted targets that read input i.
func (w *Workspace) lowRank(l, i int, a *Adapter, s *acts, x []float32) {
	if nr, in := lowWidth(a, i), w.inputWidth(i); nr > 0 {
		w.pool.NT(s.low[i], nr, x, in, a.Layers[l].input[i], in, len(w.forest.tokens), nr, in, 1, false)
	}
}

// backwardLinear adds the gradients of A and B to g and, unless dx is nil,
// sets dx [T, in] (acc: adds to it) from the outputs' gradients dys.
func (w *Workspace) backwardLinear(l, i int, a, g *Adapter, s *acts, x, dx []float32, acc bool, dys ...[]float32) {
	c, m := &w.model.Config, len(w.forest.tokens)
	nr, in := lowWidth(a, i), w.inputWidth(i)
	off := 0
	for j, t := range inputTargets[i] {
		out, _ := c.Linear(engine.Targets[t])
		r := w.round(dys[j], out)
		if weights := w.model.Layers[l].Linear[t]; dx != nil && w.rounds() {
			w.pool.BackwardRounded(dx, in, &r, weights, acc || j > 0)
		} else if dx != nil {
			w.pool.Backward(dx, in, dys[j], out, weights, m, acc || j > 0)
		}
		if b := a.Layers[l].B[t]; b != nil {
			if w.half {
				w.pool.RoundedNN(w.dlow[off:], nr, &r, b, a.Rank, a.Rank, a.Scale(), false)
			} else {
				w.pool.NN(w.dlow[off:], nr, dys[j], out, b, a.Rank, m, a.Rank, out, a.Scale(), false)
			}
			w.sumRows(g.Layers[l].B[t], a.Rank, dys[j], out, s.low[i][off:], nr, out, a.Rank, a.Scale())
			off += a.Rank
		}
		r.Release()
	}
	if nr == 0 {
		return
	}
	w.sumRows(g.Layers[l].input[i], in, w.dlow, nr, x, in, nr, in, 1)
	if dx != nil && w.half {
		w.pool.HalfNN(dx, in, w.dlow, nr, a.Layers[l].input[i], in, m, in, nr, 1, true)
	} else if dx != nil {
		w.pool.NN(dx, in, w.dlow, nr, a.Layers[l].input[i], in, m, in, nr, 1, true)
	}
}

// rounds says whether products with base weights are in bfloat16.
func (w *Workspace) rounds() bool { return w.model.Head.BF16 != nil }

// round rounds the rows of a stage x [T, width] once for all products that read
// them; in float32 it does nothing.
func (w *Workspace) round(x []float32, width int) kernel.Rounded {
	if !w.rounds() {
		return kernel.Rounded{}
	}
	return w.pool.Round(x, width, len(w.forest.tokens), width)
}

// sumRows adds aᵀ (alpha b) to c [m, n], a [T, m] and b [T, n]. The sum over rows is
// one chain in float32. In bfloat16 a chain takes 32 rows at a time, so it is one per
// segment: those are the same however a pass is divided.
func (w *Workspace) sumRows(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, n int, alpha float32) {
	if !w.half {
		w.pool.TN(c, ldc, a, lda, b, ldb, m, n, len(w.forest.tokens), alpha, true)
		return
	}
	for _, s := range w.forest.segments {
		if s.n > 0 {
			w.pool.HalfTN(c, ldc, a[s.row*lda:], lda, b[s.row*ldb:], ldb, m, n, s.n, alpha, true)
		}
	}
}

// inputWidth is the width of input i.
func (w *Workspace) inputWidth(i int) int {
	_, in := w.model.Config.Linear(engine.Targets[inputTargets[i][0]])
	return in
}
