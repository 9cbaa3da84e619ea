package sample

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/tensorfile"
	"github.com/firekeep/firekeep/internal/engine/token"
)

// root is the repository's top directory.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "../../..")
}

// oracle finds a file that the oracle tests need, by variable or default.
func oracle(t testing.TB, variable, path string) string {
	t.Helper()
	if p := os.Getenv(variable); p != "" {
		path = p
	} else {
		path = filepath.Join(root(), path)
	}
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
			t.Skipf("FIREKEEP_WITHOUT_ORACLES=1: %v", err)
		}
		t.Fatalf("%s: %v", variable, err)
	}
	return path
}

func demoPath(t testing.TB) string {
	return oracle(t, "FIREKEEP_DEMO_GGUF", ".cache/demo/SmolLM2-135M-Instruct.Q4_1.gguf")
}

// demo is the demo model, prepared once and mapped.
var demo struct {
	once  sync.Once
	model *model.Model
	tok   *token.Tokenizer
	err   error
}

func demoModel(t testing.TB) (*model.Model, *token.Tokenizer) {
	t.Helper()
	path := demoPath(t)
	demo.once.Do(func() { demo.err = prepareDemo(path) })
	if demo.err != nil {
		t.Fatal(demo.err)
	}
	return demo.model, demo.tok
}

func prepareDemo(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var src tensorfile.Source
	ctx := context.Background()
	if err := src.Add(ctx, filepath.Base(path), int64(len(raw)), bytes.NewReader(raw)); err != nil {
		return err
	}
	f, err := os.CreateTemp("", "prepared")
	if err != nil {
		return err
	}
	defer f.Close()
	os.Remove(f.Name()) // it lives as long as it is mapped
	info, err := tensorfile.Prepare(ctx, &src, f, tensorfile.Options{Name: "demo"})
	if err != nil {
		return err
	}
	mapped, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	p, err := tensorfile.OpenPrepared(mapped)
	if err != nil {
		return err
	}
	if demo.model, err = model.Open(p); err != nil {
		return err
	}
	demo.tok, err = token.New(p.Tokenizer())
	return err
}

// oracleRequest is a sequence whose log-probs transformers computes, too.
type oracleRequest struct {
	Adapter  bool      `json:"adapter"`
	Prompt   int       `json:"prompt"` // tokens of the prompt
	Tokens   []int32   `json:"tokens"`
	Logprobs []float64 `json:"-"`
}

// The sampler's log-probs on the demo model, base and adapter, generated and
// echoed, are those of transformers and PEFT.
func TestLogprobsAgainstTransformers(t *testing.T) {
	python := oracle(t, "FIREKEEP_PYTHON", ".venv/bin/python")
	m, tok := demoModel(t)
	pool := kernel.NewPool(runtime.NumCPU())
	defer pool.Close()
	s := New(pool, m, tok, Options{MaxContext: 512})
	a := tinyAdapter(t, &m.Config, 2)
	dir := t.TempDir()
	writePEFT(t, a, dir)
	if err := s.AddAdapter("a", a); err != nil {
		t.Fatal(err)
	}

	texts := []string{
		"<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
		"def fibonacci(n):\n    \"\"\"Return the n-th number.\"\"\"\n",
		"Über den Wolken muß die Freiheit wohl grenzenlos sein 🎈. " + "Once upon a time there was a model that counted to ten. 1 2 3 4 5 6 7 8 9",
	}
	var asked []Request
	for i, text := range texts {
		for j, adapter := range []string{"", "a"} {
			asked = append(asked, Request{ID: uint64(2*i + j), Adapter: adapter, Prompt: tok.Encode(text, false), N: 1 + i%2, MaxTokens: 24,
				Temperature: float64(i) * 0.7, TopP: 1, Seed: seeded(7), Logprobs: true, Echo: true, IgnoreEOS: true})
		}
	}
	answers := serve(t, s, asked...)
	var sent []oracleRequest
	for _, r := range asked {
		for i := range r.N {
			o := oracleRequest{Adapter: r.Adapter != "", Prompt: len(r.Prompt)}
			for _, tk := range answers[fmt.Sprintf("%d/%d", r.ID, i)].tokens {
				o.Tokens, o.Logprobs = append(o.Tokens, tk.ID), append(o.Logprobs, tk.Logprob)
			}
			sent = append(sent, o)
		}
	}
	t.Logf("%q", answers["0/0"].text)
	compareWithTrainer(t, pool, m, a, sent)

	in, err := json.Marshal(map[string]any{"gguf": demoPath(t), "adapter": dir, "sequences": sent})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "testdata/logprobs.py")
	var complaints bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &complaints
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, complaints.Bytes())
	}
	var want [][]float64 // of tokens 1, 2, ...
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	worst, moved, compared := 0.0, 0.0, 0
	for i, o := range sent {
		if len(want[i]) != len(o.Tokens)-1 {
			t.Fatalf("sequence %d: %d log-probs for %d tokens", i, len(want[i]), len(o.Tokens))
		}
		for j, w := range want[i] {
			worst = max(worst, math.Abs(o.Logprobs[j+1]-w))
			compared++
		}
	}
	for j := 1; j < sent[0].Prompt; j++ { // same prompt: base and adapter
		moved = max(moved, math.Abs(sent[0].Logprobs[j]-sent[1].Logprobs[j]))
	}
	t.Logf("%d log-probs, largest difference %.2g; the adapter moves them by up to %.2g", compared, worst, moved)
	if worst > 5e-4 || compared < 300 || moved < 0.1 {
		t.Errorf("largest difference %g of %d, moved %g", worst, compared, moved)
	}
}

