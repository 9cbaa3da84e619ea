package broker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/wire"
)

// script is an engine of the test: it plays over the pipes that a real child
// would have.
type script func(t *testing.T, e *peer)

// peer is what a script has.
type peer struct {
	*wire.Conn
	raw    io.Writer
	killed chan struct{}
	events chan string // what happened, in order
}

type duplex struct {
	io.ReadCloser
	io.WriteCloser
}

func (d duplex) Close() error { return errors.Join(d.ReadCloser.Close(), d.WriteCloser.Close()) }

// scripted is a Launcher of scripts: only the process is played, the pipes and
// the broker are the real ones.
type scripted struct {
	t    *testing.T
	play script
	peer *peer
}

func dup(t *testing.T, f *os.File) *os.File {
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Error(err)
	}
	return os.NewFile(uintptr(fd), f.Name())
}

func (s *scripted) Start(_ context.Context, spec sandbox.Spec) (sandbox.Process, error) {
	rw := duplex{dup(s.t, spec.Stdin), dup(s.t, spec.Stdout)}
	s.peer.Conn, s.peer.raw = wire.New(rw, wire.Options{Side: wire.Engine, Urgent: func(m any) {
		if _, ok := m.(wire.Cancel); ok {
			s.peer.events <- "cancel"
		}
	}}), rw
	p := &playedProcess{peer: s.peer, rw: rw, over: make(chan struct{})}
	go func() {
		defer close(p.over)
		defer rw.Close()
		if _, err := s.peer.Handshake(context.Background(), wire.Hello{Peer: "script"}); err == nil {
			s.play(s.t, s.peer)
		}
	}()
	return p, nil
}

type playedProcess struct {
	peer *peer
	rw   io.Closer
	once sync.Once
	over chan struct{}
}

func (p *playedProcess) Pid() int               { return 0 }
func (p *playedProcess) Report() sandbox.Report { return sandbox.Report{} }
func (p *playedProcess) Kill() error {
	p.once.Do(func() {
		p.peer.events <- "kill"
		close(p.peer.killed)
		p.rw.Close()
	})
	return nil
}
func (p *playedProcess) Wait() sandbox.Exit {
	<-p.over
	return sandbox.Exit{}
}

// against starts a child that plays s.
func against(t *testing.T, s script, o broker.Options) (*broker.Child, *peer) {
	t.Helper()
	e := &peer{killed: make(chan struct{}), events: make(chan string, 16)}
	h := &broker.Host{Launcher: &scripted{t, s, e}, Silence: time.Minute, Grace: 50 * time.Millisecond}
	c, err := h.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, e
}

func (e *peer) send(t *testing.T, m any) {
	if err := e.Send(t.Context(), m); err != nil {
		select {
		case <-e.killed:
		default:
			t.Errorf("script: %v", err)
		}
	}
}

// task receives the task and everything up to the end of the input.
func (e *peer) input(t *testing.T) {
	for {
		m, err := e.Receive(t.Context())
		if err != nil {
			return
		}
		switch m := m.(type) {
		case *wire.Inbound:
			io.Copy(io.Discard, m)
		case wire.EpochEnd:
			return
		}
	}
}

func (e *peer) stream(t *testing.T, name string, size int) {
	_ = e.SendStream(t.Context(), wire.Open{Name: name, Size: -1}, bytes.NewReader(make([]byte, size)))
}

var oneLayer = engine.Config{Layers: 1, Hidden: 8, Inter: 16, Heads: 2, KVHeads: 1, HeadDim: 4}

func trainInput() broker.TrainInput {
	spec := engine.DefaultSpec("GRPO")
	spec.LoraRank = 1
	return broker.TrainInput{Task: wire.TrainTask{Spec: spec}, Model: oneLayer,
		Feed: func(_ context.Context, f *broker.Feed) error { return f.EndEpoch(0, true) }}
}

