package rl

import (
	"errors"
	"math"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

func TestBaselines(t *testing.T) {
	ones := [][]float64{{1}, {0}, {0}, {1}}
	adv, dead := Advantages(&engine.Spec{ScaleRewards: "group"}, ones)
	for g, want := range []float64{0.8660239038, -0.8660239038, -0.8660239038, 0.8660239038} {
		if !near(adv[g][0], want) || dead[g] {
			t.Errorf("one-sample rows: group %d advantage %g dead %v, want %g over the batch", g, adv[g][0], dead[g], want)
		}
	}
	adv, dead = Advantages(&engine.Spec{ScaleRewards: "group"}, [][]float64{{1}, {1, 0}})
	if !dead[0] || adv[0][0] != 0 || dead[1] {
		t.Errorf("a lone sample beside a group: advantage %v dead %v, want its own dead group", adv, dead)
	}
	adv, dead = Advantages(&engine.Spec{Baseline: BaselineBatch}, [][]float64{{0.3, 0.3}, {0.3}})
	if !dead[0] || !dead[1] || adv[0][1] != 0 {
		t.Errorf("constant batch: advantage %v dead %v", adv, dead)
	}
	adv, dead = Advantages(&engine.Spec{Baseline: BaselineConstant, BaselineB: 0.25}, [][]float64{{1, 1}, {0.25}, {0}})
	if adv[0][1] != 0.75 || dead[0] || !dead[1] || adv[2][0] != -0.25 {
		t.Errorf("constant baseline: advantage %v dead %v", adv, dead)
	}
	if adv, dead := Advantages(&engine.Spec{}, [][]float64{{}}); len(adv[0]) != 0 || !dead[0] {
		t.Errorf("empty group: %v %v", adv, dead)
	}
}

// Equal rewards that are not dyadic must not become noise: the mean's rounding
// error divided by its own deviation would.
func TestConstantRewardsAreDead(t *testing.T) {
	spec := engine.Spec{ScaleRewards: "group"}
	for _, r := range []float64{900.1, 0.1, -1e12, 1e-300} {
		adv, dead := Advantages(&spec, [][]float64{{r, r, r}, {1, 0}})
		if !dead[0] || adv[0][0] != 0 || adv[0][1] != 0 || adv[0][2] != 0 {
			t.Errorf("reward %g: advantages %v", r, adv[0])
		}
	}
}

func TestRewardWeights(t *testing.T) {
	w, err := ParseRewardWeights([]string{"score", "k=0.5", "a=b=-2e-1"})
	if err != nil || len(w) != 3 || w["score"] != 1 || w["k"] != 0.5 || w["a=b"] != -0.2 {
		t.Fatalf("%v %v", w, err)
	}
	if w, err := ParseRewardWeights(nil); err != nil || len(w) != 1 || w["score"] != 1 {
		t.Errorf("default: %v %v", w, err)
	}
	for _, bad := range [][]string{{""}, {"=1"}, {"k="}, {"k=NaN"}, {"k=Inf"}, {"k=x"}, {"k", "k=2"}, {"k=1e999"}} {
		var p *engine.Problem
		if _, err := ParseRewardWeights(bad); !errors.As(err, &p) || p.Rule != "reward-weight" {
			t.Errorf("%q: %v", bad, err)
		}
	}
	r, missing := Reward(w, map[string]float64{"score": 1, "k": 2, "a=b": 10, "other": 5})
	if r != 0 || missing != "" {
		t.Errorf("reward %g missing %q, want 1 + 1 - 2 = 0", r, missing)
	}
	if _, missing := Reward(w, map[string]float64{"score": 1, "a=b": 1}); missing != "k" {
		t.Errorf("missing %q, want k", missing)
	}
}

func TestClippedCountsZeroedGradients(t *testing.T) {
	spec := engine.DefaultSpec("GRPO")
	old := []float64{-3, -3, -3, -3}
	// ratios e^0.5 (above), e^-0.5 (below), e^0 (inside), e^2 (above the dual clip).
	s := Scored{LP: []float64{-2.5, -3.5, -3, -1}, Old: old}
	grad := make([]float64, 4)
	for _, c := range []struct {
		adv  float64
		want int
		zero [4]bool
	}{{1, 2, [4]bool{true, false, false, true}}, {-1, 2, [4]bool{false, true, false, true}}, {0, 0, [4]bool{true, true, true, true}}} {
		stats := Loss(&spec, s, c.adv, Norm{1, 4}, grad)
		if stats.Clipped != c.want {
			t.Errorf("A %g: clipped %d, want %d", c.adv, stats.Clipped, c.want)
		}
		for i, zero := range c.zero {
			if (grad[i] == 0) != zero {
				t.Errorf("A %g token %d: gradient %g", c.adv, i, grad[i])
			}
		}
	}
}

func TestOffPolicyMask(t *testing.T) {
	spec := engine.DefaultSpec("GRPO")
	s := Scored{LP: []float64{-12, -13}, Old: []float64{-1, -1}}
	grad := []float64{7, 7}
	stats := Loss(&spec, s, -1, Norm{2, 4}, grad)
	if !stats.Masked || stats.Loss != 0 || grad[0] != 0 || grad[1] != 0 || stats.Clipped != 0 {
		t.Errorf("mean log-ratio 11.5: %+v grad %v, want masked", stats, grad)
	}
	if stats := Loss(&spec, s, 1, Norm{2, 4}, grad); stats.Masked {
		t.Error("a sample with A > 0 was masked")
	}
	s.Mu = []float64{-11, -12} // the sampler's own log-probs decide where there are any
	if stats := Loss(&spec, s, -1, Norm{2, 4}, grad); stats.Masked {
		t.Error("masked although the sampler's log-probs are near")
	}
}

// A gap in the sampler's log-probs switches the correction off for the sample
// instead of inventing a value.
func TestGapInLogprobs(t *testing.T) {
	spec := engine.DefaultSpec("GRPO")
	s := Scored{LP: []float64{-1, -1}, Old: []float64{-1, -1}, Mu: []float64{-3, math.NaN()}}
	with, without := make([]float64, 2), make([]float64, 2)
	a := Loss(&spec, s, 1, Norm{1, 2}, with)
	s.Mu = nil
	b := Loss(&spec, s, 1, Norm{1, 2}, without)
	if a != b || with[0] != without[0] || a.EffectiveSize() != 0 {
		t.Errorf("%+v %v, want %+v %v", a, with, b, without)
	}
}

func TestEffectiveSize(t *testing.T) {
	spec := engine.DefaultSpec("GRPO")
	s := Scored{LP: []float64{-1, -1}, Old: []float64{-1, -1}, Mu: []float64{-1, -3}}
	got := Loss(&spec, s, 1, Norm{1, 2}, make([]float64, 2)).EffectiveSize()
	if want := 9.0 / 5; !near(got, want) { // w = 1 and min(e^2, 2)
		t.Errorf("effective size %g, want %g", got, want)
	}
}

func TestEmptySample(t *testing.T) {
	spec := engine.DefaultSpec("GRPO")
	if stats := Loss(&spec, Scored{}, 1, Norm{}, nil); stats != (Stats{}) {
		t.Errorf("%+v", stats)
	}
}

func TestPairOfAGroup(t *testing.T) {
	for _, c := range []struct {
		rewards  []float64
		scored   []int
		chosen   int
		rejected int
		ok       bool
	}{
		{[]float64{0.5, 1, 0, 1, 0}, []int{1, 1, 1, 1, 1}, 1, 2, true},
		{[]float64{0.5, 1, 0, 1, 0}, []int{1, 0, 1, 1, 1}, 1, 2, false}, // an empty side drops the pair, whatever else there is
		{[]float64{0.5, 1, 0}, []int{0, 1, 1}, 1, 2, true},
		{[]float64{0.3, 0.3 + 1e-7}, []int{1, 1}, 0, 0, false},
		{nil, nil, 0, 0, false},
	} {
		chosen, rejected, ok := Pair(c.rewards, c.scored)
		if ok != c.ok || ok && (chosen != c.chosen || rejected != c.rejected) {
			t.Errorf("%v %v: %d %d %v, want %d %d %v", c.rewards, c.scored, chosen, rejected, ok, c.chosen, c.rejected, c.ok)
		}
	}
}

// Sure pairs must not overflow, and a certain completion has finite odds and no
// odds gradient.
func TestPairLossAtItsLimits(t *testing.T) {
	dpo, orpo := engine.DefaultSpec("DPO"), engine.DefaultSpec("ORPO")
	for _, sign := range []float64{1, -1} {
		p := PairLoss(&dpo, Side{LP: sign * 1e5, Tokens: 1}, Side{LP: -sign * 1e5, Tokens: 1}, 1)
		if want := max(0, -sign*2e4); !near(p.Loss, want) || math.IsNaN(p.Chosen) || p.Margin != sign*2e4 {
			t.Errorf("DPO of margin %g: %+v, want loss %g", sign*2e4, p, want)
		}
	}
	p := PairLoss(&orpo, Side{LP: 0, Tokens: 2}, Side{LP: -3, Tokens: 3}, 1)
	if p.Chosen != -0.5 || math.IsInf(p.Loss, 0) || math.IsNaN(p.Loss) || p.Rejected <= 0 {
		t.Errorf("ORPO of a certain completion: %+v", p)
	}
}

func TestOverlongPenalty(t *testing.T) {
	spec := engine.Spec{OverlongMaxTokens: 100, OverlongBufferTokens: 40}
	for n, want := range map[int]float64{0: 0, 60: 0, 70: -0.25, 100: -1, 500: -1} {
		if got := Overlong(&spec, n); !near(got, want) {
			t.Errorf("%d tokens: %g, want %g", n, got, want)
		}
	}
	if got := Overlong(&engine.Spec{}, 1e6); got != 0 {
		t.Errorf("without a bound: %g", got)
	}
}
