package train

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/rows"
)

// constant gives all samples of a group one reward.
func constant(g *rows.Encoded) *rows.Encoded {
	for i := range g.Samples {
		g.Samples[i].Reward = 0.5
	}
	return g
}

func TestDeadGroupsCostNothing(t *testing.T) {
	spec := smallSpec("GRPO")
	groups := someGroups(3, 4)
	constant(groups[1])
	_, log, _ := run(t, spec, Options{}, groups)
	_, alone, _ := run(t, spec, Options{}, []*rows.Encoded{groups[0], groups[2]})
	m, live := log.metrics[0], alone.metrics[0]
	if m.DeadGroups != 1 || m.Samples != 12 || m.Computed != live.Computed || live.Computed == 0 {
		t.Errorf("%d dead groups, %d samples, %d tokens computed instead of %d", m.DeadGroups, m.Samples, m.Computed, live.Computed)
	}
	// Still in S: the same gradients over 12 samples instead of 8.
	if math.Abs(m.GradNorm*12/8-live.GradNorm) > 1e-5*live.GradNorm {
		t.Errorf("the gradient's norm is %.6g, without the dead group %.6g", m.GradNorm, live.GradNorm)
	}

	spec.KLBeta = 0.1
	_, log, _ = run(t, spec, Options{}, groups)
	if m := log.metrics[0]; m.Computed <= live.Computed || m.DeadGroups != 1 {
		t.Errorf("with KL a dead group is computed: %d tokens", m.Computed)
	}
}

func TestDAPORemovesDeadGroups(t *testing.T) {
	spec := smallSpec("DAPO")
	spec.BatchSizeSamples, spec.KLBeta = 8, 0.1
	groups := someGroups(4, 4)
	constant(groups[0])
	constant(groups[2])
	_, log, _ := run(t, spec, Options{}, groups)
	if len(log.metrics) != 1 {
		t.Fatalf("%d batches: dead groups filled one", len(log.metrics))
	}
	if m := log.metrics[0]; m.Samples != 8 || m.Groups != 4 || m.DeadGroups != 2 {
		t.Errorf("%+v", m)
	}
}

func TestAJobWithoutSignalKeepsItsWeights(t *testing.T) {
	for _, method := range []string{"GRPO", "DAPO"} {
		spec, groups := smallSpec(method), someGroups(2, 4)
		before := stateOf(t, newTrainer(t, spec, Options{}))
		constant(groups[0])
		constant(groups[1])
		trainer, log, result := run(t, spec, Options{}, groups)
		if !result.NoSignal || !strings.Contains(result.Message, "incoming") || result.Updates != 0 {
			t.Errorf("%s: %+v", method, result)
		}
		if m := log.metrics[0]; m.Updated || m.Computed != 0 || m.DeadGroups != 2 {
			t.Errorf("%s: %+v", method, m)
		}
		if !stateOf(t, trainer).equal(before) {
			t.Errorf("%s: weights or moments changed", method)
		}

		spec.OnNoSignal = "fail"
		trainer = newTrainer(t, spec, Options{})
		_, err := trainer.Run(context.Background(), sourceOf(groups, 1, 0), &recorder{})
		if p, ok := err.(*engine.Problem); !ok || p.Rule != "no-signal" {
			t.Errorf("%s: got %v", method, err)
		}
	}
}

// TestFirstUpdateNeedsNoOldPass: ratios are exactly 1 on the first update and
// leave 1 later, although lp_old is computed lazily.
func TestRatiosLeaveOneAfterTheFirstUpdate(t *testing.T) {
	spec := smallSpec("GRPO")
	spec.Epochs = 3
	_, log, _ := run(t, spec, Options{}, someGroups(2, 4))
	if m := log.metrics[0]; m.RatioMean != 1 || m.ClipFraction != 0 {
		t.Errorf("first update: ratio %v, clipped %v", m.RatioMean, m.ClipFraction)
	}
	if m := log.metrics[2]; m.RatioMean == 1 || m.ClipFraction == 0 {
		t.Errorf("third update: ratio %v, clipped %v", m.RatioMean, m.ClipFraction)
	}
}

