package model

import (
	"context"
	"math"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// weightedLoss is sum over scored tokens of tokenWeight * lp, without gradients.
func weightedLoss(t *testing.T, w *Workspace, trees []*Tree, a *Adapter) float64 {
	t.Helper()
	sum := 0.0
	err := w.LogProbs(context.Background(), trees, a, func(tree, branch int, lp []float64) {
		for i, x := range lp {
			sum += tokenWeight(tree, branch, i) * x
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func weightedGradients(t *testing.T, w *Workspace, trees []*Tree, a *Adapter) *Adapter {
	t.Helper()
	g := a.ZerosLike()
	err := w.Gradients(context.Background(), trees, a, g, func(tree, branch int, lp, _, grad []float64) {
		for i := range lp {
			grad[i] = tokenWeight(tree, branch, i)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestGradientsAgreeWithDifferences moves every tensor along its own gradient
// and compares the slope with central differences.
func TestGradientsAgreeWithDifferences(t *testing.T) {
	cfg := tinyConfig()
	m := randomModel(cfg, 5)
	for _, targets := range [][]string{engine.Targets, {"q_proj", "v_proj"}, {"down_proj"}, {"gate_proj", "o_proj"}} {
		w := NewWorkspace(kernel.NewPool(2), m, cfg.MaxPositions)
		trees := randomTrees(cfg.Vocab, 1)
		a := randomAdapter(t, &cfg, 4, targets, 9)
		g := weightedGradients(t, w, trees, a)
		names := a.Names()
		for i, p := range a.Params() {
			grad := g.Params()[i]
			norm := math.Sqrt(kernel.SumSquares(grad))
			if norm == 0 {
				t.Fatalf("%s: the gradient is zero", names[i])
			}
			slope := directional(t, w, trees, a, p, grad, norm, 0.02)
			if math.Abs(slope-norm) > 0.01*norm+2e-3 {
				t.Errorf("%v %s: slope along the gradient %.6g, norm %.6g", targets, names[i], slope, norm)
			}
		}
	}
}

// directional is the central difference of the loss along grad/norm.
func directional(t *testing.T, w *Workspace, trees []*Tree, a *Adapter, p, grad []float32, norm, step float64) float64 {
	saved := append([]float32(nil), p...)
	at := func(h float64) float64 {
		for i := range p {
			p[i] = saved[i] + float32(h*float64(grad[i])/norm)
		}
		loss := weightedLoss(t, w, trees, a)
		copy(p, saved)
		return loss
	}
	return (at(step) - at(-step)) / (2 * step)
}
