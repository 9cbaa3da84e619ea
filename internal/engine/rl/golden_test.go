package rl

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

type goldenInputs struct {
	Rewards [][]float64 `json:"rewards"`
	LP      [][]float64 `json:"lp"`
	Old     [][]float64 `json:"lp_old"`
	Mu      [][]float64 `json:"lp_mu"`
	Ref     [][]float64 `json:"lp_ref"`
}

type goldenCase struct {
	Name, Inputs, Method string
	ScaleRewards         string             `json:"scaleRewards"`
	Reduction            string             `json:"reduction"`
	Params               map[string]float64 `json:"params"`
	Advantages           []float64          `json:"advantages"`
	TokenLoss            [][]float64        `json:"token_loss"`
	Loss                 float64            `json:"loss"`
	Grad                 [][]float64        `json:"grad"`
	Pairs                [][2]int           `json:"pairs"`
	PairLoss             []float64          `json:"pair_loss"`
	TRLChecked           bool               `json:"trl_checked"`
}

type golden struct {
	Advantages []struct {
		Rewards, Group, None []float64
	} `json:"advantages"`
	Inputs map[string]goldenInputs `json:"inputs"`
	Cases  []goldenCase            `json:"cases"`
}

func readGolden(t *testing.T) golden {
	t.Helper()
	raw, err := os.ReadFile("testdata/losses.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// near is the tolerance that the vectors were made for.
func near(got, want float64) bool {
	return math.Abs(got-want) <= 1e-9*math.Abs(want)+1e-12
}

func nearAll(t *testing.T, what string, got, want []float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, want %d", what, len(got), len(want))
		return
	}
	for i := range got {
		if !near(got[i], want[i]) {
			t.Errorf("%s[%d] = %.12g, want %.12g", what, i, got[i], want[i])
		}
	}
}

func TestAdvantagesTable(t *testing.T) {
	for _, row := range readGolden(t).Advantages {
		for scale, want := range map[string][]float64{"group": row.Group, "none": row.None} {
			spec := engine.Spec{ScaleRewards: scale, Baseline: BaselineGroup}
			adv, dead := Advantages(&spec, [][]float64{row.Rewards})
			nearAll(t, scale, adv[0], want)
			if wantDead := slices.Max(row.Rewards)-slices.Min(row.Rewards) <= 1e-6; dead[0] != wantDead {
				t.Errorf("%s %v: dead %v, want %v", scale, row.Rewards, dead[0], wantDead)
			}
		}
	}
}

func (c goldenCase) spec() *engine.Spec {
	p := c.Params
	return &engine.Spec{
		Method: c.Method, ScaleRewards: c.ScaleRewards, ClipLow: p["lo"], ClipHigh: p["hi"], DualClip: p["dual"],
		KLBeta: p["klBeta"], TISCap: p["tisCap"], OffPolicy: p["offPolicy"], MaxContextLength: int(p["maxContextLength"]),
		DPOBeta: p["beta"], ORPOLambda: p["lambda"],
	}
}

// batch is a golden case as an optimiser batch.
type batch struct {
	spec    *engine.Spec
	samples []Scored
	adv     []float64
	live    []bool // takes part in the reduction
	norm    Norm
}

func (c goldenCase) batch(in goldenInputs) batch {
	spec := c.spec()
	adv, dead := Advantages(spec, in.Rewards)
	b := batch{spec: spec}
	for i := range in.LP {
		s := Scored{LP: in.LP[i], Old: in.Old[i], Mu: in.Mu[i]}
		if spec.KLBeta != 0 {
			s.Ref = in.Ref[i]
		}
		live := c.Method != "DAPO" || !dead[i/4]
		b.samples, b.adv, b.live = append(b.samples, s), append(b.adv, adv[i/4][i%4]), append(b.live, live)
		if live {
			b.norm.Samples++
			b.norm.Tokens += len(s.LP)
		}
	}
	return b
}

func TestLossesAgainstGolden(t *testing.T) {
	g := readGolden(t)
	seen := map[string]bool{}
	for _, c := range g.Cases {
		if c.Reduction == "pair" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			seen[c.Method] = true
			b := c.batch(g.Inputs[c.Inputs])
			if c.Method != "SFT" {
				nearAll(t, "advantage", b.adv, c.Advantages)
			}
			total := 0.0
			for i, s := range b.samples {
				grad := make([]float64, len(s.LP))
				if b.live[i] {
					stats := Loss(b.spec, s, b.adv[i], b.norm, grad)
					total += stats.Loss
					want := 0.0
					for _, x := range c.TokenLoss[i] {
						want += x * tokenShare(b.spec, len(s.LP), b.norm)
					}
					if math.Abs(stats.Loss-want) > 1e-9*math.Abs(want)+1e-10 {
						t.Errorf("sample %d: loss %.12g, sum of its tokens %.12g", i, stats.Loss, want)
					}
				}
				nearAll(t, "grad", grad, c.Grad[i])
			}
			if !near(total, c.Loss) {
				t.Errorf("loss %.12g, want %.12g", total, c.Loss)
			}
		})
	}
	for _, m := range engine.Methods {
		if !seen[m] && !Paired(m) {
			t.Errorf("no golden case for %s", m)
		}
	}
}

