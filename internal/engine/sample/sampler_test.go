package sample

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

func TestPromptIsComputedOnce(t *testing.T) {
	s := newTiny(t, 1, Options{MaxSequences: 32})
	r := Request{ID: 1, Prompt: prompt(5, 200), N: 12, MaxTokens: 4, Temperature: 1, TopP: 1, Seed: seeded(3), IgnoreEOS: true}
	rows := 0
	out := map[string]*answer{}
	if err := s.Submit(r, collect(out)); err != nil {
		t.Fatal(err)
	}
	most := 0
	for busy := true; busy; {
		busy = s.Step()
		for _, w := range s.work {
			rows += len(w.span.tokens)
		}
		most = max(most, s.Load().Blocks)
	}
	if want := 200 + 12*3; rows != want {
		t.Errorf("%d tokens computed, want %d: the prompt and three of each completion", rows, want)
	}
	if want := 6 + 12; most != want {
		t.Errorf("%d blocks at most, want %d: the prompt's full ones and one per completion", most, want)
	}
}

func TestDecodingGoesOnBesideALongPrompt(t *testing.T) {
	s, out := newTiny(t, 1, Options{}), map[string]*answer{}
	s.Submit(Request{ID: 1, Prompt: prompt(1, 5), MaxTokens: 60, IgnoreEOS: true}, collect(out))
	s.Step()
	s.Submit(Request{ID: 2, Prompt: prompt(2, 490), MaxTokens: 2}, collect(out))
	before := len(out["1/0"].tokens)
	s.Step()
	if len(out["1/0"].tokens) != before+1 || out["2/0"] != nil {
		t.Errorf("after one chunk: %d new tokens, long request %v", len(out["1/0"].tokens)-before, out["2/0"])
	}
	s.Step()
	if out["2/0"] == nil {
		t.Error("the long prompt was not done after two chunks")
	}
	drain(t, s)
}

func TestRequestsThatCannotBeServed(t *testing.T) {
	s := newTiny(t, 1, Options{MaxContext: 100, CacheBytes: 4 * blockBytes})
	ok := Request{ID: 1, Prompt: prompt(1, 10), MaxTokens: 5, TopP: 1}
	for name, c := range map[string]struct {
		rule string
		bend func(*Request)
	}{
		"empty prompt":        {"empty-prompt", func(r *Request) { r.Prompt = nil }},
		"bad token":           {"token-id", func(r *Request) { r.Prompt = []int32{1, tinyVocab} }},
		"negative token":      {"token-id", func(r *Request) { r.Prompt = []int32{-1} }},
		"prompt too long":     {"context-length", func(r *Request) { r.Prompt = prompt(1, 101) }},
		"prompt and answer":   {"context-length", func(r *Request) { r.MaxTokens = 91 }},
		"no room for one":     {"context-length", func(r *Request) { r.Prompt, r.Truncate = prompt(1, 100), true }},
		"cache":               {"cache-size", func(r *Request) { r.MaxTokens = 88 }},
		"unknown adapter":     {"unknown-adapter", func(r *Request) { r.Adapter = "x" }},
		"temperature":         {"sampling-bound", func(r *Request) { r.Temperature = -0.1 }},
		"NaN":                 {"sampling-bound", func(r *Request) { r.Temperature = math.NaN() }},
		"top_p":               {"sampling-bound", func(r *Request) { r.TopP = 1.01 }},
		"top_k":               {"sampling-bound", func(r *Request) { r.TopK = -1 }},
		"n":                   {"sampling-bound", func(r *Request) { r.N = MaxN + 1 }},
		"alternatives":        {"sampling-bound", func(r *Request) { r.TopLogprobs = 21 }},
		"empty stop":          {"sampling-bound", func(r *Request) { r.Stop = []string{""} }},
		"stop that is broken": {"sampling-bound", func(r *Request) { r.Stop = []string{"\xff"} }},
	} {
		r := ok
		c.bend(&r)
		var p *engine.Problem
		if err := s.Submit(r, func(Event) { t.Errorf("%s: event", name) }); !errors.As(err, &p) || p.Rule != c.rule {
			t.Errorf("%s: error %v, want rule %s", name, err, c.rule)
		}
	}
	out := map[string]*answer{}
	if err := s.Submit(ok, collect(out)); err != nil {
		t.Fatal(err)
	}
	var p *engine.Problem
	if err := s.Submit(ok, nil); !errors.As(err, &p) || p.Rule != "duplicate-request" {
		t.Errorf("same id twice: %v", err)
	}
	drain(t, s)
	if s.Step() {
		t.Error("an idle sampler is busy")
	}
}

