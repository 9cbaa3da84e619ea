package model

import (
	"context"
	"math"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/rows"
)

// alone takes a tree apart: every branch with its own copy of the prompt.
func alone(trees []*Tree) [][]*Tree {
	var out [][]*Tree
	for _, t := range trees {
		for _, b := range t.Branches {
			out = append(out, []*Tree{{Prompt: t.Prompt, Branches: []Branch{b}}})
		}
	}
	return out
}

// unshared turns each branch into a sequence without a shared prompt.
func unshared(trees []*Tree) []*Tree {
	var out []*Tree
	for _, t := range trees {
		for _, b := range t.Branches {
			one := Branch{Tokens: append(append([]int32{}, t.Prompt...), b.Tokens...), Scored: append(make([]bool, len(t.Prompt)), b.Scored...)}
			if len(b.Tokens) == 0 {
				one = Branch{}
			}
			out = append(out, &Tree{Branches: []Branch{one}})
		}
	}
	return out
}

// logProbs returns the log-probs of all branches one behind another.
func logProbs(t *testing.T, w *Workspace, trees []*Tree, a *Adapter) []float64 {
	t.Helper()
	var out []float64
	if err := w.LogProbs(context.Background(), trees, a, func(_, _ int, lp []float64) { out = append(out, lp...) }); err != nil {
		t.Fatal(err)
	}
	return out
}

