package sample

import (
	"fmt"
	"testing"
)

// A token of a running completion costs no allocation: base and adapters, greedy
// and drawn, with log-probs.
func TestDecodingAllocatesNothing(t *testing.T) {
	for _, threads := range []int{1, 2} {
		decodingAllocatesNothing(t, newTiny(t, threads, Options{MaxSequences: 16, MaxContext: 512}))
	}
}

func decodingAllocatesNothing(t *testing.T, s *Sampler) {
	t.Helper()
	s.tok = plainTokenizer(t)
	tokens := 0
	for i := range 8 {
		r := Request{ID: uint64(i), Prompt: prompt(uint64(i), 20+i), N: 1 + i%2, MaxTokens: 460, Temperature: float64(i%3) * 0.5, TopP: 1, IgnoreEOS: true, Seed: seeded(int64(i)), Logprobs: i%2 == 0}
		if i%4 != 0 {
			r.Adapter = fmt.Sprint("a", i%3)
		}
		if err := s.Submit(r, func(e Event) { tokens += len(e.Tokens) }); err != nil {
			t.Fatal(err)
		}
	}
	for range 300 { // every piece of the vocabulary, every buffer, every block
		s.Step()
	}
	for id := range int32(tinyVocab) {
		s.piece(id)
	}
	for s.cache.made < 12*16 { // those of the rest of the completions
		s.cache.release([]*block{s.cache.makeBlock()})
	}
	before := tokens
	if n := testing.AllocsPerRun(100, func() { s.Step() }); n > 0 {
		t.Errorf("%d threads: %v allocations per pass", s.pool.Threads(), n)
	}
	if tokens-before != 101*12 {
		t.Errorf("%d tokens in 101 passes of 12 completions", tokens-before)
	}
}
