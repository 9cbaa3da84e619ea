package optim

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

func TestGoldenAdamW(t *testing.T) {
	raw, err := os.ReadFile("../rl/testdata/losses.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		AdamW struct {
			Params struct {
				LearningRate, Beta1, Beta2, Eps, WeightDecay, MaxGradNorm float64
				WarmupSteps                                               int
			}
			W     []float64
			Grads [][]float64
			Steps []struct {
				GradNorm, LearningRate float64
				W, M, V                []float64
			}
		} `json:"adamw"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	g, p := doc.AdamW, doc.AdamW.Params
	r := ruleOf(&engine.Spec{LearningRate: p.LearningRate, Beta1: p.Beta1, Beta2: p.Beta2, Epsilon: p.Eps,
		WeightDecay: p.WeightDecay, MaxGradNorm: p.MaxGradNorm, WarmupSteps: p.WarmupSteps})
	w, m, v := slices.Clone(g.W), make([]float64, len(g.W)), make([]float64, len(g.W))
	if len(g.Steps) != 3 {
		t.Fatalf("%d golden steps, want 3", len(g.Steps))
	}
	for i, want := range g.Steps {
		norm := globalNorm([][]float64{g.Grads[i]})
		s := r.at(int64(i+1), norm)
		apply(s, w, g.Grads[i], m, v)
		near(t, "norm", []float64{norm, s.lr}, []float64{want.GradNorm, want.LearningRate}, 1e-9)
		near(t, "w", w, want.W, 1e-9)
		near(t, "m", m, want.M, 1e-9)
		near(t, "v", v, want.V, 1e-9)
	}
}

func near[T float32 | float64](t *testing.T, what string, got, want []T, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if g, w := float64(got[i]), float64(want[i]); !(math.Abs(g-w) <= tolerance*math.Abs(w)+1e-12) {
			t.Errorf("%s[%d] = %.12g, want %.12g", what, i, g, w)
		}
	}
}

// nearTensor compares against the tensor's largest value: the oracle rounds to
// float32 between its operations, which cancellation magnifies.
func nearTensor(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	largest := 0.0
	for _, x := range want {
		largest = max(largest, math.Abs(float64(x)))
	}
	for i := range got {
		if !(math.Abs(float64(got[i])-float64(want[i])) <= tolerance*largest) {
			t.Errorf("%s[%d] = %g, want %g", what, i, got[i], want[i])
		}
	}
}

// history is a run of updates of a few tensors, one of which never has a gradient.
type history struct {
	Spec   engine.Spec
	Params [][]float32
	Grads  [][][]float32
}

func randomHistory(updates int) history {
	rng := rand.New(rand.NewPCG(1, 2))
	draw := func(n int, scale float64) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = float32(rng.NormFloat64() * scale)
		}
		return out
	}
	h := history{Spec: engine.DefaultSpec("GRPO")}
	h.Spec.LearningRate, h.Spec.WeightDecay, h.Spec.WarmupSteps = 3e-3, 0.1, 4
	sizes := []int{17, 64, 5}
	for _, n := range sizes {
		h.Params = append(h.Params, draw(n, 0.5))
	}
	for u := range updates {
		scale := []float64{2, 0.01, 1e-5}[u%3] // clipped, not clipped, near epsilon
		h.Grads = append(h.Grads, [][]float32{draw(sizes[0], scale), draw(sizes[1], scale), make([]float32, sizes[2])})
	}
	return h
}

func (h history) run(t *testing.T) *AdamW {
	t.Helper()
	params := make([][]float32, len(h.Params))
	for i := range params {
		params[i] = slices.Clone(h.Params[i])
	}
	a := New(&h.Spec, params)
	for _, g := range h.Grads {
		if _, _, err := a.Step(g); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// python finds the interpreter of the oracle suite.
func python(t *testing.T) string {
	t.Helper()
	if os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
		t.Skip("FIREKEEP_WITHOUT_ORACLES=1")
	}
	path := os.Getenv("FIREKEEP_PYTHON")
	if path == "" {
		path, _ = filepath.Abs("../../../.venv/bin/python")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no Python for the oracle (FIREKEEP_PYTHON): %v", err)
	}
	return path
}

func TestAgainstPyTorch(t *testing.T) {
	h := randomHistory(12)
	in, err := json.Marshal(map[string]any{"spec": h.Spec, "params": h.Params, "grads": h.Grads})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python(t), "testdata/adamw.py")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	raw, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var want struct{ Params, M, V [][]float32 }
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	a := h.run(t)
	m, v, update := a.State()
	if update != 12 {
		t.Errorf("update %d, want 12", update)
	}
	for i := range h.Params {
		nearTensor(t, "param", a.params[i], want.Params[i], 1e-6)
		nearTensor(t, "m", m[i], want.M[i], 1e-6)
		nearTensor(t, "v", v[i], want.V[i], 1e-6)
	}
}

// A run that is interrupted and restored ends in the same bytes.
func TestRestoreContinues(t *testing.T) {
	h := randomHistory(9)
	whole := h.run(t)
	first := h
	first.Grads = h.Grads[:4]
	a := first.run(t)
	m, v, update := a.State()
	b := New(&h.Spec, a.params)
	if err := b.Restore(m, v, update); err != nil {
		t.Fatal(err)
	}
	for _, g := range h.Grads[4:] {
		if _, _, err := b.Step(g); err != nil {
			t.Fatal(err)
		}
	}
	for i := range h.Params {
		if !slices.Equal(b.params[i], whole.params[i]) {
			t.Errorf("tensor %d differs after the restore", i)
		}
	}
	if b.Update() != 9 {
		t.Errorf("update %d, want 9", b.Update())
	}
}

func TestNonFiniteGradientChangesNothing(t *testing.T) {
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
		h := randomHistory(2)
		a := h.run(t)
		w, m, v := slices.Clone(a.params[0]), slices.Clone(a.m[0]), slices.Clone(a.v[0])
		g := h.Grads[0]
		g[1][3] = bad
		var p *engine.Problem
		if _, _, err := a.Step(g); !errors.As(err, &p) || p.Rule != "gradient-not-finite" {
			t.Fatalf("error %v", err)
		}
		if a.Update() != 2 || !slices.Equal(w, a.params[0]) || !slices.Equal(m, a.m[0]) || !slices.Equal(v, a.v[0]) {
			t.Error("a refused update changed the state")
		}
	}
}

func TestNilGradientIsZero(t *testing.T) {
	h := randomHistory(3)
	want := h.run(t)
	for _, g := range h.Grads {
		g[2] = nil
	}
	got := h.run(t)
	if !slices.Equal(got.params[2], want.params[2]) || slices.Equal(got.params[2], h.Params[2]) {
		t.Error("a nil gradient must decay the weights like a zero gradient")
	}
}

func TestWarmUpGoesOn(t *testing.T) {
	h := randomHistory(1)
	a := New(&h.Spec, h.Params)
	if err := a.Restore(like(h.Params), like(h.Params), 100); err != nil {
		t.Fatal(err)
	}
	if _, lr, err := a.Step(h.Grads[0]); err != nil || lr != h.Spec.LearningRate {
		t.Errorf("learning rate %g (%v) at update 101, want %g", lr, err, h.Spec.LearningRate)
	}
}

func TestRestoreRefuses(t *testing.T) {
	h := randomHistory(1)
	for name, bend := range map[string]func(m, v [][]float32) ([][]float32, [][]float32, int64){
		"missing tensor":  func(m, v [][]float32) ([][]float32, [][]float32, int64) { return m[:2], v, 1 },
		"short tensor":    func(m, v [][]float32) ([][]float32, [][]float32, int64) { v[1] = v[1][:3]; return m, v, 1 },
		"negative square": func(m, v [][]float32) ([][]float32, [][]float32, int64) { v[0][0] = -1; return m, v, 1 },
		"NaN": func(m, v [][]float32) ([][]float32, [][]float32, int64) {
			m[0][0] = float32(math.NaN())
			return m, v, 1
		},
		"negative count": func(m, v [][]float32) ([][]float32, [][]float32, int64) { return m, v, -1 },
	} {
		a := h.run(t)
		before := slices.Clone(a.m[1])
		var p *engine.Problem
		if err := a.Restore(bend(like(h.Params), like(h.Params))); !errors.As(err, &p) {
			t.Errorf("%s: error %v", name, err)
		}
		if a.Update() != 1 || !slices.Equal(before, a.m[1]) {
			t.Errorf("%s: the refused state was taken", name)
		}
	}
}
