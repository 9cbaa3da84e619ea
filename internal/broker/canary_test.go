package broker_test

import (
	"testing"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

// TestCanary: what a sampling child says about the canary is what the training
// child said of the same adapter, beside other requests too, and not what it said
// of another. An adapter that cannot be computed is not left in the child.
func TestCanary(t *testing.T) {
	w, _ := tinyWeights(t)
	done, state, r := train(t, broker.Options{Weights: w, Threads: 2}, stepInput(6))
	if done.Canary == nil || done.Canary.Sequence != engine.CanarySequence || done.Canary.Tokens() != engine.CanaryTokens {
		t.Fatalf("%+v", done.Canary)
	}
	if again, _, _ := train(t, broker.Options{Weights: w, Threads: 1}, stepInput(6)); again.Canary.Distance(done.Canary.Logprobs) != 0 {
		t.Error("on one thread another canary")
	}
	s := sampler(t, w, wire.SampleTask{MaxSequences: 2, MaxContext: 512, CacheBytes: 64 << 20})
	load := func(id string, of broker.State) []float64 {
		t.Helper()
		lp, err := s.Load(t.Context(), id, of.Config.Data, of.Adapter.Data, done.Canary.Tokens())
		if err != nil {
			t.Fatal(err)
		}
		return lp
	}
	same := engine.CanaryTolerance(engine.Computed{Level: done.Level}, engine.Computed{Level: done.Level})
	if d := done.Canary.Distance(load("sha256:1", state)); d > same {
		t.Errorf("%g apart", d)
	}
	if d := done.Canary.Distance(load("sha256:2", r.states[0])); d <= same {
		t.Errorf("the adapter of the first update is only %g from that of the last", d)
	}
	hello := "hello"
	long := wire.SampleRequest{Prompt: &hello, MaxTokens: 200, TopP: 1, IgnoreEOS: true}
	busy := make(chan error, 3)
	for range 3 { // one more than there are places
		go func() {
			busy <- s.Generate(t.Context(), long, func(wire.SampleEvent) error { return nil })
		}()
	}
	if d := done.Canary.Distance(load("sha256:3", state)); d > same {
		t.Errorf("beside others %g apart", d)
	}
	for range 3 {
		if err := <-busy; err != nil {
			t.Error(err)
		}
	}
	if lp, err := s.Load(t.Context(), "sha256:4", state.Config.Data, state.Adapter.Data, 0); err != nil || len(lp) != 0 {
		t.Errorf("not asked for: %v, %v", lp, err)
	}
	if err := s.Unload(t.Context(), "sha256:4"); err != nil {
		t.Error(err)
	}
	if err := s.Unload(t.Context(), "sha256:4"); rft.KindOf(err) != rft.KindInvalidArgument {
		t.Errorf("unloaded twice: %v", err)
	}
	small := sampler(t, w, wire.SampleTask{MaxContext: 16, CacheBytes: 64 << 20})
	if _, err := small.Load(t.Context(), "sha256:1", state.Config.Data, state.Adapter.Data, engine.MaxCanaryTokens); rft.KindOf(err) != rft.KindInvalidArgument {
		t.Errorf("a canary that does not fit: %v", err)
	}
	if err := small.Generate(t.Context(), wire.SampleRequest{Prompt: &hello, Adapter: "sha256:1", MaxTokens: 1, TopP: 1}, nil); rft.KindOf(err) != rft.KindInvalidArgument {
		t.Errorf("an adapter that could not be tried serves: %v", err)
	}
}
