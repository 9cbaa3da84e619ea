package model

import (
	"context"
	"math"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// TestFamiliesPack: for every family a packed forest gives what its samples
// give one at a time, forward and backward, with kept and with recomputed
// activations, all at once and in waves, and gradients agree with differences of the loss.
func TestFamiliesPack(t *testing.T) {
	for name, cfg := range familyConfigs() {
		t.Run(name, func(t *testing.T) {
			m := randomModel(cfg, 5)
			a := randomAdapter(t, &cfg, 4, engine.Targets, 4)
			w := NewWorkspace(kernel.NewPool(2), m, cfg.MaxPositions)
			trees := randomTrees(cfg.Vocab, 7)
			packed := logProbs(t, w, trees, a)
			for i, x := range logProbs(t, w, unshared(trees), a) {
				if math.Abs(x-packed[i]) > 1e-5 {
					t.Errorf("token %d: %.7f with a shared prompt, %.7f without", i, packed[i], x)
				}
			}
			want := placedGradients(t, w, [][]*Tree{trees}, a)
			for form, micros := range map[string][][]*Tree{"alone": alone(trees), "no shared prompt": {unshared(trees)}} {
				for i, p := range placedGradients(t, w, micros, a).Params() {
					if d := relative(p, want.Params()[i]); !(d < 1e-5) {
						t.Errorf("%s: %s differs by %.2g", form, a.Names()[i], d)
					}
				}
			}
			for _, how := range []struct {
				bytes int64
				wave  int
			}{{1, 0}, {DefaultMaxBytes, 12}, {1, 12}, {DefaultMaxBytes, 1}} {
				w.MaxBytes, w.WaveTokens = how.bytes, how.wave
				if !equalBits(logProbs(t, w, trees, a), packed) {
					t.Errorf("%+v: log-probs differ", how)
				}
				for i, x := range placedGradients(t, w, [][]*Tree{trees}, a).data {
					if math.Float32bits(x) != math.Float32bits(want.data[i]) {
						t.Fatalf("%+v changes value %d: %v instead of %v", how, i, x, want.data[i])
					}
				}
			}
			w.MaxBytes, w.WaveTokens = DefaultMaxBytes, 0
			slopes(t, w, trees, a)
		})
	}
}

// placedGradients weighs tokens by what does not depend on how trees are numbered.
func placedGradients(t *testing.T, w *Workspace, micros [][]*Tree, a *Adapter) *Adapter {
	t.Helper()
	g := a.ZerosLike()
	for _, trees := range micros {
		err := w.Gradients(context.Background(), trees, a, g, func(_, _ int, lp, _, grad []float64) {
			for i := range lp {
				grad[i] = math.Sin(float64(i) + 3*lp[i])
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// slopes compares each tensor's gradient with central differences along it.
func slopes(t *testing.T, w *Workspace, trees []*Tree, a *Adapter) {
	t.Helper()
	g := weightedGradients(t, w, trees, a)
	for i, p := range a.Params() {
		grad := g.Params()[i]
		norm := math.Sqrt(kernel.SumSquares(grad))
		slope := directional(t, w, trees, a, p, grad, norm, 0.01)
		if norm == 0 || math.Abs(slope-norm) > 0.01*norm+2e-3 {
			t.Errorf("%s: slope along the gradient %.6g, norm %.6g", a.Names()[i], slope, norm)
		}
	}
}
