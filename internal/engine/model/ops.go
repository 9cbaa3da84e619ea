package model

import (
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// op is the work under way on rows: its operands, kept in the workspace so that
// a call allocates nothing.
type op struct {
	y, x, z  []float32
	weight   []float32
	inv      []float32
	n        int
	rotary   *Rotary
	turn     func(x, cos, sin []float32)
	gate     func(out, gate, up []float32)
	gateBack func(dgate, dup, dout, gate, up []float32)
	s        *acts
	l        int
}

// opFunc does the part [lo, hi) of an op. It is a plain function: a closure
// would be allocated.
type opFunc func(w *Workspace, o *op, worker, lo, hi int)

// each runs f over [0, n) on all threads.
func (w *Workspace) each(n, align int, f opFunc, o op) {
	w.op, w.opFunc = o, f
	w.pool.Do(n, align, w.runPart)
	w.op = op{}
}

func (w *Workspace) runOp(worker, lo, hi int) { w.opFunc(w, &w.op, worker, lo, hi) }

// rmsNorm sets y [n, H] to the normalised rows of x and inv [n] to their
// inverse root mean squares.
func (w *Workspace) rmsNorm(y, x, weight, inv []float32, n int) {
	w.each(n, 1, normRows, op{y: y, x: x, weight: weight, inv: inv})
}

func normRows(w *Workspace, o *op, _, lo, hi int) {
	h, eps := len(o.weight), w.model.Config.NormEps
	for row := lo; row < hi; row++ {
		o.inv[row] = kernel.RMSNorm(o.y[row*h:(row+1)*h], o.x[row*h:(row+1)*h], o.weight, eps)
	}
}

// rmsNormBackward adds to dx [n, H] the gradient of rmsNorm's input.
func (w *Workspace) rmsNormBackward(dx, dy, x, weight, inv []float32, n int) {
	w.each(n, 1, normRowsBackward, op{y: dx, z: dy, x: x, weight: weight, inv: inv})
}

func normRowsBackward(_ *Workspace, o *op, _, lo, hi int) {
	h := len(o.weight)
	for row := lo; row < hi; row++ {
		kernel.RMSNormBackward(o.y[row*h:(row+1)*h], o.z[row*h:(row+1)*h], o.x[row*h:(row+1)*h], o.weight, o.inv[row])
	}
}

// gateMul sets out = act(gate) up, row by row: the bits of a vector function
// depend on its length, which must not be that of the stage.
func (w *Workspace) gateMul(out, gate, up []float32) {
	mul := kernel.SiLUMul
	if w.model.Config.Activation == engine.ActivationGELU {
		mul = kernel.GELUMul
	}
	w.each(len(w.forest.tokens), 1, gateRows, op{y: out, x: gate, z: up, gate: mul})
}

func gateRows(w *Workspace, o *op, _, lo, hi int) {
	n := w.model.Config.Inter
	for ; lo < hi; lo++ {
		at, end := lo*n, (lo+1)*n
		o.gate(o.y[at:end], o.x[at:end], o.z[at:end])
	}
}

// gateMulBackward replaces gate and up by their gradients.
func (w *Workspace) gateMulBackward(gate, up, dout []float32) {
	back := kernel.SiLUMulBackward
	if w.model.Config.Activation == engine.ActivationGELU {
		back = kernel.GELUMulBackward
	}
	w.each(len(w.forest.tokens), 1, gateRowsBackward, op{y: dout, x: gate, z: up, gateBack: back})
}

func gateRowsBackward(w *Workspace, o *op, _, lo, hi int) {
	n := w.model.Config.Inter
	for ; lo < hi; lo++ {
		gate, up := o.x[lo*n:(lo+1)*n], o.z[lo*n:(lo+1)*n]
		o.gateBack(gate, up, o.y[lo*n:(lo+1)*n], gate, up)
	}
}

// add adds x to y.
func (w *Workspace) add(y, x []float32) {
	w.each(len(x), elementAlign, addElements, op{y: y, x: x})
}

func addElements(_ *Workspace, o *op, _, lo, hi int) { kernel.Add(o.y[lo:hi], o.x[lo:hi]) }

// copy copies x to y.
func (w *Workspace) copy(y, x []float32) {
	w.each(len(x), elementAlign, copyElements, op{y: y, x: x})
}

func copyElements(_ *Workspace, o *op, _, lo, hi int) { copy(o.y[lo:hi], o.x[lo:hi]) }

// through leaves of x what bfloat16 keeps.
func (w *Workspace) through(x []float32) { w.each(len(x), elementAlign, throughElements, op{x: x}) }

func throughElements(_ *Workspace, o *op, _, lo, hi int) { kernel.ThroughBF16(o.x[lo:hi]) }

// addBias adds bias to every row of y.
func (w *Workspace) addBias(y, bias []float32) {
	w.each(len(w.forest.tokens), 1, addToRows, op{y: y, x: bias})
}

func addToRows(_ *Workspace, o *op, _, lo, hi int) {
	n := len(o.x)
	for row := lo; row < hi; row++ {
		kernel.Add(o.y[row*n:(row+1)*n], o.x)
	}
}

// EmbedRow sets dst [Hidden] to the embedding of a token.
func (m *Model) EmbedRow(dst []float32, id int32) {
	m.Embed.Row(dst, int(id))
	if s := m.Config.EmbedScale; s != 0 {
		kernel.Scale(dst, float32(s))
	}
}

// elementAlign divides sums and copies at multiples that no vector width straddles.
const elementAlign = 1024

// rotate applies layer l's rotary embedding to x [T, heads x head dimension].
func (w *Workspace) rotate(l int, x []float32, heads int) { w.turn(l, x, heads, kernel.Rope) }

// rotateBackward is the gradient of rotate.
func (w *Workspace) rotateBackward(l int, x []float32, heads int) {
	w.turn(l, x, heads, kernel.RopeBackward)
}

func (w *Workspace) turn(l int, x []float32, heads int, turn func(x, cos, sin []float32)) {
	if rotary := w.rotary.Of(l); rotary != nil {
		w.each(len(w.forest.tokens), 1, turnRows, op{y: x, n: heads, rotary: rotary, turn: turn})
	}
}

func turnRows(w *Workspace, o *op, _, lo, hi int) {
	dim := w.model.Config.HeadDim
	for row := lo; row < hi; row++ {
		cos, sin := o.rotary.At(int(w.forest.positions[row]))
		for h := range o.n {
			o.turn(o.y[(row*o.n+h)*dim:(row*o.n+h+1)*dim], cos, sin)
		}
	}
}
