package sample

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
)

const blockBytes = 4 * 3 * 2 * 2 * 16 * blockTokens // of the tiny model: layers, KV heads, K and V, head width

func newTiny(t testing.TB, threads int, o Options) *Sampler {
	t.Helper()
	return newTinyOf(t, tinyConfig(), threads, o)
}

func newTinyOf(t testing.TB, c engine.Config, threads int, o Options) *Sampler {
	t.Helper()
	return newTinyIn(t, c, threads, o, false)
}

// newTinyIn is newTinyOf in bfloat16 or not.
func newTinyIn(t testing.TB, c engine.Config, threads int, o Options, bf16 bool) *Sampler {
	t.Helper()
	pool := kernel.NewPool(threads)
	t.Cleanup(pool.Close)
	m := tinyModelOf(c, 1)
	if bf16 {
		m.UseBF16(pool, make([]uint16, m.BF16Missing()))
	}
	s := New(pool, m, tinyTokenizer(t), o)
	for i := range 3 {
		if err := s.AddAdapter(fmt.Sprint("a", i), tinyAdapter(t, &s.model.Config, int64(i))); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// mixed is a load of 16 requests: base and adapters, greedy and not, short and
// long prompts, one and several completions.
func mixed() []Request {
	var all []Request
	for i := range 16 {
		r := Request{ID: uint64(i), Prompt: prompt(uint64(i), 3+i*9%150), N: 1 + i%3, MaxTokens: 5 + i*7%40, Temperature: float64(i%4) * 0.4,
			TopP: 1, Seed: seeded(int64(i * 1000)), Logprobs: true, TopLogprobs: i % 3}
		if i%4 != 3 {
			r.Adapter = fmt.Sprint("a", i%4)
		}
		switch i % 5 {
		case 1:
			r.TopK = 20
		case 2:
			r.TopP = 0.9
		case 4:
			r.TopK, r.TopP = 50, 0.8
		}
		r.Echo = i%6 == 0
		if i%4 == 1 {
			r.RepetitionPenalty, r.FrequencyPenalty, r.MinP, r.Bias = 1.3, 0.5, 0.01, []Bias{{65, 2}, {tinyEnd, -50}}
		}
		all = append(all, r)
	}
	return all
}

func serve(t testing.TB, s *Sampler, requests ...Request) map[string]*answer {
	t.Helper()
	out := map[string]*answer{}
	for _, r := range requests {
		if err := s.Submit(r, collect(out)); err != nil {
			t.Fatal(err)
		}
	}
	drain(t, s)
	return out
}

func sameAnswers(t *testing.T, got, want map[string]*answer) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d completions, want %d", len(got), len(want))
	}
	for key, w := range want {
		g := got[key]
		if g == nil {
			t.Errorf("%s: missing", key)
			continue
		}
		if g.text != w.text || g.finish != w.finish || !reflect.DeepEqual(g.tokens, w.tokens) {
			t.Errorf("%s differs: %q (%s, %d tokens), want %q (%s, %d tokens)", key, g.text, g.finish, len(g.tokens), w.text, w.finish, len(w.tokens))
		}
	}
}

func alone(t *testing.T, threads int) map[string]*answer {
	t.Helper()
	out := map[string]*answer{}
	s := newTiny(t, threads, Options{})
	for _, r := range mixed() {
		for key, a := range serve(t, s, r) {
			out[key] = a
		}
	}
	return out
}

// The promise of the package: an answer is the same bits alone, among others,
// with other threads, when it arrives in the middle, and when memory is so short
// that completions are paused and computed again.
func TestAnswerIsTheSameInAnyCompany(t *testing.T) {
	want := alone(t, 1)
	distinct := map[string]bool{}
	for _, a := range want {
		distinct[a.text] = true
	}
	if len(distinct) < 20 {
		t.Fatalf("only %d different answers of %d: the test would not notice a mix-up", len(distinct), len(want))
	}
	t.Run("two threads alone", func(t *testing.T) { sameAnswers(t, alone(t, 2), want) })
	for _, threads := range []int{1, 2} {
		t.Run(fmt.Sprintf("together, %d threads", threads), func(t *testing.T) {
			sameAnswers(t, serve(t, newTiny(t, threads, Options{MaxSequences: 64}), mixed()...), want)
		})
	}
	t.Run("one after another arriving, threads changing", func(t *testing.T) {
		s, got := newTiny(t, 2, Options{MaxSequences: 7}), map[string]*answer{}
		for _, r := range mixed() {
			if err := s.Submit(r, collect(got)); err != nil {
				t.Fatal(err)
			}
			s.Step()
			s.pool.SetThreads(1 + int(r.ID)%4)
			s.Step()
		}
		drain(t, s)
		sameAnswers(t, got, want)
	})
	for _, blocks := range []int64{8, 11, 20} {
		t.Run(fmt.Sprintf("%d blocks of memory", blocks), func(t *testing.T) {
			s := newTiny(t, 2, Options{MaxSequences: 16, CacheBytes: blocks * blockBytes})
			if s.cache.limit != int(blocks) {
				t.Fatalf("limit %d blocks, want %d", s.cache.limit, blocks)
			}
			got, pauses := map[string]*answer{}, 0
			for _, r := range mixed() {
				if err := s.Submit(r, collect(got)); err != nil {
					t.Fatal(err)
				}
			}
			for s.Step() {
				for _, r := range s.requests {
					if r.has(paused) {
						pauses++
					}
				}
			}
			sameAnswers(t, got, want)
			if pauses == 0 {
				t.Error("memory was never short: the test shows nothing")
			}
			if s.cache.made > int(blocks) {
				t.Errorf("%d blocks made, limit %d", s.cache.made, blocks)
			}
		})
	}
}

