package model

import (
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// rows calls f for every row of the micro-batch, on all threads.
func (w *Workspace) rows(f func(row int)) {
	w.pool.Do(len(w.forest.tokens), 1, func(_, lo, hi int) {
		for row := lo; row < hi; row++ {
			f(row)
		}
	})
}

// rmsNorm sets y [n, H] to the normalised rows of x and inv [n] to their
// inverse root mean squares.
func (w *Workspace) rmsNorm(y, x, weight, inv []float32, n int) {
	h, eps := len(weight), w.model.Config.NormEps
	w.pool.Do(n, 1, func(_, lo, hi int) {
		for row := lo; row < hi; row++ {
			inv[row] = kernel.RMSNorm(y[row*h:(row+1)*h], x[row*h:(row+1)*h], weight, eps)
		}
	})
}

// rmsNormBackward adds to dx [n, H] the gradient of rmsNorm's input.
func (w *Workspace) rmsNormBackward(dx, dy, x, weight, inv []float32, n int) {
	h := len(weight)
	w.pool.Do(n, 1, func(_, lo, hi int) {
		for row := lo; row < hi; row++ {
			kernel.RMSNormBackward(dx[row*h:(row+1)*h], dy[row*h:(row+1)*h], x[row*h:(row+1)*h], weight, inv[row])
		}
	})
}

// gateMul sets out = act(gate) up.
func (w *Workspace) gateMul(out, gate, up []float32) {
	mul := kernel.SiLUMul
	if w.model.Config.Activation == engine.ActivationGELU {
		mul = kernel.GELUMul
	}
	w.pool.Do(len(gate), elementAlign, func(_, lo, hi int) {
		mul(out[lo:hi], gate[lo:hi], up[lo:hi])
	})
}

// gateMulBackward replaces gate and up by their gradients.
func (w *Workspace) gateMulBackward(gate, up, dout []float32) {
	back := kernel.SiLUMulBackward
	if w.model.Config.Activation == engine.ActivationGELU {
		back = kernel.GELUMulBackward
	}
	w.pool.Do(len(gate), elementAlign, func(_, lo, hi int) {
		back(gate[lo:hi], up[lo:hi], dout[lo:hi], gate[lo:hi], up[lo:hi])
	})
}

// add adds x to y.
func (w *Workspace) add(y, x []float32) {
	w.pool.Do(len(x), elementAlign, func(_, lo, hi int) { kernel.Add(y[lo:hi], x[lo:hi]) })
}

// addBias adds bias to every row of y.
func (w *Workspace) addBias(y, bias []float32) {
	n := len(bias)
	w.rows(func(row int) { kernel.Add(y[row*n:(row+1)*n], bias) })
}

// EmbedRow sets dst [Hidden] to the embedding of a token.
func (m *Model) EmbedRow(dst []float32, id int32) {
	m.Embed.Row(dst, int(id))
	if s := m.Config.EmbedScale; s != 0 {
		kernel.Scale(dst, float32(s))
	}
}

// elementAlign divides element-wise work at multiples that no vector width
// straddles, so that every division gives the same bits.
const elementAlign = 1024

// rotate applies layer l's rotary embedding to x [T, heads x head dimension].
func (w *Workspace) rotate(l int, x []float32, heads int) { w.turn(l, x, heads, kernel.Rope) }

// rotateBackward is the gradient of rotate.
func (w *Workspace) rotateBackward(l int, x []float32, heads int) {
	w.turn(l, x, heads, kernel.RopeBackward)
}

func (w *Workspace) turn(l int, x []float32, heads int, turn func(x, cos, sin []float32)) {
	rotary, dim := w.rotary.Of(l), w.model.Config.HeadDim
	if rotary == nil {
		return
	}
	w.rows(func(row int) {
		cos, sin := rotary.At(int(w.forest.positions[row]))
		for h := range heads {
			turn(x[(row*heads+h)*dim:(row*heads+h+1)*dim], cos, sin)
		}
	})
}
