package rl

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
)

// ParseRewardWeights reads rewardWeights of the API: "key" (weight 1) or
// "key=weight". An empty list is the default, score=1. A key may hold "=": the
// last one separates.
func ParseRewardWeights(entries []string) (map[string]float64, error) {
	if len(entries) == 0 {
		return map[string]float64{"score": 1}, nil
	}
	weights := make(map[string]float64, len(entries))
	for _, entry := range entries {
		key, weight := strings.TrimSpace(entry), 1.0
		if i := strings.LastIndexByte(entry, '='); i >= 0 {
			key = strings.TrimSpace(entry[:i])
			x, err := strconv.ParseFloat(strings.TrimSpace(entry[i+1:]), 64)
			if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
				return nil, &engine.Problem{Rule: "reward-weight", Key: key,
					Message: "the weight behind = must be a finite number, as in key=0.5"}
			}
			weight = x
		}
		if key == "" {
			return nil, &engine.Problem{Rule: "reward-weight", Message: "a reward weight names no key; write key or key=0.5"}
		}
		if _, twice := weights[key]; twice {
			return nil, &engine.Problem{Rule: "reward-weight", Key: key, Message: "the key is given twice"}
		}
		weights[key] = weight
	}
	return weights, nil
}

// Reward is the sum of weight x eval, summed in the order of the keys so that
// it is one value. missing names the first key without an eval, "" if none.
func Reward(weights, evals map[string]float64) (r float64, missing string) {
	keys := make([]string, 0, len(weights))
	for k := range weights {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		x, ok := evals[k]
		if !ok {
			return 0, k
		}
		r += weights[k] * x
	}
	return r, ""
}

// Overlong is the penalty on a sample of n scored tokens, which its reward gets
// before the advantage: 0 up to OverlongMaxTokens - OverlongBufferTokens, then
// falling to -1 at OverlongMaxTokens.
func Overlong(spec *engine.Spec, n int) float64 {
	if spec.OverlongMaxTokens <= 0 || spec.OverlongBufferTokens <= 0 {
		return 0
	}
	buffer := float64(spec.OverlongBufferTokens)
	return min(max((float64(spec.OverlongMaxTokens-n)-buffer)/buffer, -1), 0)
}