// Siblings share blocks and clusters of attention; decoded one after another
// they share nothing at the same time.
func TestSiblingsDoNotMatter(t *testing.T) {
	r := Request{ID: 1, Prompt: prompt(6, 70), N: 40, MaxTokens: 12, Temperature: 1, TopP: 1, Seed: seeded(11), Logprobs: true, Adapter: "a1"}
	want := serve(t, newTiny(t, 1, Options{MaxSequences: 1}), r)
	sameAnswers(t, serve(t, newTiny(t, 2, Options{MaxSequences: 64}), r), want)
	distinct := map[string]bool{}
	for _, a := range want {
		distinct[a.text] = true
	}
	if len(distinct) < 30 {
		t.Errorf("only %d different completions of 40", len(distinct))
	}
}

// The sampler's log-probs are the trainer's, for base and adapters, generated
// and echoed tokens.
func TestLogprobsAreTheTrainers(t *testing.T) {
	logprobsAreTheTrainers(t, newTiny(t, 2, Options{}), 1e-4)
}

// Every family keeps both promises: the trainer's log-probs, and the same bits
// in any company.
func TestFamilies(t *testing.T) {
	for name, c := range variations() {
		t.Run(name, func(t *testing.T) {
			logprobsAreTheTrainers(t, newTinyOf(t, c, 2, Options{}), 1e-4)
			alone := map[string]*answer{}
			s := newTinyOf(t, c, 1, Options{})
			for _, r := range mixed() {
				for key, a := range serve(t, s, r) {
					alone[key] = a
				}
			}
			sameAnswers(t, serve(t, newTinyOf(t, c, 2, Options{MaxSequences: 64}), mixed()...), alone)
		})
	}
}

func logprobsAreTheTrainers(t *testing.T, s *Sampler, within float64) {
	t.Helper()
	requests := mixed()
	answers := serve(t, s, requests...)
	ws := model.NewWorkspace(s.pool, s.model, 512)
	worst, compared := 0.0, 0
	for _, r := range requests {
		var a *model.Adapter
		if r.Adapter != "" {
			a = tinyAdapter(t, &s.model.Config, int64(r.Adapter[1]-'0'))
		}
		for i := range r.N {
			got := answers[fmt.Sprintf("%d/%d", r.ID, i)]
			tokens := got.tokens[got.first.Echoed:]
			branch := model.Branch{}
			for _, tk := range tokens {
				branch.Tokens, branch.Scored = append(branch.Tokens, tk.ID), append(branch.Scored, true)
			}
			tree := &model.Tree{Prompt: r.Prompt, Branches: []model.Branch{branch}}
			err := ws.LogProbs(context.Background(), []*model.Tree{tree}, a, func(_, _ int, lp []float64) {
				for j := range lp {
					worst = max(worst, math.Abs(lp[j]-tokens[j].Logprob))
					compared++
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if r.Echo && r.Logprobs {
				whole := model.Branch{Tokens: r.Prompt[1:], Scored: make([]bool, len(r.Prompt)-1)}
				for j := range whole.Scored {
					whole.Scored[j] = true
				}
				err := ws.LogProbs(context.Background(), []*model.Tree{{Prompt: r.Prompt[:1], Branches: []model.Branch{whole}}}, a, func(_, _ int, lp []float64) {
					for j := range lp {
						worst = max(worst, math.Abs(lp[j]-got.tokens[j+1].Logprob))
						compared++
					}
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	t.Logf("largest difference of %d log-probs: %.2g", compared, worst)
	if worst > within || compared < 500 {
		t.Errorf("largest difference %g over %d log-probs, want at most %g", worst, compared, within)
	}
}