func TestLengths(t *testing.T) {
	s := newTiny(t, 1, Options{MaxContext: 64})
	for name, c := range map[string]struct {
		r    Request
		want int
	}{
		"asked for":      {Request{MaxTokens: 7}, 7},
		"to the end":     {Request{}, 44},
		"truncated":      {Request{MaxTokens: 1000, Truncate: true}, 44},
		"exactly":        {Request{MaxTokens: 44}, 44},
		"scoring only":   {Request{MaxTokens: -1}, 0},
		"several to end": {Request{N: 3}, 44},
	} {
		c.r.ID, c.r.Prompt, c.r.TopP, c.r.IgnoreEOS = 1, prompt(4, 20), 1, true
		for key, a := range serve(t, s, c.r) {
			if len(a.tokens) != c.want || a.finish != FinishLength || a.last.Generated != c.want || a.first.PromptTokens != 20 {
				t.Errorf("%s %s: %d tokens, finish %q, generated %d, prompt %d, want %d", name, key, len(a.tokens), a.finish, a.last.Generated, a.first.PromptTokens, c.want)
			}
		}
	}
}

func TestScoringOnly(t *testing.T) {
	s := newTiny(t, 1, Options{})
	ids := prompt(8, 70)
	a := serve(t, s, Request{ID: 1, Prompt: ids, MaxTokens: -1, Echo: true, Logprobs: true, TopLogprobs: 2})["1/0"]
	if len(a.tokens) != 70 || a.first.Echoed != 70 || a.finish != FinishLength || a.text != s.tok.Decode(ids, false) {
		t.Fatalf("%d tokens, %d echoed, %q", len(a.tokens), a.first.Echoed, a.finish)
	}
	for i, tk := range a.tokens {
		if tk.ID != ids[i] || (i > 0) != (tk.Logprob < 0 && len(tk.Top) == 2) {
			t.Fatalf("token %d: %+v", i, tk)
		}
	}
}

func TestEndOfTurn(t *testing.T) {
	s := newTiny(t, 1, Options{})
	ends := map[int32]bool{}
	for id := range int32(128) {
		ends[id] = true
	}
	s.ends = ends // half of the bytes end a turn here, so that it happens
	stopped := 0
	for i := range 20 {
		a := serve(t, s, Request{ID: 1, Prompt: prompt(uint64(i), 9), MaxTokens: 8, Temperature: 1, TopP: 1, Seed: seeded(int64(i)), Logprobs: true})["1/0"]
		for j, tk := range a.tokens {
			if last := j == len(a.tokens)-1; s.ends[tk.ID] != (last && a.finish == FinishStop) {
				t.Fatalf("request %d token %d of %d: id %d, finish %s", i, j, len(a.tokens), tk.ID, a.finish)
			}
		}
		if a.finish == FinishStop {
			stopped++
			shown := a.tokens[:len(a.tokens)-1]
			var ids []int32
			for _, tk := range shown {
				ids = append(ids, tk.ID)
			}
			if want := s.tok.Decode(ids, true); a.text != want {
				t.Errorf("text %q, want %q without the end of turn", a.text, want)
			}
		}
	}
	if stopped < 5 {
		t.Errorf("only %d of 20 ended their turn", stopped)
	}
}