// TestEveryMethodLearns: ten epochs raise the likelihood of what was rewarded.
func TestEveryMethodLearns(t *testing.T) {
	for _, method := range engine.Methods {
		spec, groups := smallSpec(method), someGroups(2, 4)
		spec.Epochs = 10
		if method == "GSPO_TOKEN" {
			spec.ClipLow, spec.ClipHigh = 0.8, 1.2 // its own bounds stop after one update
		}
		for _, g := range groups {
			for i := range g.Samples {
				g.Samples[i].Reward = float64(i % 2)
				g.Samples[i].Logprobs = constants(len(g.Samples[i].IDs), -4.5)
			}
		}
		trainer, log, result := run(t, spec, Options{}, groups)
		before, after := newTrainer(t, spec, Options{}).margin(t, groups), trainer.margin(t, groups)
		if method == "SFT" {
			if first, last := log.metrics[0].Loss, log.metrics[9].Loss; last > first-0.1 {
				t.Errorf("SFT: loss %.3f -> %.3f", first, last)
			}
			continue
		}
		if after < before+0.01 || result.Updates != 10 {
			t.Errorf("%s: rewarded minus unrewarded log-prob %.4f -> %.4f in %d updates", method, before, after, result.Updates)
		}
	}
}

func constants(n int, x float64) []float64 {
	s := make([]float64, n)
	for i := range s {
		s[i] = x
	}
	return s
}

