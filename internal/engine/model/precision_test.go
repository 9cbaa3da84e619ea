package model

import (
	"context"
	"math"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// rounded makes m multiply in bfloat16.
func rounded(m *Model) *Model {
	m.UseBF16(kernel.NewPool(1), make([]uint16, m.BF16Missing()))
	return m
}

// inBF16 runs f on every level that multiplies bfloat16 here.
func inBF16(t *testing.T, f func(t *testing.T)) {
	best := kernel.Active()
	defer kernel.Use(best)
	have := kernel.DetectBF16()
	for _, l := range []kernel.Level{kernel.LevelAMX, kernel.LevelAVX512BF16, kernel.LevelGo} {
		t.Run(l.String(), func(t *testing.T) {
			for _, h := range have {
				if h != l {
					continue
				}
				if err := kernel.SelfTest(l); err != nil {
					t.Skip(err)
				}
				kernel.Use(l)
				f(t)
				return
			}
			t.Skipf("this processor does not have %v", l)
		})
	}
}

// TestBF16Forest: what holds bit by bit in float32 holds in bfloat16, and what
// holds to rounding holds to that of bfloat16.
func TestBF16Forest(t *testing.T) {
	cfg := tinyConfig()
	trees := randomTrees(cfg.Vocab, 7)
	inBF16(t, func(t *testing.T) {
		m := rounded(randomModel(cfg, 1))
		a := randomAdapter(t, &cfg, 4, engine.Targets, 2)
		w := NewWorkspace(kernel.NewPool(2), m, cfg.MaxPositions)
		packed := logProbs(t, w, trees, a)
		var single []float64
		for _, one := range alone(trees) {
			single = append(single, logProbs(t, w, one, a)...)
		}
		if !equalBits(packed, single) {
			t.Error("a sample's log-probs depend on the other samples of the micro-batch")
		}
		for i, x := range logProbs(t, w, unshared(trees), a) {
			if math.Abs(x-packed[i]) > 0.05 {
				t.Errorf("token %d: %.5f with a shared prompt, %.5f without", i, packed[i], x)
			}
		}
		var seen []float64
		if err := w.Gradients(context.Background(), trees, a, a.ZerosLike(), func(_, _ int, lp, _, grad []float64) {
			seen = append(seen, lp...)
			clear(grad)
		}); err != nil {
			t.Fatal(err)
		}
		if !equalBits(seen, packed) {
			t.Error("training and no-grad passes differ")
		}
		var want *Adapter
		for _, threads := range []int{1, 2, 4} {
			for _, bytes := range []int64{DefaultMaxBytes, 1} {
				pool := kernel.NewPool(threads)
				w := NewWorkspace(pool, m, cfg.MaxPositions)
				w.MaxBytes, w.WaveTokens = bytes, 6*threads
				g := weightedGradients(t, w, trees, a)
				pool.Close()
				if want == nil {
					want = g
				}
				for i, x := range g.data {
					if math.Float32bits(x) != math.Float32bits(want.data[i]) {
						t.Fatalf("%d threads, %d bytes: gradient %d is %v instead of %v", threads, bytes, i, x, want.data[i])
					}
				}
			}
		}
	})
}

// bf16Gradients bounds how far gradients in bfloat16 are from those in float32,
// relative to their norm, tensor by tensor: an operand's rounding is 2^-9 at most,
// and a gradient passes some ten products.
const bf16Gradients = 3e-2

// TestBF16AgreesWithFloat32 compares log-probs and gradients of the two
// precisions, and checks that they do differ: a precision that is not used
// would agree too well.
func TestBF16AgreesWithFloat32(t *testing.T) {
	cfg := tinyConfig()
	trees := randomTrees(cfg.Vocab, 9)
	a := randomAdapter(t, &cfg, 4, engine.Targets, 4)
	plain := NewWorkspace(kernel.NewPool(1), randomModel(cfg, 3), cfg.MaxPositions)
	lp, g := logProbs(t, plain, trees, a), weightedGradients(t, plain, trees, a)
	inBF16(t, func(t *testing.T) {
		w := NewWorkspace(kernel.NewPool(1), rounded(randomModel(cfg, 3)), cfg.MaxPositions)
		worst, mean := 0.0, 0.0
		for i, x := range logProbs(t, w, trees, a) {
			worst = max(worst, math.Abs(x-lp[i]))
			mean += math.Abs(x-lp[i]) / float64(len(lp))
		}
		if worst > 0.08 || mean > 0.02 || worst < 1e-4 {
			t.Errorf("log-probs differ by %.2g at most, %.2g on average", worst, mean)
		}
		far := 0.0
		for i, p := range weightedGradients(t, w, trees, a).Params() {
			d := relative(p, g.Params()[i])
			far = max(far, d)
			if !(d < bf16Gradients) {
				t.Errorf("the gradient of %s differs by %.2g", a.Names()[i], d)
			}
		}
		t.Logf("log-probs differ by %.2g at most, %.2g on average, gradients by %.2g", worst, mean, far)
	})
}
