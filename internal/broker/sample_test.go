package broker_test

import (
	"testing"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/wire"
)

func TestSampleDemoModel(t *testing.T) {
	w, _ := demoWeights(t)
	c := start(t, broker.Options{Name: "sample", Threads: 2, Weights: w})
	s, err := c.StartSampling(t.Context(), wire.SampleTask{MaxSequences: 4, MaxContext: 256, CacheBytes: 64 << 20})
	if err != nil {
		t.Fatalf("%v (%v)", err, cause(err))
	}
	prompt := "The capital of France is"
	text, generated := "", 0
	err = s.Generate(t.Context(), wire.SampleRequest{Prompt: &prompt, MaxTokens: 8, TopP: 1}, func(e wire.SampleEvent) error {
		text += e.Text
		generated = e.Generated
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%q, %d tokens", text, generated)
}
