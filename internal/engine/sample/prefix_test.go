package sample

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// computedRows counts the tokens that passes compute until all is done.
func computedRows(t *testing.T, s *Sampler, requests ...Request) (rows int, answers map[string]*answer) {
	t.Helper()
	answers = map[string]*answer{}
	for _, r := range requests {
		if err := s.Submit(r, collect(answers)); err != nil {
			t.Fatal(err)
		}
	}
	for busy := true; busy; {
		busy = s.Step()
		for _, w := range s.work {
			rows += len(w.span.tokens)
		}
	}
	return rows, answers
}

func TestPrefixIsSharedBetweenRequests(t *testing.T) {
	first := Request{ID: 1, Prompt: prompt(7, 100), MaxTokens: 3, TopP: 1, IgnoreEOS: true, Logprobs: true}
	second := Request{ID: 2, Prompt: slices.Concat(first.Prompt[:70], prompt(8, 30)), MaxTokens: 3, TopP: 1, IgnoreEOS: true, Logprobs: true}
	_, want := computedRows(t, newTiny(t, 1, Options{}), second)

	s := newTiny(t, 1, Options{})
	rows, got := computedRows(t, s, first)
	if rows != 100+2 || got["1/0"].first.CachedTokens != 0 {
		t.Fatalf("%d rows, %d cached tokens for the first", rows, got["1/0"].first.CachedTokens)
	}
	rows, got = computedRows(t, s, second)
	if rows != 100-64+2 || got["2/0"].first.CachedTokens != 64 || got["2/0"].first.PromptTokens != 100 {
		t.Errorf("%d rows computed, %d tokens cached, want 38 and 64: two full blocks are equal", rows, got["2/0"].first.CachedTokens)
	}
	sameAnswers(t, got, want)

	// Only what is equal from the first token on, with the same adapter.
	for name, r := range map[string]Request{
		"another adapter": {Adapter: "a1", Prompt: first.Prompt},
		"base after it":   {Prompt: slices.Concat([]int32{40}, first.Prompt[1:])},
	} {
		r.ID, r.MaxTokens, r.TopP, r.IgnoreEOS = 3, 1, 1, true
		if rows, got := computedRows(t, s, r); rows != 100 || got["3/0"].first.CachedTokens != 0 {
			t.Errorf("%s: %d rows, %d cached tokens", name, rows, got["3/0"].first.CachedTokens)
		}
	}
	// Log-probs of the prompt cannot be recalled.
	echo := first
	echo.Echo = true
	if rows, _ := computedRows(t, s, echo); rows != 100+2 {
		t.Errorf("%d rows for an echo with log-probs", rows)
	}
}

// A whole prompt that is known still gives logits, and a next turn begins with
// the answer of the one before.
func TestPrefixOfWholePromptsAndTurns(t *testing.T) {
	r := Request{ID: 1, Prompt: prompt(3, 96), MaxTokens: 50, TopP: 1, IgnoreEOS: true, Logprobs: true}
	s := newTiny(t, 2, Options{})
	_, first := computedRows(t, s, r)
	rows, again := computedRows(t, s, r)
	if rows != 32+49 || again["1/0"].first.CachedTokens != 64 {
		t.Errorf("%d rows, %d cached", rows, again["1/0"].first.CachedTokens)
	}
	sameAnswers(t, again, first)
	turn := r
	turn.Prompt = slices.Clone(r.Prompt)
	for _, tk := range first["1/0"].tokens {
		turn.Prompt = append(turn.Prompt, tk.ID)
	}
	turn.Prompt, turn.MaxTokens = append(turn.Prompt, prompt(4, 9)...), 5
	_, want := computedRows(t, newTiny(t, 1, Options{}), turn)
	rows, got := computedRows(t, s, turn)
	if rows != 155-128+4 || got["1/0"].first.CachedTokens != 128 {
		t.Errorf("next turn: %d rows, %d cached, want the blocks of prompt and answer", rows, got["1/0"].first.CachedTokens)
	}
	sameAnswers(t, got, want)
}

// What another adapter under the same id computed is not used.
func TestPrefixGoesWithItsAdapter(t *testing.T) {
	s := newTiny(t, 1, Options{})
	r := Request{ID: 1, Adapter: "a1", Prompt: prompt(5, 80), MaxTokens: 4, TopP: 1, IgnoreEOS: true, Logprobs: true}
	computedRows(t, s, r)
	running := r
	running.ID = 2
	if err := s.Submit(running, func(Event) {}); err != nil {
		t.Fatal(err)
	}
	s.Step()
	if err := s.AddAdapter("a1", tinyAdapter(t, &s.model.Config, 2)); err != nil {
		t.Fatal(err)
	}
	drain(t, s)
	if n := s.cache.prefixes.size; n != 0 {
		t.Errorf("%d blocks of a removed adapter are kept", n)
	}
	fresh := newTiny(t, 1, Options{})
	fresh.AddAdapter("a1", tinyAdapter(t, &s.model.Config, 2))
	_, want := computedRows(t, fresh, r)
	rows, got := computedRows(t, s, r)
	if rows != 80+3 {
		t.Errorf("%d rows", rows)
	}
	sameAnswers(t, got, want)
}

// Random conversations with little memory: the tree never holds more than the
// memory, its counts stay true, and every answer is the one of a fresh sampler.
func TestPrefixesUnderPressure(t *testing.T) {
	const blocks = 9
	s := newTiny(t, 2, Options{MaxSequences: 4, MaxContext: 160, CacheBytes: blocks * blockBytes})
	rng := rand.New(rand.NewPCG(4, 4))
	recalled := 0
	for round := range 12 {
		var all []Request
		for i := range 4 {
			p := slices.Concat(prompt(uint64(rng.IntN(2)), 32+32*rng.IntN(2)), prompt(uint64(rng.IntN(3)), 5+rng.IntN(40)))
			r := Request{ID: uint64(i), Caller: uint64(i % 2), Prompt: p, N: 1 + rng.IntN(2), MaxTokens: 1 + rng.IntN(20), Temperature: 1, TopP: 1, Seed: seeded(int64(round)), IgnoreEOS: true, Logprobs: true, Echo: rng.IntN(5) == 0}
			if rng.IntN(3) == 0 {
				r.Adapter = fmt.Sprint("a", rng.IntN(2))
			}
			all = append(all, r)
		}
		want := map[string]*answer{}
		for _, r := range all {
			for key, a := range serve(t, newTiny(t, 1, Options{}), r) {
				want[key] = a
			}
		}
		got := serve(t, s, all...)
		sameAnswers(t, got, want)
		for _, a := range got {
			recalled += a.first.CachedTokens
		}
		idle, size := 0, 0
		for n := s.cache.prefixes.used.earlier; n != &s.cache.prefixes.used; n = n.earlier {
			size++
			if n.block.refs == 1 {
				idle++
			}
		}
		if p := s.cache.prefixes; p.size != size || p.idle != idle || size > blocks || s.cache.made > blocks {
			t.Fatalf("round %d: %d blocks in the tree, counted %d, idle %d, counted %d; %d made, limit %d", round, size, p.size, idle, p.idle, s.cache.made, blocks)
		}
	}
	if recalled == 0 {
		t.Error("nothing was ever recalled: the test shows nothing")
	}
}