func done(t *testing.T, result any) wire.Done {
	b, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	return wire.Done{Result: b}
}

// TestHostileEngine: whatever a child does, its session ends with an error that
// says so, and the child is gone.
func TestHostileEngine(t *testing.T) {
	frame := func(f wire.Frame) script {
		return func(t *testing.T, e *peer) {
			e.raw.Write(wire.AppendFrame(nil, f))
			<-e.killed
		}
	}
	for _, c := range []struct {
		name string
		play script
		kind rft.Kind
		text string
	}{
		{"unknown frame", frame(wire.Frame{Type: 99}), rft.KindInternal, "the engine broke the protocol: unknown-type"},
		{"giant length", func(t *testing.T, e *peer) {
			e.raw.Write([]byte{0xff, 0xff, 0xff, 0x7f, 4, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0})
			<-e.killed
		}, rft.KindInternal, "the engine broke the protocol: payload-too-long"},
		{"bad checksum", func(t *testing.T, e *peer) {
			b := wire.AppendFrame(nil, wire.Frame{Type: wire.TypeHeartbeat})
			b[12]++
			e.raw.Write(b)
			<-e.killed
		}, rft.KindInternal, "the engine broke the protocol: bad-checksum"},
		{"end inside a frame", func(t *testing.T, e *peer) {
			e.raw.Write(wire.AppendFrame(nil, wire.Frame{Type: wire.TypeHeartbeat})[:9])
		}, rft.KindInternal, "the engine broke the protocol: short-frame"},
		{"a message of another task", func(t *testing.T, e *peer) {
			e.send(t, wire.Chunk{})
			<-e.killed
		}, rft.KindInternal, "the engine broke the protocol: unexpected-message"},
		{"a stream nobody asked for", func(t *testing.T, e *peer) {
			e.stream(t, "loot", 10)
			<-e.killed
		}, rft.KindInternal, "the engine broke the protocol: unexpected-message"},
		{"an adapter without end", func(t *testing.T, e *peer) {
			e.stream(t, "adapter", 64<<20)
			<-e.killed
		}, rft.KindInternal, ""},
		{"done without an adapter", func(t *testing.T, e *peer) {
			e.input(t)
			e.send(t, done(t, wire.TrainDone{}))
		}, rft.KindInternal, "the engine finished without sending the adapter"},
		{"a mark without its state", func(t *testing.T, e *peer) {
			e.stream(t, "adapter", 10)
			e.send(t, wire.Mark{})
			<-e.killed
		}, rft.KindInternal, "the engine broke the protocol: unexpected-message"},
		{"a mark behind the result", func(t *testing.T, e *peer) {
			e.send(t, wire.Progress{Stage: wire.StageWrite})
			for _, name := range []string{"adapter", "optimizer", "adapter-config"} {
				e.stream(t, name, 10)
			}
			e.send(t, wire.Mark{})
			<-e.killed
		}, rft.KindInternal, "the engine broke the protocol: unexpected-message"},
		{"a second result", func(t *testing.T, e *peer) {
			e.send(t, wire.Progress{Stage: wire.StageWrite})
			e.send(t, wire.Progress{Stage: wire.StageWrite})
			<-e.killed
		}, rft.KindInternal, "the engine broke the protocol: unexpected-message"},
		{"a resume point that cannot be", func(t *testing.T, e *peer) {
			e.input(t)
			e.send(t, wire.Progress{Stage: wire.StageWrite})
			for _, name := range []string{"adapter", "optimizer", "adapter-config"} {
				e.stream(t, name, 10)
			}
			e.send(t, done(t, wire.TrainDone{Mark: &wire.Mark{Update: 1, Position: -1}}))
		}, rft.KindInternal, "the engine reported a resume point that cannot be"},
		{"a result of another kind", func(t *testing.T, e *peer) {
			e.send(t, wire.Done{Result: json.RawMessage(`[]`)})
		}, rft.KindInternal, "the engine's result does not decode"},
		{"silent death", func(t *testing.T, e *peer) {}, rft.KindUnavailable, "the engine was ended from outside"},
		{"a fault of an invented kind", func(t *testing.T, e *peer) {
			e.send(t, wire.Fault{Kind: "UNAUTHENTICATED", Message: "log in again"})
		}, rft.KindInternal, "log in again"},
		{"a fault with a problem", func(t *testing.T, e *peer) {
			e.send(t, wire.Fault{Kind: "INVALID_ARGUMENT", Problem: &engine.Problem{Rule: "uneven-group", Message: "bad", Object: "a.jsonl", Line: 3}})
		}, rft.KindInvalidArgument, "a.jsonl: line 3: bad (uneven-group)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			child, _ := against(t, c.play, broker.Options{})
			_, _, err := child.Train(t.Context(), trainInput(), broker.TrainSink{})
			if rft.KindOf(err) != c.kind || c.text != "" && err.Error() != c.text {
				t.Fatalf("%v: %v, want %v: %s", rft.KindOf(err), err, c.kind, c.text)
			}
			select {
			case <-child.Gone():
			default:
				t.Error("the child lives on")
			}
		})
	}
}

