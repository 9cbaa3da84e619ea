package sample

import (
	"slices"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/token"
)

// computing is a kernel level with a precision.
type computing struct {
	level kernel.Level
	bf16  bool
}

func (c computing) String() string {
	if c.bf16 {
		return c.level.String() + " bfloat16"
	}
	return c.level.String() + " float32"
}

func (c computing) computed() engine.Computed {
	return engine.Computed{Level: c.level.String(), BFloat16: c.bf16}
}

// ways are all that this machine has.
func ways() (list []computing) {
	for _, l := range kernel.Detect() {
		if kernel.SelfTest(l) == nil {
			list = append(list, computing{l, false})
		}
	}
	for _, l := range kernel.DetectBF16() {
		if kernel.SelfTest(l) == nil {
			list = append(list, computing{l, true})
		}
	}
	return list
}

// in is a copy of m that multiplies in bf16 or not.
func in(pool *kernel.Pool, m *model.Model, bf16 bool) *model.Model {
	seen := map[*kernel.Packed]*kernel.Packed{}
	again := func(p *kernel.Packed) *kernel.Packed {
		if p != nil && seen[p] == nil {
			c := *p
			seen[p] = &c
		}
		return seen[p]
	}
	c := *m
	c.Embed, c.Head, c.Layers = again(m.Embed), again(m.Head), slices.Clone(m.Layers)
	for l := range c.Layers {
		for t := range c.Layers[l].Linear {
			c.Layers[l].Linear[t] = again(m.Layers[l].Linear[t])
		}
	}
	if bf16 {
		c.UseBF16(pool, make([]uint16, c.BF16Missing()))
	}
	return &c
}

// canaries are the log-probs of the canary as the trainer and as the sampler
// compute them.
func canaries(t *testing.T, m *model.Model, tok *token.Tokenizer, a *model.Adapter, w computing) (trained *engine.Canary, served []float64) {
	t.Helper()
	kernel.Use(w.level)
	pool := kernel.NewPool(2)
	defer pool.Close()
	m = in(pool, m, w.bf16)
	ids := engine.CanaryIDs(m.Config.Vocab, engine.CanaryTokens)
	branch := model.Branch{Tokens: ids[1:], Scored: make([]bool, len(ids)-1)}
	for i := range branch.Scored {
		branch.Scored[i] = true
	}
	trained = &engine.Canary{Sequence: engine.CanarySequence}
	err := model.NewWorkspace(pool, m, 64).LogProbs(t.Context(), []*model.Tree{{Prompt: ids[:1], Branches: []model.Branch{branch}}}, a,
		func(_, _ int, lp []float64) { trained.Logprobs = append(trained.Logprobs, lp...) })
	if err != nil {
		t.Fatal(err)
	}
	s := New(pool, m, tok, Options{MaxContext: 64, CacheBytes: 64 << 20})
	if err := s.AddAdapter("a", a); err != nil {
		t.Fatal(err)
	}
	err = s.Submit(Request{ID: 1, Adapter: "a", Prompt: ids, MaxTokens: -1, TopP: 1, Echo: true, Logprobs: true}, func(e Event) {
		for _, tk := range e.Tokens {
			served = append(served, tk.Logprob)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	drain(t, s)
	return trained, served[1:]
}

// TestCanaryTolerance: on every pair of levels and precisions of this machine the
// sampler's canary is the trainer's within the tolerance that serving demands,
// and that of another adapter is not. docs/precision.md has what was measured.
func TestCanaryTolerance(t *testing.T) {
	best := kernel.Active()
	defer kernel.Use(best)
	pairs := func(t *testing.T, m *model.Model, tok *token.Tokenizer, list []computing) {
		a, other := tinyAdapter(t, &m.Config, 1), tinyAdapter(t, &m.Config, 3)
		trained, served := map[computing]*engine.Canary{}, map[computing][]float64{}
		for _, w := range list {
			trained[w], served[w] = canaries(t, m, tok, a, w)
		}
		for _, from := range list {
			for _, to := range list {
				d, most := trained[from].Distance(served[to]), engine.CanaryTolerance(from.computed(), to.computed())
				t.Logf("trained on %v, served on %v: %.2g", from, to, d)
				if d > most {
					t.Errorf("trained on %v, served on %v: %g apart, more than %g", from, to, d, most)
				}
			}
			if wrong, _ := canaries(t, m, tok, other, from); wrong.Distance(served[from]) <= engine.CanaryTolerance(from.computed(), from.computed()) {
				t.Errorf("on %v another adapter passes", from)
			}
		}
	}
	for name, c := range variations() {
		t.Run(name, func(t *testing.T) { pairs(t, tinyModelOf(c, 5), tinyTokenizer(t), ways()) })
	}
	t.Run("demo", func(t *testing.T) {
		m, tok := demoModel(t)
		pairs(t, m, tok, slices.DeleteFunc(ways(), func(c computing) bool { return c.level == kernel.LevelGo })) // which takes minutes
	})
}