// compareWithTrainer checks the promise that makes reinforcement learning
// stable: sampler and trainer agree to 1e-4.
func compareWithTrainer(t *testing.T, pool *kernel.Pool, m *model.Model, a *model.Adapter, sequences []oracleRequest) {
	t.Helper()
	ws, worst := model.NewWorkspace(pool, m, 512), 0.0
	for _, o := range sequences {
		branch := model.Branch{Tokens: o.Tokens[1:], Scored: make([]bool, len(o.Tokens)-1)}
		for i := range branch.Scored {
			branch.Scored[i] = true
		}
		adapter := a
		if !o.Adapter {
			adapter = nil
		}
		err := ws.LogProbs(context.Background(), []*model.Tree{{Prompt: o.Tokens[:1], Branches: []model.Branch{branch}}}, adapter, func(_, _ int, lp []float64) {
			for i := range lp {
				worst = max(worst, math.Abs(lp[i]-o.Logprobs[i+1]))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("largest difference to the trainer: %.2g", worst)
	if worst > 1e-4 {
		t.Errorf("sampler and trainer differ by %g, want at most 1e-4", worst)
	}
}

func writePEFT(t *testing.T, a *model.Adapter, dir string) {
	t.Helper()
	var config, tensors bytes.Buffer
	if err := a.WritePEFT(&config, &tensors, "demo"); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"adapter_config.json": config.Bytes(), "adapter_model.safetensors": tensors.Bytes()} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkDecode measures tokens per second at a context of 256: the last 64
// of them are decoded.
func BenchmarkDecode(b *testing.B) {
	m, tok := demoModel(b)
	for _, batch := range []int{1, 8, 32} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			pool := kernel.NewPool(runtime.NumCPU())
			defer pool.Close()
			s := New(pool, m, tok, Options{MaxContext: 512, MaxSequences: batch, CacheBytes: 2 << 30})
			tokens := 0
			b.ReportAllocs()
			for range b.N {
				b.StopTimer()
				for i := range batch {
					r := Request{ID: uint64(i), Prompt: prompt(uint64(i), 192), MaxTokens: 66, Temperature: 1, TopP: 1, Seed: seeded(1), IgnoreEOS: true}
					if err := s.Submit(r, func(Event) {}); err != nil {
						b.Fatal(err)
					}
				}
				for s.Load().Waiting > 0 {
					s.Step()
				}
				b.StartTimer()
				for before := s.Load().Running; s.Step(); before = s.Load().Running {
					tokens += before
				}
			}
			b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tok/s")
		})
	}
}

// BenchmarkPrefill measures prompt tokens per second.
func BenchmarkPrefill(b *testing.B) {
	m, tok := demoModel(b)
	pool := kernel.NewPool(runtime.NumCPU())
	defer pool.Close()
	s := New(pool, m, tok, Options{MaxContext: 2048})
	for range b.N {
		if err := s.Submit(Request{ID: 1, Prompt: prompt(1, 1024), MaxTokens: -1}, func(Event) {}); err != nil {
			b.Fatal(err)
		}
		for s.Step() {
		}
	}
	b.ReportMetric(float64(1024*b.N)/b.Elapsed().Seconds(), "tok/s")
}
