package rows

import (
	"errors"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

// TestHugeRewards: what would overflow as a square or in float32 is refused and
// names the sample.
func TestHugeRewards(t *testing.T) {
	row := func(score string) []byte {
		one := func(s string) string {
			return `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"evals":{"score":` + s + `}}`
		}
		return []byte(`{"samples":[` + one("1") + `,` + one(score) + `]}`)
	}
	weights := map[string]float64{"score": 1}
	for score, want := range map[string]int{"1e29": 0, "-1e30": 0, "1e300": 2, "-2e30": 2} {
		g, err := ParseGroup(row(score), 1)
		if err != nil {
			t.Fatal(err)
		}
		_, err = g.CheckRewards(weights)
		var p *engine.Problem
		if errors.As(err, &p) != (want > 0) || want > 0 && (p.Sample != want || p.Line != 1 || p.Rule != RuleNotFinite) {
			t.Errorf("%s: %v", score, err)
		}
	}
}
