package rl

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

// TestLossesAgainstTRL compares values and gradients with those of TRL's own
// trainers, for every case that the vectors say was compared.
func TestLossesAgainstTRL(t *testing.T) {
	if os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
		t.Skip("FIREKEEP_WITHOUT_ORACLES=1")
	}
	python := os.Getenv("FIREKEEP_PYTHON")
	if python == "" {
		python = filepath.Join("..", "..", "..", ".venv", "bin", "python")
	}
	cmd := exec.Command(python, "testdata/their_losses.py", "testdata/losses.json")
	cmd.Stderr = os.Stderr
	raw, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var theirs map[string]struct {
		Loss float64     `json:"loss"`
		Grad [][]float64 `json:"grad"`
	}
	if err := json.Unmarshal(raw, &theirs); err != nil {
		t.Fatal(err)
	}
	g := readGolden(t)
	compared := map[string]bool{}
	for _, c := range g.Cases {
		if !c.TRLChecked {
			continue
		}
		compared[c.Method] = true
		want, ok := theirs[c.Name]
		if !ok {
			t.Errorf("%s: no answer", c.Name)
			continue
		}
		loss, grad := c.ours(g.Inputs[c.Inputs])
		within := 1e-9
		if c.Method == "ORPO" {
			within = 1e-6 // TRL computes the odds in float32
		}
		if !(math.Abs(loss-want.Loss) <= within*max(1, math.Abs(want.Loss))) {
			t.Errorf("%s: loss %.12g, TRL's %.12g", c.Name, loss, want.Loss)
		}
		for i := range grad {
			for j, x := range grad[i] {
				if !(math.Abs(x-want.Grad[i][j]) <= within) {
					t.Errorf("%s: gradient of token %d of sample %d is %.12g, TRL's %.12g", c.Name, j, i, x, want.Grad[i][j])
				}
			}
		}
	}
	for _, m := range engine.Methods {
		if !compared[m] && m != "SFT" {
			t.Errorf("%s was not compared", m)
		}
	}
}

// ours computes loss and gradient of a case.
func (c goldenCase) ours(in goldenInputs) (loss float64, grad [][]float64) {
	for _, lp := range in.LP {
		grad = append(grad, make([]float64, len(lp)))
	}
	if c.Reduction == "pair" {
		pairs := pairsOf(in)
		for _, p := range pairs {
			terms := PairLoss(c.spec(), in.side(p[0]), in.side(p[1]), len(pairs))
			loss += terms.Loss
			fill(grad[p[0]], terms.Chosen)
			fill(grad[p[1]], terms.Rejected)
		}
		return loss, grad
	}
	b := c.batch(in)
	for i, s := range b.samples {
		if b.live[i] {
			loss += Loss(b.spec, s, b.adv[i], b.norm, grad[i]).Loss
		}
	}
	return loss, grad
}