// margin is the mean log-prob per token of samples with reward 1 minus that of
// the others.
func (t *Trainer) margin(tb *testing.T, groups []*rows.Encoded) float64 {
	tb.Helper()
	sum, n := [2]float64{}, [2]float64{}
	for _, g := range groups {
		it := item{group: &group{Encoded: g, adv: constants(len(g.Samples), 1)}, end: len(g.Samples)}
		m := micro{t.tree(&it, t.lives(&it))}
		err := t.work.LogProbs(context.Background(), m.models(), t.adapter, func(tr, branch int, lp []float64) {
			k := int(m[tr].samples[branch].Reward)
			for _, x := range lp {
				sum[k] += x
			}
			n[k] += float64(len(lp))
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return sum[1]/n[1] - sum[0]/n[0]
}

// TestDividingTheWorkChangesNothing: groups alone, all at once, recomputed, in
// waves of any size, one to four threads: the first gradient is the same to the
// bit.
func TestDividingTheWorkChangesNothing(t *testing.T) {
	for _, method := range []string{"GRPO", "DPO", "ORPO"} {
		t.Run(method, func(t *testing.T) { testDividing(t, method) })
	}
}

func testDividing(t *testing.T, method string) {
	spec, groups := smallSpec(method), someGroups(3, 6)
	spec.KLBeta = 0.2
	first := func(threads int, o Options, wave int) []float32 {
		trainer, err := New(kernel.NewPool(threads), randomModel(), spec, o)
		if err != nil {
			t.Fatal(err)
		}
		trainer.work.WaveTokens = wave
		if _, err := trainer.Run(context.Background(), sourceOf(groups, 1, 0), &recorder{}); err != nil {
			t.Fatal(err)
		}
		var all []float32
		for _, p := range trainer.gradient.Params() {
			all = append(all, p...)
		}
		return all
	}
	want := first(1, Options{}, 0)
	for name, c := range map[string]struct {
		threads, wave int
		o             Options
	}{
		"2 threads":          {2, 0, Options{}},
		"4 threads":          {4, 0, Options{}},
		"recomputed":         {2, 0, Options{MaxBytes: 1}},
		"one tree at a time": {2, 0, Options{MicroTokens: 1}},
		"in waves":           {2, 8, Options{}},
		"waves, recomputed":  {4, 8, Options{MaxBytes: 30 << 10, MicroTokens: 1}},
		"branch by branch":   {2, 1, Options{MicroTokens: 1}},
	} {
		got := first(c.threads, c.o, c.wave)
		if d := relative(got, want); d != 0 {
			t.Errorf("%s: the gradient differs by %.2g", name, d)
		}
	}
}

func TestMetricsDescribeTheBatch(t *testing.T) {
	spec, groups := smallSpec("GRPO"), someGroups(2, 4)
	groups[0].Samples[1].Cut = true
	clear(groups[0].Samples[2].Scored)
	_, log, result := run(t, spec, Options{GroupsPerEpoch: 2}, groups)
	m := log.metrics[0]
	tokens, scored, top := 0, 0, math.Inf(-1)
	for _, g := range groups {
		tokens += tokensOf(g.Samples)
		for i := range g.Samples {
			scored += scores(&g.Samples[i])
			top = max(top, g.Samples[i].Reward)
		}
	}
	if m.Update != 1 || m.Samples != 8 || m.Groups != 2 || m.Tokens != int64(tokens) || m.ScoredTokens != int64(scored) ||
		m.EmptySamples != 1 || m.Truncated != 1 || m.RewardMax != top || !m.Updated || m.GradNorm <= 0 || m.LearningRate != 1e-2 {
		t.Errorf("%+v", m)
	}
	if m.Entropy <= 0 || m.Entropy >= math.Log(97) {
		t.Errorf("entropy %v", m.Entropy)
	}
	var r Report
	if err := json.Unmarshal(result.Report, &r); err != nil || r.Samples != 8 || r.Perplexity < 2 || math.Abs(r.RewardMean-m.RewardMean) > 1e-12 {
		t.Errorf("%+v %v", r, err)
	}
	if len(log.progress) == 0 || log.progress[0].Fraction <= 0 {
		t.Errorf("progress %+v", log.progress)
	}
}

func TestCancelEndsWithinALayer(t *testing.T) {
	trainer := newTrainer(t, smallSpec("GRPO"), Options{})
	ctx, cancel := context.WithCancel(context.Background())
	layers := 0
	trainer.work.Between = func() {
		if layers++; layers == 3 {
			cancel()
		}
	}
	_, err := trainer.Run(ctx, sourceOf(someGroups(2, 4), 1, 0), &recorder{})
	if err != context.Canceled || layers != 3 {
		t.Errorf("%v after %d layers", err, layers)
	}
}

func TestThreadsChangeDuringRun(t *testing.T) {
	spec, groups := smallSpec("GRPO"), someGroups(4, 4)
	spec.BatchSizeSamples, spec.Epochs = 8, 2
	want, _, _ := run(t, spec, Options{}, groups)
	trainer, log := newTrainer(t, spec, Options{}), &recorder{}
	log.onMark = func(m Mark) error { trainer.SetThreads(1 + int(m.Update)%4); return nil }
	if _, err := trainer.Run(context.Background(), sourceOf(groups, 2, 0), log); err != nil {
		t.Fatal(err)
	}
	if trainer.pool.Threads() == 2 {
		t.Error("the number of threads did not change")
	}
	if !stateOf(t, trainer).equal(stateOf(t, want)) {
		t.Error("the number of threads changed the result")
	}
}

// TestHugeRewardsTrain: what overflows is only the report.
func TestHugeRewardsTrain(t *testing.T) {
	groups := someGroups(2, 4)
	groups[0].Samples[0].Reward, groups[1].Samples[1].Reward = 1.5e154, -1.5e154
	_, log, result := run(t, smallSpec("GRPO"), Options{}, groups)
	if result.Updates != 1 || len(log.marks) != 1 {
		t.Errorf("%+v", result)
	}
	if _, err := json.Marshal(log.marks[0]); err != nil {
		t.Error(err)
	}
}

func TestExplodingGradientFailsTheJob(t *testing.T) {
	spec, groups := smallSpec("GRPO"), someGroups(1, 4)
	spec.ScaleRewards = "none"
	groups[0].Samples[0].Reward = 1e300
	trainer := newTrainer(t, spec, Options{})
	_, err := trainer.Run(context.Background(), sourceOf(groups, 1, 0), &recorder{})
	if p, ok := err.(*engine.Problem); !ok || p.Rule != "gradient-not-finite" {
		t.Errorf("got %v", err)
	}
}
