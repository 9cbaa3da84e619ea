package train

import (
	"math"
	"slices"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// TestCanaryIsOfTheFinalAdapter: the canary is of the adapter that is written, the
// same on any number of threads and after a load, and another before the training.
func TestCanaryIsOfTheFinalAdapter(t *testing.T) {
	spec := smallSpec("SFT")
	trainer, _, _ := run(t, spec, Options{}, someGroups(3, 4))
	canary := func(trainer *Trainer, n int) *engine.Canary {
		t.Helper()
		c, err := trainer.Canary(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := stateOf(t, trainer)
	c := canary(trainer, engine.CanaryTokens)
	if c.Sequence != engine.CanarySequence || c.Tokens() != engine.CanaryTokens || !engine.LogProbs(c.Logprobs) {
		t.Fatalf("%+v", c)
	}
	if now := stateOf(t, trainer); string(now.adapter) != string(before.adapter) || string(now.optimizer) != string(before.optimizer) {
		t.Error("the canary changed the state")
	}
	again := newTrainer(t, spec, Options{AdapterConfig: before.config, Adapter: before.adapter})
	again.pool = kernel.NewPool(3)
	defer again.pool.Close()
	if d := canary(again, engine.CanaryTokens); !slices.Equal(d.Logprobs, c.Logprobs) {
		t.Error("the written adapter says something else")
	}
	if untrained := canary(newTrainer(t, spec, Options{}), engine.CanaryTokens); untrained.Distance(c.Logprobs) < 1e-3 {
		t.Error("training changed nothing that the canary sees")
	}
	short := spec
	short.MaxContextLength = 8
	if d := canary(newTrainer(t, short, Options{AdapterConfig: before.config, Adapter: before.adapter}), engine.CanaryTokens); !slices.Equal(d.Logprobs, c.Logprobs[:7]) {
		t.Errorf("in a short context %v, want the beginning of %v", d.Logprobs, c.Logprobs)
	}
	if none := canary(trainer, 0); none != nil {
		t.Errorf("%+v, though none was asked for", none)
	}
}

// TestCanaryRefusesABrokenAdapter: an adapter that answers nothing ends its job
// rather than becoming a checkpoint.
func TestCanaryRefusesABrokenAdapter(t *testing.T) {
	trainer := newTrainer(t, smallSpec("SFT"), Options{})
	trainer.adapter.Params()[1][0] = float32(math.NaN())
	if c, err := trainer.Canary(t.Context(), engine.CanaryTokens); err == nil {
		t.Errorf("%+v", c)
	}
}