func TestPairLossesAgainstGolden(t *testing.T) {
	g := readGolden(t)
	seen := map[string]bool{}
	for _, c := range g.Cases {
		if c.Reduction != "pair" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			seen[c.Method] = true
			in, spec := g.Inputs[c.Inputs], c.spec()
			pairs := pairsOf(in)
			if !slices.Equal(pairs, c.Pairs) {
				t.Fatalf("pairs %v, want %v", pairs, c.Pairs)
			}
			total, grad := 0.0, make([][]float64, len(in.LP))
			for i := range in.LP {
				grad[i] = make([]float64, len(in.LP[i]))
			}
			for k, p := range pairs {
				terms := PairLoss(spec, in.side(p[0]), in.side(p[1]), len(pairs))
				total += terms.Loss
				if !near(terms.Loss*float64(len(pairs)), c.PairLoss[k]) {
					t.Errorf("pair %v: loss %.12g, want %.12g", p, terms.Loss*float64(len(pairs)), c.PairLoss[k])
				}
				fill(grad[p[0]], terms.Chosen)
				fill(grad[p[1]], terms.Rejected)
			}
			if !near(total, c.Loss) {
				t.Errorf("loss %.12g, want %.12g", total, c.Loss)
			}
			for i := range grad {
				nearAll(t, "grad", grad[i], c.Grad[i])
			}
		})
	}
	for _, m := range engine.Methods {
		if Paired(m) && !seen[m] {
			t.Errorf("no golden case for %s", m)
		}
	}
}

// pairsOf finds the pairs of the two groups of four.
func pairsOf(in goldenInputs) (pairs [][2]int) {
	for g, r := range in.Rewards {
		var scored []int
		for i := range r {
			scored = append(scored, len(in.LP[4*g+i]))
		}
		if c, r, ok := Pair(r, scored); ok {
			pairs = append(pairs, [2]int{4*g + c, 4*g + r})
		}
	}
	return pairs
}

func (in goldenInputs) side(i int) Side {
	return Side{LP: sum(in.LP[i]), Ref: sum(in.Ref[i]), Tokens: len(in.LP[i])}
}

func sum(v []float64) (s float64) {
	for _, x := range v {
		s += x
	}
	return s
}

func fill(v []float64, x float64) {
	for i := range v {
		v[i] = x
	}
}

// The gradient is the derivative of the loss: checked where no bound is near,
// with everything switched on.
func TestGradientIsDerivative(t *testing.T) {
	spec := engine.DefaultSpec("GRPO")
	spec.KLBeta = 0.05
	s := Scored{LP: []float64{-1, -2, -0.7}, Old: []float64{-1.05, -1.9, -0.75}, Mu: []float64{-1.2, -2.1, -1}, Ref: []float64{-1.1, -1.5, -0.9}}
	norm := Norm{Samples: 3, Tokens: 11}
	for _, method := range []string{"GRPO", "DAPO", "DR_GRPO", "PPO", "IMPORTANCE_SAMPLING", "SFT"} {
		spec.Method = method
		for _, adv := range []float64{0.8, -0.8} {
			grad, scratch := make([]float64, 3), make([]float64, 3)
			Loss(&spec, s, adv, norm, grad)
			for i := range s.LP {
				const h = 1e-6
				at := func(d float64) float64 {
					moved := s
					moved.LP = slices.Clone(s.LP)
					moved.LP[i] += d
					return Loss(&spec, moved, adv, norm, scratch).Loss
				}
				if d := (at(h) - at(-h)) / (2 * h); math.Abs(d-grad[i]) > 1e-8 {
					t.Errorf("%s A %g token %d: gradient %g, difference quotient %g", method, adv, i, grad[i], d)
				}
			}
		}
	}
}
