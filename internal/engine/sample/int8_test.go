package sample

import (
	"math"
	"testing"

	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// With int8 weights, requests with log-probs have the bits of full precision,
// alone and beside others, whatever the tree of prefixes holds; those without
// have answers that depend on nothing but themselves.
func TestInt8LeavesLogprobsAlone(t *testing.T) {
	want := alone(t, 1) // all with log-probs
	s := newTiny(t, 2, Options{MaxSequences: 64, Int8: true})
	var rough []Request
	roughAlone := map[string]*answer{}
	for _, r := range mixed() {
		r.ID += 100
		r.Logprobs, r.TopLogprobs, r.Echo = false, 0, false
		rough = append(rough, r)
		for key, a := range serve(t, newTiny(t, 1, Options{Int8: true}), r) {
			roughAlone[key] = a
		}
	}
	serve(t, s, rough...) // their blocks are in the tree now
	got := serve(t, s, append(mixed(), rough...)...)
	differ := 0
	for key, a := range got {
		if w := want[key]; w != nil {
			sameAnswers(t, map[string]*answer{key: a}, map[string]*answer{key: w})
			continue
		}
		sameAnswers(t, map[string]*answer{key: a}, map[string]*answer{key: roughAlone[key]})
	}
	plain := map[string]*answer{}
	for _, r := range rough {
		for key, a := range serve(t, newTiny(t, 1, Options{}), r) {
			plain[key] = a
		}
	}
	for key, a := range plain {
		if roughAlone[key].text != a.text {
			differ++
		}
	}
	if differ == 0 || len(got) != len(want)+len(roughAlone) {
		t.Errorf("%d answers of %d differ from full precision: int8 was not used", differ, len(plain))
	}
}

// What int8 costs on real weights: how far the log-probs of a text move. The
// numbers of docs/performance.md are this test's.
func TestInt8OnTheDemoModel(t *testing.T) {
	m, tok := demoModel(t)
	pool := kernel.NewPool(2)
	defer pool.Close()
	text := "The city of Paris lies on the river Seine. It has been the capital of France for many centuries, and its museums, bridges and " +
		"cafes are known all over the world. In the morning, bread is baked; in the evening, people walk along the water and talk about books."
	lp := func(exact bool) (out []float64) {
		s := New(pool, m, tok, Options{Int8: !exact})
		r := Request{ID: 1, Prompt: tok.Encode(text, true), MaxTokens: -1, Echo: true, Logprobs: true}
		if err := s.Submit(r, func(e Event) {
			for _, tk := range e.Tokens[1:] {
				out = append(out, tk.Logprob)
			}
		}); err != nil {
			t.Fatal(err)
		}
		s.requests[0].exact = exact // against the rule, to see what it protects from
		drain(t, s)
		return out
	}
	want, got := lp(true), lp(false)
	mean, worst, bias := 0.0, 0.0, 0.0
	for i := range want {
		d := got[i] - want[i]
		mean, worst, bias = mean+math.Abs(d)/float64(len(want)), max(worst, math.Abs(d)), bias+d/float64(len(want))
	}
	t.Logf("%d tokens: mean |difference| %.4f, largest %.4f, mean %.4f", len(want), mean, worst, bias)
	if len(want) < 50 || mean == 0 || mean > 0.1 || worst > 1 {
		t.Errorf("%d tokens: mean %g, largest %g", len(want), mean, worst)
	}
}
