package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"syscall"
	"testing"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

// TestChatDemoModel: a chat is rendered with the model's template, streams, and
// ends with its end of turn; the same seed gives the same answer among others.
func TestChatDemoModel(t *testing.T) {
	w, _ := demoWeights(t)
	s := sampler(t, w, wire.SampleTask{MaxSequences: 4, MaxContext: 256, CacheBytes: 64 << 20})
	seed := int64(7)
	ask := func(n int) (text []string, finish []string) {
		text, finish = make([]string, n), make([]string, n)
		err := s.Generate(t.Context(), wire.SampleRequest{Messages: json.RawMessage(`[{"role":"user","content":"hello"}]`), N: n,
			MaxTokens: 12, Temperature: 0.8, TopP: 1, Seed: &seed}, func(e wire.SampleEvent) error {
			text[e.Index] += e.Text
			finish[e.Index] = e.Finish
			if e.PromptTokens != 0 && e.PromptTokens < 20 {
				t.Errorf("a chat prompt of %d tokens", e.PromptTokens)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return text, finish
	}
	alone, finish := ask(1)
	if alone[0] == "" || finish[0] == "" {
		t.Fatalf("%q %q", alone, finish)
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if among, _ := ask(2); among[0] != alone[0] {
				t.Errorf("among others %q, alone %q", among[0], alone[0])
			}
		})
	}
	wg.Wait()
	t.Logf("%q", alone)
}

func sampler(t *testing.T, w *broker.Weights, task wire.SampleTask) *broker.Sampler {
	t.Helper()
	c := start(t, broker.Options{Name: "sample", Threads: 2, Weights: w})
	s, err := c.StartSampling(t.Context(), task)
	if err != nil {
		t.Fatalf("%v (%v)", err, cause(err))
	}
	return s
}

// TestSamplerRefusesAndCancels: a refused or cancelled request ends alone.
func TestSamplerRefusesAndCancels(t *testing.T) {
	w, _ := tinyWeights(t)
	s := sampler(t, w, wire.SampleTask{MaxContext: 512, CacheBytes: 64 << 20})
	hello := "hello"
	endless := wire.SampleRequest{Prompt: &hello, IgnoreEOS: true, TopP: 1}
	refused := wire.SampleRequest{Prompt: &hello, Adapter: "sha256:unknown", TopP: 1}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	started := make(chan struct{})
	ended := make(chan error)
	go func() {
		var once sync.Once
		ended <- s.Generate(ctx, endless, func(wire.SampleEvent) error {
			once.Do(func() { close(started) })
			<-ctx.Done()
			return nil
		})
	}()
	<-started
	if err := s.Generate(t.Context(), refused, nil); rft.KindOf(err) != rft.KindInvalidArgument {
		t.Errorf("unknown adapter: %v", err)
	}
	if _, err := s.Load(t.Context(), "sha256:bad", []byte(`{}`), nil, 0); rft.KindOf(err) != rft.KindInvalidArgument {
		t.Errorf("bad adapter: %v", err)
	}
	stop := errors.New("enough")
	err := s.Generate(t.Context(), endless, func(wire.SampleEvent) error { return stop })
	if err != stop {
		t.Errorf("the reader's error came back as %v", err)
	}
	cancel()
	if err := <-ended; rft.KindOf(err) != rft.KindCancelled {
		t.Errorf("cancel: %v", err)
	}
	if err := s.Generate(t.Context(), wire.SampleRequest{Prompt: &hello, MaxTokens: 1, TopP: 1}, func(wire.SampleEvent) error { return nil }); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	// A child that dies costs its requests, with a reason.
	endless.N = 64
	var once sync.Once
	err = s.Generate(t.Context(), endless, func(wire.SampleEvent) (err error) {
		once.Do(func() { err = syscall.Kill(s.Child().Pid(), syscall.SIGKILL) })
		return err
	})
	if rft.KindOf(err) != rft.KindUnavailable {
		t.Errorf("killed: %v", err)
	}
	<-s.Ended()
}