func TestCancel(t *testing.T) {
	s, out := newTiny(t, 1, Options{}), map[string]*answer{}
	for id := range uint64(3) {
		if err := s.Submit(Request{ID: id, Prompt: prompt(id, 40), N: 2, MaxTokens: 50, IgnoreEOS: true}, collect(out)); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Cancel(2) || out["2/0"] == nil || out["2/1"].finish != FinishCancelled {
		t.Error("a waiting request was not cancelled at once")
	}
	s.Step()
	s.Step()
	if !s.Cancel(0) || out["0/0"].finish != FinishCancelled || out["0/0"].last.Generated < 1 {
		t.Errorf("a running request was not cancelled: %+v", out["0/0"])
	}
	if s.Cancel(0) || s.Cancel(77) {
		t.Error("cancelled what is not there")
	}
	drain(t, s)
	if out["1/0"].finish != FinishLength || len(out["1/1"].tokens) != 50 {
		t.Error("the other request suffered")
	}

	// From inside an emit: the completion that speaks and its sibling end.
	finishes := 0
	err := s.Submit(Request{ID: 9, Prompt: prompt(9, 40), N: 2, MaxTokens: 50, IgnoreEOS: true}, func(e Event) {
		if e.Index == 1 && e.Generated == 3 && e.Finish == "" {
			s.Cancel(9)
			if err := s.Submit(Request{ID: 10, Prompt: prompt(1, 4), MaxTokens: 3}, collect(out)); err != nil {
				t.Error(err)
			}
		}
		if e.Finish == FinishCancelled {
			finishes++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	drain(t, s)
	if finishes != 2 || out["10/0"] == nil || out["10/0"].finish == "" {
		t.Errorf("%d cancelled, submitted inside: %v", finishes, out["10/0"])
	}
}

// A cancelled request's place and memory serve the next one in the next pass.
func TestCancelFreesThePlaceAtOnce(t *testing.T) {
	s, out := newTiny(t, 1, Options{MaxSequences: 1}), map[string]*answer{}
	for id := range uint64(2) {
		if err := s.Submit(Request{ID: id, Prompt: prompt(id, 20), MaxTokens: 400, IgnoreEOS: true}, collect(out)); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		s.Step()
	}
	if out["1/0"] != nil || len(out["0/0"].tokens) != 5 {
		t.Fatalf("the second request began beside the first")
	}
	s.Cancel(0)
	if l := s.Load(); l.Running != 0 || l.Blocks != 0 {
		t.Errorf("behind the cancel: %+v", l)
	}
	s.Step()
	if out["1/0"] == nil || len(out["1/0"].tokens) != 1 {
		t.Error("the next request did not get its first token in the next pass")
	}
	s.Cancel(1)
}

func TestDamagedAdapterFailsItsRequestOnly(t *testing.T) {
	s := newTiny(t, 1, Options{})
	bad := tinyAdapter(t, &s.model.Config, 1)
	bad.Layers[1].B[3][5] = float32(math.NaN())
	if err := s.AddAdapter("bad", bad); err != nil {
		t.Fatal(err)
	}
	good := Request{ID: 2, Prompt: prompt(2, 20), MaxTokens: 9, Adapter: "a1", Logprobs: true}
	want := serve(t, s, good)
	got := serve(t, s, Request{ID: 1, Prompt: prompt(1, 20), N: 2, MaxTokens: 9, Adapter: "bad", Logprobs: true}, good)
	for _, key := range []string{"1/0", "1/1"} {
		a := got[key]
		if a.finish != FinishFailed || a.last.Problem == nil || a.last.Problem.Rule != "logits-not-finite" {
			t.Errorf("%s: %+v", key, a.last)
		}
		delete(got, key)
	}
	sameAnswers(t, got, want)
	// The blocks that held its values are used again, without harm.
	sameAnswers(t, serve(t, s, good), want)
}

func TestAdapterOfWrongShape(t *testing.T) {
	s := newTiny(t, 1, Options{})
	c := s.model.Config
	c.Hidden = 64
	var p *engine.Problem
	if err := s.AddAdapter("x", tinyAdapter(t, &c, 1)); !errors.As(err, &p) || p.Rule != "adapter-shape" {
		t.Errorf("wrong width: %v", err)
	}
	c = s.model.Config
	c.Layers = 2
	if err := s.AddAdapter("x", tinyAdapter(t, &c, 1)); !errors.As(err, &p) || p.Rule != "adapter-shape" {
		t.Errorf("wrong depth: %v", err)
	}
}

func TestRemovedAdapterFinishesItsWork(t *testing.T) {
	s := newTiny(t, 1, Options{})
	r := Request{ID: 1, Prompt: prompt(1, 20), MaxTokens: 20, Adapter: "a1", IgnoreEOS: true, Logprobs: true}
	want := serve(t, s, r)
	got := map[string]*answer{}
	s.Submit(r, collect(got))
	s.Step()
	s.RemoveAdapter("a1")
	drain(t, s)
	sameAnswers(t, got, want)
	if err := s.Submit(r, collect(got)); err == nil {
		t.Error("a removed adapter was accepted")
	}
}

// Random loads with little memory come to an end and leave no block behind.
func TestSchedulerAlwaysEnds(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 8
	}
	if os.Getenv("FIREKEEP_LONG") == "1" {
		rounds = 500
	}
	for round := range rounds {
		rng := rand.New(rand.NewPCG(uint64(round), 5))
		s := newTiny(t, 1, Options{MaxSequences: 1 + rng.IntN(6), MaxContext: 160, CacheBytes: int64(6+rng.IntN(4)) * blockBytes})
		out, want := map[string]*answer{}, 0
		for id := range uint64(12) {
			r := Request{ID: id, Prompt: prompt(id, 1+rng.IntN(90)), N: 1 + rng.IntN(5), MaxTokens: 1 + rng.IntN(60), IgnoreEOS: true, Echo: rng.IntN(4) == 0, Logprobs: rng.IntN(2) == 0}
			if rng.IntN(2) == 0 {
				r.Adapter = fmt.Sprint("a", rng.IntN(3))
			}
			if err := s.Submit(r, collect(out)); err != nil {
				t.Fatal(err)
			}
			want += r.N
			for range rng.IntN(4) {
				s.Step()
			}
			if rng.IntN(8) == 0 {
				s.Cancel(id - uint64(rng.IntN(2)))
			}
		}
		drain(t, s)
		if len(out) != want {
			t.Fatalf("round %d: %d completions told, want %d", round, len(out), want)
		}
		for key, a := range out {
			if a.finish == "" {
				t.Fatalf("round %d: %s has no end", round, key)
			}
		}
	}
}