// TestSlowLoris: a child that sends the pieces of a frame and no whole one is
// taken for hung.
func TestSlowLoris(t *testing.T) {
	e := &peer{killed: make(chan struct{}), events: make(chan string, 16)}
	play := func(t *testing.T, e *peer) {
		b := wire.AppendFrame(nil, wire.Frame{Type: wire.TypeData, Stream: 2, Payload: make([]byte, 1<<20)})
		for i := range b {
			if _, err := e.raw.Write(b[i : i+1]); err != nil {
				return
			}
			select {
			case <-e.killed:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}
	h := &broker.Host{Launcher: &scripted{t, play, e}, Silence: 100 * time.Millisecond}
	c, err := h.Start(t.Context(), broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = c.Train(t.Context(), trainInput(), broker.TrainSink{})
	if rft.KindOf(err) != rft.KindUnavailable || err.Error() != "the engine stopped responding" {
		t.Fatal(err)
	}
	<-c.Gone()
}

// TestCancelThenKill: a cancelled child is asked first and killed when it does
// not listen; the session ends either way.
func TestCancelThenKill(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, e := against(t, func(t *testing.T, e *peer) {
		e.input(t)
		cancel()
		<-e.killed
	}, broker.Options{})
	_, _, err := c.Train(ctx, trainInput(), broker.TrainSink{})
	if rft.KindOf(err) != rft.KindCancelled {
		t.Fatalf("%v: %v", rft.KindOf(err), err)
	}
	if first, second := <-e.events, <-e.events; first != "cancel" || second != "kill" {
		t.Fatalf("%s before %s", first, second)
	}
}

// TestSinkStopsTheStep: the caller's own error comes back unchanged.
func TestSinkStopsTheStep(t *testing.T) {
	full := rft.Errorf(rft.KindResourceExhausted, "the disk is full")
	c, _ := against(t, func(t *testing.T, e *peer) {
		e.send(t, wire.Metrics{Update: 1})
		<-e.killed
	}, broker.Options{})
	_, _, err := c.Train(t.Context(), trainInput(), broker.TrainSink{Metrics: func(wire.Metrics) error { return full }})
	if err != full {
		t.Fatal(err)
	}
}

// TestFeedStopsTheStep: so does an error of the rows' source.
func TestFeedStopsTheStep(t *testing.T) {
	changed := rft.Errorf(rft.KindFailedPrecondition, "the object changed")
	c, _ := against(t, func(t *testing.T, e *peer) { <-e.killed }, broker.Options{})
	in := trainInput()
	in.Feed = func(context.Context, *broker.Feed) error { return changed }
	if _, _, err := c.Train(t.Context(), in, broker.TrainSink{}); err != changed {
		t.Fatal(err)
	}
}

// TestLyingChunks: ranges that do not lie in the object are refused.
func TestLyingChunks(t *testing.T) {
	for name, chunk := range map[string]wire.Chunk{
		"past the end":     {Offset: 0, FirstLine: 1, Lengths: []int64{11}, Lines: []int32{1}},
		"negative offset":  {Offset: -1, FirstLine: 1, Lengths: []int64{1}, Lines: []int32{1}},
		"empty group":      {Offset: 0, FirstLine: 1, Lengths: []int64{0}, Lines: []int32{1}},
		"no groups":        {Offset: 0, FirstLine: 1},
		"uneven lists":     {Offset: 0, FirstLine: 1, Lengths: []int64{1, 1}, Lines: []int32{1}},
		"unknown object":   {Object: 1, FirstLine: 1, Lengths: []int64{1}, Lines: []int32{1}},
		"overflowing sums": {Offset: 1<<63 - 1, FirstLine: 1, Lengths: []int64{1, 1 << 20}, Lines: []int32{1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := against(t, func(t *testing.T, e *peer) {
				e.input(t)
				e.send(t, chunk)
				<-e.killed
			}, broker.Options{})
			called := false
			_, err := c.Validate(t.Context(), wire.ValidateTask{Objects: 1}, files(file("a", make([]byte, 10))),
				func(wire.Chunk) error { called = true; return nil })
			if rft.KindOf(err) != rft.KindInternal || called {
				t.Fatalf("%v, called %v", err, called)
			}
		})
	}
}

// TestEarlyVerdict: an engine cannot vouch for objects that it did not read.
func TestEarlyVerdict(t *testing.T) {
	c, _ := against(t, func(t *testing.T, e *peer) {
		e.send(t, done(t, wire.ValidateDone{}))
		<-e.killed
	}, broker.Options{})
	endless := io.LimitReader(zeros{}, 1<<40)
	_, err := c.Validate(t.Context(), wire.ValidateTask{Objects: 1}, files(broker.File{Name: "a", Size: 1 << 40, Body: endless}), func(wire.Chunk) error { return nil })
	var broken *wire.ProtocolError
	if !errors.As(err, &broken) || broken.Rule != "early-done" {
		t.Errorf("%v", err)
	}
}

// TestLyingEvents: events of completions that were not asked for end the child,
// and a completion that ends twice does not stand for another.
func TestLyingEvents(t *testing.T) {
	for name, events := range map[string][]wire.SampleEvent{
		"index past n":     {{Index: 2, Finish: "stop"}},
		"negative index":   {{Index: -1, Finish: "stop"}},
		"negative prompt":  {{PromptTokens: -1}},
		"echo past tokens": {{Echoed: 1}},
		"ends twice":       {{Index: 0, Finish: "stop"}, {Index: 0, Finish: "stop"}, {Index: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := against(t, func(t *testing.T, e *peer) {
				e.send(t, wire.Ack{})
				for asked := false; !asked; { // events before the request belong to nobody
					m, err := e.Receive(t.Context())
					if err != nil {
						return
					}
					_, asked = m.(wire.SampleRequest)
				}
				for _, m := range events {
					m.ID = 1
					e.send(t, m)
				}
				<-e.killed
			}, broker.Options{})
			s, err := c.StartSampling(t.Context(), wire.SampleTask{})
			if err != nil {
				t.Fatal(err)
			}
			prompt := "x"
			err = s.Generate(t.Context(), wire.SampleRequest{Prompt: &prompt, N: 2}, func(e wire.SampleEvent) error {
				if e.Index < 0 || e.Index > 1 {
					t.Errorf("event of completion %d", e.Index)
				}
				return nil
			})
			if rft.KindOf(err) != rft.KindInternal {
				t.Errorf("%v", err)
			}
		})
	}
}
