package rl

import (
	"math"

	"github.com/firekeep/firekeep/internal/engine"
)

const (
	constantRange = 1e-6 // rewards within this range are equal
	stdEpsilon    = 1e-6
)

// Baselines of engine.Spec.Baseline.
const (
	BaselineGroup    = "group"
	BaselineBatch    = "batch"
	BaselineConstant = "constant"
)

// Baseline resolves an unset baseline: batch where no group has two samples to
// compare, group otherwise. sizes holds the samples of each group.
func Baseline(spec *engine.Spec, sizes []int) string {
	if spec.Baseline != "" {
		return spec.Baseline
	}
	for _, n := range sizes {
		if n > 1 {
			return BaselineGroup
		}
	}
	if len(sizes) == 0 {
		return BaselineGroup
	}
	return BaselineBatch
}

// Advantages turns the rewards of the groups of one optimiser batch into
// advantages of the same shape. dead[g] says that group g carries no signal:
// its rewards are constant (or, with a constant baseline, equal to it) and all
// its advantages are exactly 0. With baseline batch the whole batch is one
// population: all groups are dead or none is.
func Advantages(spec *engine.Spec, rewards [][]float64) (adv [][]float64, dead []bool) {
	adv, dead = make([][]float64, len(rewards)), make([]bool, len(rewards))
	sizes, total := make([]int, len(rewards)), 0
	for g, r := range rewards {
		sizes[g] = len(r)
		total += len(r)
	}
	switch Baseline(spec, sizes) {
	case BaselineBatch:
		all := make([]float64, 0, total)
		for _, r := range rewards {
			all = append(all, r...)
		}
		a, d := relative(all, true)
		for g, n := range sizes {
			adv[g], dead[g] = a[:n:n], d
			a = a[n:]
		}
	case BaselineConstant:
		for g, r := range rewards {
			adv[g], dead[g] = against(r, spec.BaselineB)
		}
	default:
		for g, r := range rewards {
			adv[g], dead[g] = relative(r, spec.ScaleRewards != "none")
		}
	}
	return adv, dead
}

// relative is R - mean, divided by std1 + 1e-6 when scaled. Deadness is tested
// on the range and not on the deviation, whose rounding error could pass for a
// signal; the mean is corrected by a second pass for the same reason.
func relative(r []float64, scaled bool) (a []float64, dead bool) {
	a = make([]float64, len(r))
	if len(r) == 0 {
		return a, true
	}
	low, high := r[0], r[0]
	for _, x := range r {
		low, high = min(low, x), max(high, x)
	}
	if high-low <= constantRange {
		return a, true
	}
	n := float64(len(r))
	mean := 0.0
	for _, x := range r {
		mean += x / n
	}
	rest := 0.0
	for _, x := range r {
		rest += x - mean
	}
	mean += rest / n
	squares := 0.0
	for i, x := range r {
		a[i] = x - mean
		squares += a[i] * a[i]
	}
	if scaled {
		std := math.Sqrt(squares / (n - 1)) // n >= 2: one value is constant
		for i := range a {
			a[i] /= std + stdEpsilon
		}
	}
	return a, false
}

// against is R - b; a group that equals b throughout is dead.
func against(r []float64, b float64) (a []float64, dead bool) {
	a, dead = make([]float64, len(r)), true
	for i, x := range r {
		a[i] = x - b
		dead = dead && math.Abs(a[i]) <= constantRange
	}
	if dead {
		clear(a)
	}
	return a, dead
}