func equalBits(a, b []float64) bool {
	for i := range a {
		if math.Float64bits(a[i]) != math.Float64bits(b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

// TestLogProbsDoNotDependOnCompany: a sample has the same bits alone and among
// others, and the same values without a shared prompt.
func TestLogProbsDoNotDependOnCompany(t *testing.T) {
	cfg := tinyConfig()
	m := randomModel(cfg, 1)
	a := randomAdapter(t, &cfg, 4, engine.Targets, 2)
	w := NewWorkspace(kernel.NewPool(2), m, cfg.MaxPositions)
	trees := randomTrees(cfg.Vocab, 7)
	packed := logProbs(t, w, trees, a)
	if len(packed) < 30 {
		t.Fatalf("only %d scored tokens", len(packed))
	}

	var single []float64
	for _, one := range alone(trees) {
		single = append(single, logProbs(t, w, one, a)...)
	}
	if !equalBits(packed, single) {
		t.Error("a sample's log-probs depend on the other samples of the micro-batch")
	}
	for i, x := range logProbs(t, w, unshared(trees), a) {
		if math.Abs(x-packed[i]) > 1e-5 {
			t.Errorf("token %d: %.7f with a shared prompt, %.7f without", i, packed[i], x)
		}
	}
}

// TestTrainingSeesTheLogProbsOfLogProbs: old policy and training pass agree bit
// for bit, so that the ratio of unchanged weights is exactly 1.
func TestTrainingSeesTheLogProbsOfLogProbs(t *testing.T) {
	cfg := tinyConfig()
	m := randomModel(cfg, 1)
	a := randomAdapter(t, &cfg, 4, engine.Targets, 2)
	w := NewWorkspace(kernel.NewPool(2), m, cfg.MaxPositions)
	trees := randomTrees(cfg.Vocab, 8)
	want := logProbs(t, w, trees, a)
	for _, bytes := range []int64{DefaultMaxBytes, 1} {
		w.MaxBytes = bytes
		var got []float64
		err := w.Gradients(context.Background(), trees, a, a.ZerosLike(), func(_, _ int, lp, _, grad []float64) {
			got = append(got, lp...)
			clear(grad)
		})
		if err != nil {
			t.Fatal(err)
		}
		if !equalBits(got, want) {
			t.Errorf("MaxBytes %d: training and no-grad passes differ", bytes)
		}
		w.WaveTokens = 12 // prompt first, in memory that a pass with gradients left behind
		more := append(randomTrees(cfg.Vocab, 8), randomTrees(cfg.Vocab, 8)...)
		if !equalBits(logProbs(t, w, more, a), append(append([]float64{}, want...), want...)) {
			t.Errorf("MaxBytes %d: a pass behind one with gradients differs", bytes)
		}
		w.WaveTokens = 0
	}
}

// relative is |a-b| / |b|.
func relative(a, b []float32) float64 {
	d, n := 0.0, 0.0
	for i := range a {
		x := float64(a[i]) - float64(b[i])
		d += x * x
		n += float64(b[i]) * float64(b[i])
	}
	return math.Sqrt(d / n)
}

// TestGradientsDoNotDependOnPacking: one sample at a time, without shared
// prompts, or all at once.
func TestGradientsDoNotDependOnPacking(t *testing.T) {
	cfg := tinyConfig()
	m := randomModel(cfg, 3)
	a := randomAdapter(t, &cfg, 4, engine.Targets, 4)
	w := NewWorkspace(kernel.NewPool(2), m, cfg.MaxPositions)
	trees := randomTrees(cfg.Vocab, 9)
	// A weight per token that does not depend on how trees are numbered.
	weigh := func(_, _ int, lp, _, grad []float64) {
		for i := range lp {
			grad[i] = math.Sin(float64(i) + 3*lp[i])
		}
	}
	run := func(micros [][]*Tree) *Adapter {
		g := a.ZerosLike()
		for _, trees := range micros {
			if err := w.Gradients(context.Background(), trees, a, g, weigh); err != nil {
				t.Fatal(err)
			}
		}
		return g
	}
	want := run([][]*Tree{trees})
	for name, micros := range map[string][][]*Tree{"one sample at a time": alone(trees), "no shared prompt": {unshared(trees)}, "reversed": {{trees[2]}, {trees[1]}, {trees[0]}}} {
		got := run(micros)
		for i, p := range got.Params() {
			if d := relative(p, want.Params()[i]); !(d < 1e-5) {
				t.Errorf("%s: %s differs by %.2g", name, a.Names()[i], d)
			}
		}
	}
}

// TestBytesDoNotDependOnThreadsOrMemory: gradients have the same bits on 1, 2, 4
// and 7 threads, with kept, with some recomputed and with only recomputed
// activations, for trees computed whole, prompt first, and branch by branch.
func TestBytesDoNotDependOnThreadsOrMemory(t *testing.T) {
	cfg := tinyConfig()
	m := randomModel(cfg, 3)
	a := randomAdapter(t, &cfg, 4, engine.Targets, 4)
	trees := randomTrees(cfg.Vocab, 9)
	var want *Adapter
	for _, threads := range []int{1, 2, 4, 7} {
		for _, bytes := range []int64{DefaultMaxBytes, 90 << 10, 40 << 10, 1} {
			for _, wave := range []int{0, 12, 1} {
				pool := kernel.NewPool(threads)
				w := NewWorkspace(pool, m, cfg.MaxPositions)
				w.MaxBytes, w.WaveTokens = bytes, wave
				g := weightedGradients(t, w, trees, a)
				pool.Close()
				if want == nil {
					want = g
				}
				for i, x := range g.data {
					if math.Float32bits(x) != math.Float32bits(want.data[i]) {
						t.Fatalf("%d threads, %d bytes, waves of %d: value %d is %v instead of %v", threads, bytes, wave, i, x, want.data[i])
					}
				}
			}
		}
	}
}

// TestLongSamplesGoThroughTheHeadInPieces: a sample with more scored tokens
// than the logit buffer holds gives the same bits.
func TestLongSamplesGoThroughTheHeadInPieces(t *testing.T) {
	cfg := tinyConfig()
	m := randomModel(cfg, 3)
	a := randomAdapter(t, &cfg, 4, engine.Targets, 4)
	trees := randomTrees(cfg.Vocab, 11)
	whole := NewWorkspace(kernel.NewPool(2), m, cfg.MaxPositions)
	want := weightedGradients(t, whole, trees, a)
	pieces := NewWorkspace(kernel.NewPool(2), m, cfg.MaxPositions)
	pieces.head.limit = 5
	got := weightedGradients(t, pieces, trees, a)
	for i, x := range got.data {
		if x != want.data[i] {
			t.Fatalf("value %d is %v instead of %v", i, x, want.data[i])
		}
	}
}

// TestPassesDoNotAllocate: behind the first pass of a shape, the numeric loop
// leaves the collector alone.
func TestPassesDoNotAllocate(t *testing.T) {
	cfg := tinyConfig()
	m := randomModel(cfg, 3)
	a := randomAdapter(t, &cfg, 4, engine.Targets, 4)
	w := NewWorkspace(kernel.NewPool(1), m, cfg.MaxPositions)
	trees, g := randomTrees(cfg.Vocab, 11), a.ZerosLike()
	loss := func(_, _ int, lp, _, grad []float64) { clear(grad) }
	pass := func() {
		if err := w.Gradients(context.Background(), trees, a, g, loss); err != nil {
			t.Fatal(err)
		}
	}
	pass()
	for _, wave := range []int{0, 8} {
		w.WaveTokens = wave
		pass()
		if n := testing.AllocsPerRun(5, pass); n != 0 {
			t.Errorf("waves of %d: %.0f allocations", wave, n)
		}
	}
}

// TestABudgetRecomputesOnlyWhatItMust: blocks are computed again one by one as
// the budget shrinks, those of the trunk first.
func TestABudgetRecomputesOnlyWhatItMust(t *testing.T) {
	cfg := tinyConfig()
	w := NewWorkspace(kernel.NewPool(1), randomModel(cfg, 3), cfg.MaxPositions)
	a := randomAdapter(t, &cfg, 4, engine.Targets, 4)
	seen := map[[2]int]bool{}
	last := [2]int{}
	for bytes := int64(1 << 20); bytes >= 0; bytes -= 1 << 10 {
		w.MaxBytes = bytes
		trunk, wave := w.recompute(a, 17, 22)
		now := [2]int{trunk, wave}
		if now[0] < last[0] || now[1] < last[1] || now[1] > 0 && now[0] < cfg.Layers {
			t.Fatalf("%d bytes: %v after %v", bytes, now, last)
		}
		seen[now], last = true, now
	}
	if len(seen) != 2*cfg.Layers+1 || last != [2]int{cfg.Layers, cfg.Layers} {
		t.Errorf("states %v, last %v", seen, last)
	}
}

func TestCancelledPassStops(t *testing.T) {
	cfg := tinyConfig()
	w := NewWorkspace(kernel.NewPool(1), randomModel(cfg, 3), cfg.MaxPositions)
	ctx, cancel := context.WithCancel(context.Background())
	layers := 0
	w.Between = func() {
		if layers++; layers == 2 {
			cancel()
		}
	}
	err := w.LogProbs(ctx, randomTrees(cfg.Vocab, 1), nil, func(int, int, []float64) { t.Error("a cancelled pass reported") })
	if err != context.Canceled || layers != 2 {
		t.Errorf("stopped after %d layers with %v", layers, err)
	}
}

func TestBuildTreeSharesUpToTheFirstScoredToken(t *testing.T) {
	sample := func(prompt int, ids ...int32) rows.EncodedSample {
		s := rows.EncodedSample{IDs: ids, Scored: make([]bool, len(ids)), Prompt: prompt}
		for i := prompt; i < len(ids); i++ {
			s.Scored[i] = true
		}
		return s
	}
	e := &rows.Encoded{Samples: []rows.EncodedSample{sample(3, 1, 2, 3, 7, 8), sample(3, 1, 2, 3, 7, 9, 9), sample(5, 1, 2, 3, 4, 5, 6), sample(3, 1, 2, 3)}}
	e.Samples[0].Scored[4] = false // template text behind the end of turn
	tree := BuildTree(e, []int{0, 1, 2, 3})
	if len(tree.Prompt) != 3 {
		t.Errorf("the prompt has %d tokens", len(tree.Prompt))
	}
	for i, want := range []int{1, 3, 3, 0} {
		if got := len(tree.Branches[i].Tokens); got != want {
			t.Errorf("branch %d has %d tokens instead of %d", i, got, want)
		}
	}
	if got := tree.Computed(); got != 3+0+2+2 {
		t.Errorf("%d tokens are computed", got)
	}
	if got := len(BuildTree(e, []int{2}).Prompt); got != 5 {
		t.Errorf("a lone sample's prompt has %d tokens", got)
	}
}

func TestTokenOutsideTheVocabularyIsRefused(t *testing.T) {
	cfg := tinyConfig()
	w := NewWorkspace(kernel.NewPool(1), randomModel(cfg, 3), 16)
	for _, trees := range [][]*Tree{
		{{Prompt: []int32{1, int32(cfg.Vocab)}}},
		{{Prompt: []int32{1}, Branches: []Branch{{Tokens: []int32{-1}, Scored: []bool{true}}}}},
		{{Prompt: make([]int32, 17)}},
	} {
		err := w.LogProbs(context.Background(), trees, nil, func(int, int, []float64) {})
		if _, ok := err.(*engine.Problem); !ok {
			t.Errorf("got %v", err)
		}
	}
}

// TestEveryLevel repeats what must hold bit by bit, and the gradients, with the
// kernels of every level that this machine has.
func TestEveryLevel(t *testing.T) {
	best := kernel.Active()
	defer kernel.Use(best)
	for _, l := range kernel.Detect() {
		if l == best || kernel.SelfTest(l) != nil {
			continue
		}
		kernel.Use(l)
		t.Run(l.String(), func(t *testing.T) {
			t.Run("company", TestLogProbsDoNotDependOnCompany)
			t.Run("old policy", TestTrainingSeesTheLogProbsOfLogProbs)
			t.Run("threads", TestBytesDoNotDependOnThreadsOrMemory)
			t.Run("gradients", TestGradientsAgreeWithDifferences)
		})
	}
}
