// Package optim updates LoRA weights: AdamW as in PyTorch, with global norm
// clipping and linear warm-up. Masters and moments are float32, the arithmetic
// of one element is float64, and all sums run in one fixed order, so an update
// depends on its inputs only. The formulas are docs/reinforcement.md's.
package optim

import (
	"fmt"
	"math"

	"github.com/firekeep/firekeep/internal/engine"
)

// normEpsilon keeps the scale of a zero gradient finite.
const normEpsilon = 1e-6

// AdamW updates one list of tensors in place. It is not safe for concurrent use.
type AdamW struct {
	rule   rule
	params [][]float32
	m, v   [][]float32 // first and second moments, shaped like params
	update int64       // updates made, over all jobs of a continued adapter
}

// New returns an optimiser of params, which it will write to, with zero moments.
func New(spec *engine.Spec, params [][]float32) *AdamW {
	return &AdamW{rule: ruleOf(spec), params: params, m: like(params), v: like(params)}
}

// Step makes one update from grads, shaped like the parameters; a nil tensor is
// a zero gradient, which still decays moments and weights. It returns the norm
// before clipping and the learning rate used. A norm that is not finite is an
// *engine.Problem, and nothing is changed.
func (a *AdamW) Step(grads [][]float32) (gradNorm, lr float64, err error) {
	if err := sameShape("gradient", grads, a.params, true); err != nil {
		return 0, 0, err
	}
	gradNorm = globalNorm(grads)
	if math.IsNaN(gradNorm) || math.IsInf(gradNorm, 0) {
		return gradNorm, 0, &engine.Problem{Rule: "gradient-not-finite",
			Message: fmt.Sprintf("the gradient of update %d is not finite; lower the learning rate, or look for extreme rewards", a.update+1)}
	}
	a.update++
	s := a.rule.at(a.update, gradNorm)
	for i, w := range a.params {
		apply(s, w, grads[i], a.m[i], a.v[i])
	}
	return gradNorm, s.lr, nil
}

// Update is the number of updates made so far. It goes on with the moments.
func (a *AdamW) Update() int64 { return a.update }

// State returns the moments themselves, not copies, and the update count.
func (a *AdamW) State() (m, v [][]float32, update int64) { return a.m, a.v, a.update }

// Restore copies a saved state in. Wrong shapes and values no update can leave
// (not finite, a negative second moment or count) are an *engine.Problem, and
// nothing is changed.
func (a *AdamW) Restore(m, v [][]float32, update int64) error {
	if update < 0 {
		return &engine.Problem{Rule: "optimizer-state", Key: "update", Message: "the update count is negative"}
	}
	for _, part := range []struct {
		name   string
		saved  [][]float32
		lowest float32
	}{{"first moment", m, -math.MaxFloat32}, {"second moment", v, 0}} {
		if err := sameShape(part.name, part.saved, a.params, false); err != nil {
			return err
		}
		for i, tensor := range part.saved {
			for _, x := range tensor {
				if !(x >= part.lowest && x <= math.MaxFloat32) {
					return &engine.Problem{Rule: "optimizer-state",
						Message: fmt.Sprintf("the %s of tensor %d holds a value that no update leaves behind", part.name, i)}
				}
			}
		}
	}
	for i := range a.params {
		copy(a.m[i], m[i])
		copy(a.v[i], v[i])
	}
	a.update = update
	return nil
}

func like(params [][]float32) [][]float32 {
	out := make([][]float32, len(params))
	for i, p := range params {
		out[i] = make([]float32, len(p))
	}
	return out
}

func sameShape(what string, got, want [][]float32, allowNil bool) error {
	if len(got) != len(want) {
		return &engine.Problem{Rule: "optimizer-shape",
			Message: fmt.Sprintf("%s of %d tensors for %d parameters", what, len(got), len(want))}
	}
	for i := range got {
		if len(got[i]) != len(want[i]) && !(allowNil && got[i] == nil) {
			return &engine.Problem{Rule: "optimizer-shape",
				Message: fmt.Sprintf("%s of tensor %d has %d values, the parameter has %d", what, i, len(got[i]), len(want[i]))}
		}
	}
	return nil
}
