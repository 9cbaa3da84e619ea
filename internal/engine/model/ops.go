package model

import "github.com/firekeep/firekeep/internal/engine/kernel"

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

// siluMul sets out = silu(gate) up.
func (w *Workspace) siluMul(out, gate, up []float32) {
	w.pool.Do(len(gate), elementAlign, func(_, lo, hi int) {
		kernel.SiLUMul(out[lo:hi], gate[lo:hi], up[lo:hi])
	})
}

// siluMulBackward replaces gate and up by their gradients.
func (w *Workspace) siluMulBackward(gate, up, dout []float32) {
	w.pool.Do(len(gate), elementAlign, func(_, lo, hi int) {
		kernel.SiLUMulBackward(gate[lo:hi], up[lo:hi], dout[lo:hi], gate[lo:hi], up[lo:hi])
	})
}

// elementAlign divides element-wise work at multiples that no vector width
// straddles, so that every division gives the same bits.
const elementAlign = 1024

// rotate applies the rotary embedding to x [T, heads x head dimension].
func (w *Workspace) rotate(x []float32, heads int) { w.turn(x, heads, kernel.Rope) }

// rotateBackward is the gradient of rotate.
func (w *Workspace) rotateBackward(x []float32, heads int) { w.turn(x, heads, kernel.RopeBackward) }

func (w *Workspace) turn(x []float32, heads int, turn func(x, cos, sin []float32)) {
	dim := w.model.Config.HeadDim
	w.rows(func(row int) {
		cos, sin := w.rotary.At(int(w.forest.positions[row]))
		for h := range heads {
			turn(x[(row*heads+h)*dim:(row*heads+h+1)*dim], cos, sin)
		}
	})
}
