package child

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/sample"
	"github.com/firekeep/firekeep/internal/wire"
)

// broker starts an engine in this process and shakes hands with it.
func broker(t *testing.T) (*wire.Conn, chan error) {
	t.Helper()
	ours, theirs := net.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- Run(t.Context(), theirs, Options{Build: "test", Levels: []kernel.Level{kernel.LevelGo}})
	}()
	c := wire.New(ours, wire.Options{Side: wire.Broker})
	t.Cleanup(func() { c.Close() })
	hello, err := c.Handshake(t.Context(), wire.Hello{Peer: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if hello.Level != "go" || hello.Build != "test" || len(hello.Capabilities) != 7 {
		t.Fatalf("hello %+v", hello)
	}
	return c, ended
}

// TestTasksThatCannotBe: the engine says what is wrong and ends.
func TestTasksThatCannotBe(t *testing.T) {
	weights := &wire.Weights{Size: 100}
	for name, c := range map[string]struct {
		task wire.Task
		rule string
	}{
		"unknown kind":        {wire.Task{Kind: "dance"}, "bad-task"},
		"kind without part":   {wire.Task{Kind: "import"}, "bad-task"},
		"train without base":  {wire.Task{Kind: "train", Train: &wire.TrainTask{}}, "bad-task"},
		"merge without base":  {wire.Task{Kind: "merge", Merge: &wire.MergeTask{}}, "bad-task"},
		"merge of a stream":   {wire.Task{Kind: "merge", Merge: &wire.MergeTask{}, Weights: &wire.Weights{FD: 2, Size: 10}}, "bad-weights"},
		"unknown level":       {wire.Task{Kind: "import", Import: &wire.ImportTask{}, Level: "avx1024"}, "kernel-level"},
		"level of no machine": {wire.Task{Kind: "import", Import: &wire.ImportTask{}, Level: "avx2"}, "kernel-level"},
		"unknown precision":   {wire.Task{Kind: "probe", Probe: &wire.ProbeTask{}, Precision: "int4"}, "precision"},
		"no unit":             {wire.Task{Kind: "probe", Probe: &wire.ProbeTask{}, Precision: wire.BFloat16}, "precision"},
		"level of float32":    {wire.Task{Kind: "probe", Probe: &wire.ProbeTask{}, Precision: wire.BFloat16, Level: "go"}, "kernel-level"},
		"impossible size":     {wire.Task{Kind: "sample", Sample: &wire.SampleTask{}, Weights: &wire.Weights{Size: -1}}, "bad-weights"},
		"standard descriptor": {wire.Task{Kind: "sample", Sample: &wire.SampleTask{}, Weights: &wire.Weights{FD: 1, Size: 10}}, "bad-weights"},
		"unknown format":      {wire.Task{Kind: "validate", Validate: &wire.ValidateTask{Format: "XML"}, Weights: weights}, "unknown-format"},
	} {
		t.Run(name, func(t *testing.T) {
			b, ended := broker(t)
			if err := b.Send(t.Context(), c.task); err != nil {
				t.Fatal(err)
			}
			m, err := b.Receive(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			f, ok := m.(wire.Fault)
			if !ok || f.Problem == nil || f.Kind != "INVALID_ARGUMENT" || f.Problem.Rule != c.rule {
				t.Fatalf("%+v", m)
			}
			if err := <-ended; err != nil {
				t.Errorf("a fault that was told is a good end: %v", err)
			}
		})
	}
}

// TestBrokerGone: an engine whose broker is gone ends.
func TestBrokerGone(t *testing.T) {
	b, ended := broker(t)
	if err := b.Send(t.Context(), wire.Task{Kind: "validate", Validate: &wire.ValidateTask{}}); err != nil {
		t.Fatal(err)
	}
	b.Close()
	<-ended
}

// TestCancelWhileWaiting: a task that waits for input listens to a cancel.
func TestCancelWhileWaiting(t *testing.T) {
	b, _ := broker(t)
	if err := errors.Join(b.Send(t.Context(), wire.Task{Kind: "validate", Validate: &wire.ValidateTask{}}), b.Send(t.Context(), wire.Cancel{})); err != nil {
		t.Fatal(err)
	}
	m, err := b.Receive(t.Context())
	if f, ok := m.(wire.Fault); err != nil || !ok || f.Kind != "CANCELLED" {
		t.Fatalf("%+v, %v", m, err)
	}
}

// TestPanicKeepsContentBack: a crash names its place and nothing it worked on.
func TestPanicKeepsContentBack(t *testing.T) {
	err := (&worker{}).contained(func() error { panic("the secret prompt") })
	f := fault(3, err)
	if f.ID != 3 || f.Kind != "INTERNAL" || !strings.Contains(f.Message, "child.TestPanicKeepsContentBack") || strings.Contains(f.Message, "secret") {
		t.Fatalf("%+v", f)
	}
	err = (&worker{}).contained(func() error { return errors.New("a row says: secret") })
	if f := fault(0, err); f.Kind != "INTERNAL" || strings.Contains(f.Message, "secret") {
		t.Fatalf("%+v", f)
	}
}

func TestFaults(t *testing.T) {
	p := &engine.Problem{Rule: "no-samples", Message: "the row has no samples", Line: 4}
	for _, c := range []struct {
		err  error
		kind string
		p    *engine.Problem
	}{
		{p, "INVALID_ARGUMENT", p}, {fmt.Errorf("reading: %w", p), "INVALID_ARGUMENT", p},
		{errCancelled, "CANCELLED", nil}, {context.Canceled, "CANCELLED", nil}, {errors.New("x"), "INTERNAL", nil},
	} {
		if f := fault(0, c.err); f.Kind != c.kind || f.Problem != c.p {
			t.Errorf("%v gives %+v", c.err, f)
		}
	}
}

// TestLongEventsAreSplit: whatever a pass produces goes into frames, complete
// and in order.
func TestLongEventsAreSplit(t *testing.T) {
	const n = 3000
	e := sample.Event{ID: 1, Index: 2, Text: strings.Repeat("\u00e9\x01", 90_000), Echoed: 2900, PromptTokens: 200_000, Prompt: make([]int32, 200_000), Finish: sample.FinishLength, Generated: 100}
	for i := range n {
		token := sample.Token{ID: int32(i), Text: "\x01\x02\x03\x04", Bytes: []byte("\x01\x02\x03\x04"), Logprob: math.Inf(-1), Sampling: math.NaN()}
		for range sample.MaxTopLogprobs {
			token.Top = append(token.Top, sample.Alternative{ID: 1 << 17, Text: "\x01\x02\x03\x04", Bytes: []byte("\x01\x02\x03\x04"), Logprob: -123.456789012345})
		}
		e.Tokens = append(e.Tokens, token)
	}
	var text strings.Builder
	tokens, ids, echoed, counted, finishes := 0, 0, 0, 0, 0
	for i, m := range eventMessages(e) {
		b, err := json.Marshal(m)
		if err != nil || len(b) > wire.MaxPayload {
			t.Fatalf("message %d has %d bytes, %v", i, len(b), err)
		}
		text.WriteString(m.Text)
		for _, token := range m.Tokens {
			if token.ID != int32(tokens) {
				t.Fatalf("token %d comes as number %d", token.ID, tokens)
			}
			tokens++
		}
		ids, echoed, counted = ids+len(m.Prompt), echoed+m.Echoed, counted+m.PromptTokens
		if m.Finish != "" {
			finishes++
		}
	}
	if text.String() != e.Text || tokens != n || ids != 200_000 || echoed != 2900 || counted != 200_000 || finishes != 1 {
		t.Errorf("%d bytes of text, %d tokens, %d ids, %d echoed, prompt of %d, %d finishes", text.Len(), tokens, ids, echoed, counted, finishes)
	}
}

func TestMetricsAreFinite(t *testing.T) {
	m := wire.Metrics{KL: math.NaN(), Loss: math.Inf(1), RatioMean: math.Inf(-1), Entropy: 2}
	keepFinite(&m)
	if _, err := json.Marshal(m); err != nil || m.Entropy != 2 || m.KL != 0 {
		t.Errorf("%v, %+v", err, m)
	}
}
