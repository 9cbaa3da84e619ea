package rl

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

// Any entries give finite weights or a Problem, and what was read can be
// written and read again.
func FuzzParseRewardWeights(f *testing.F) {
	for _, s := range []string{"score", "score\nk=0.5", "a=b=2", "=1", "k=NaN", "k=-1e308", " k = 3 ", "k\nk"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		weights, err := ParseRewardWeights(strings.Split(text, "\n"))
		if err != nil {
			var p *engine.Problem
			if !errors.As(err, &p) || p.Message == "" {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		evals := map[string]float64{}
		for key, w := range weights {
			if key == "" || math.IsNaN(w) || math.IsInf(w, 0) {
				t.Fatalf("%q: weight %g of key %q", text, w, key)
			}
			evals[key] = 0
		}
		if r, missing := Reward(weights, evals); r != 0 || missing != "" {
			t.Fatalf("%q: reward %g, missing %q", text, r, missing)
		}
	})
}
