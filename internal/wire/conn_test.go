package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
)

// pair connects two ends over an in-memory pipe.
func pair(t *testing.T, b, e Options) (broker, engine *Conn) {
	t.Helper()
	x, y := net.Pipe()
	b.Side, e.Side = Broker, Engine
	broker, engine = New(x, b), New(y, e)
	errs := make(chan error, 1)
	go func() {
		_, err := engine.Handshake(t.Context(), Hello{Peer: "engine"})
		errs <- err
	}()
	if _, err := broker.Handshake(t.Context(), Hello{Peer: "broker"}); err != nil {
		t.Fatal(err)
	}
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broker.Close(); engine.Close() })
	return broker, engine
}

func TestConversation(t *testing.T) {
	broker, engine := pair(t, Options{}, Options{})
	ctx := t.Context()
	file := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // four windows
	rows := bytes.Repeat([]byte("r"), 5<<20+7)
	sent := make(chan error, 1)
	go func() {
		sent <- errors.Join(
			broker.Send(ctx, Task{Kind: "train", Threads: 2}),
			broker.SendStream(ctx, Open{Name: "adapter", Size: int64(len(file))}, bytes.NewReader(file)),
			broker.SendStream(ctx, Open{Name: "empty", Size: -1}, bytes.NewReader(nil)),
			broker.Send(ctx, Group{Position: 3, Line: 9, Object: 1, Rows: rows}),
			broker.Send(ctx, EpochEnd{Last: true}))
	}()
	receive := func() any {
		t.Helper()
		m, err := engine.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := receive().(Task); m.Kind != "train" || m.Threads != 2 {
		t.Fatalf("task %+v", m)
	}
	for _, want := range [][]byte{file, nil} {
		in := receive().(*Inbound)
		if got, err := io.ReadAll(in); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("stream %s: %d bytes, %v", in.Name, len(got), err)
		}
	}
	g := receive().(Group)
	if g.Position != 3 || g.Line != 9 || g.Object != 1 || !bytes.Equal(g.Rows, rows) {
		t.Fatalf("group %d %d %d, %d bytes", g.Position, g.Line, g.Object, len(g.Rows))
	}
	if !receive().(EpochEnd).Last {
		t.Fatal("epoch end lost its flag")
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if err := engine.Send(ctx, Done{Result: []byte(`{"updates":1}`)}); err != nil {
		t.Fatal(err)
	}
	engine.Close()
	m, err := broker.Receive(ctx)
	if err != nil || string(m.(Done).Result) != `{"updates":1}` {
		t.Fatalf("%v, %v", m, err)
	}
	if _, err := broker.Receive(ctx); !errors.Is(err, ErrClosed) {
		t.Fatalf("after the end: %v", err)
	}
}

// TestSenderWaitsForCredit: a sender whose receiver does not read stops at the
// window, in every kind of flow, and goes on when its context ends.
func TestSenderWaitsForCredit(t *testing.T) {
	urgent := make(chan any, 1)
	broker, _ := pair(t, Options{}, Options{Urgent: func(m any) { urgent <- m }})
	ctx, cancel := context.WithCancel(t.Context())
	if err := broker.Send(ctx, Task{Kind: "train"}); err != nil {
		t.Fatal(err)
	}
	out, err := broker.OpenStream(ctx, Open{Name: "adapter", Size: -1})
	if err != nil {
		t.Fatal(err)
	}
	wrote := make(chan int, 1)
	go func() {
		n, _ := out.Write(make([]byte, InitialCredit+1))
		wrote <- n
	}()
	// Threads overtakes everything that waits.
	if err := broker.Send(ctx, Threads{Threads: 7}); err != nil {
		t.Fatal(err)
	}
	if m := (<-urgent).(Threads); m.Threads != 7 {
		t.Fatal(m)
	}
	select {
	case n := <-wrote:
		t.Fatalf("wrote %d bytes past the window", n)
	default:
	}
	cancel()
	if n := <-wrote; n > InitialCredit {
		t.Fatalf("%d bytes went out on a credit of %d", n, InitialCredit)
	}
}
