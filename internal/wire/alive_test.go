package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSilence: heartbeats keep a quiet connection alive; without them it ends
// after the silence that was allowed, not before.
func TestSilence(t *testing.T) {
	for name, c := range map[string]struct {
		beat  time.Duration
		after time.Duration
		want  error
	}{
		"beating":      {time.Second, time.Hour, nil},
		"not yet":      {0, 9 * time.Second, nil},
		"silent":       {0, 13 * time.Second, ErrSilent},
		"beating late": {20 * time.Second, 13 * time.Second, ErrSilent},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broker, engine := pair(t, Options{Silence: 10 * time.Second}, Options{Heartbeat: c.beat})
				time.Sleep(c.after) // the bubble's clock, not ours
				synctest.Wait()
				if err := broker.Err(); !errors.Is(err, c.want) {
					t.Errorf("after %v: %v", c.after, err)
				}
				broker.Close()
				engine.Close()
			})
		})
	}
}

// TestReceiveEndsWithItsContext and with nothing lost.
func TestReceiveEndsWithItsContext(t *testing.T) {
	broker, engine := pair(t, Options{}, Options{})
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := broker.Receive(ctx); err != why {
		t.Errorf("%v", err)
	}
	if err := engine.Send(t.Context(), Warning{Message: "still here"}); err != nil {
		t.Fatal(err)
	}
	if m, err := broker.Receive(t.Context()); err != nil || m.(Warning).Message != "still here" {
		t.Errorf("%v, %v", m, err)
	}
}

// TestAnnouncements: a stream is what its Open says, on both ends.
func TestAnnouncements(t *testing.T) {
	broker, engine := pair(t, Options{}, Options{})
	ctx := t.Context()
	if err := broker.Send(ctx, Task{Kind: "train"}); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 2)
	go func() {
		for range 2 {
			m, err := engine.Receive(ctx)
			if err == nil {
				_, err = io.Copy(io.Discard, m.(*Inbound))
			}
			read <- err
		}
	}()
	for _, digest := range []string{sha([]byte("abc")), sha([]byte("abd"))} {
		_ = broker.SendStream(ctx, Open{Name: "adapter", Size: 3, SHA256: digest}, strings.NewReader("abc"))
	}
	if err := <-read; err != nil {
		t.Errorf("the right digest: %v", err)
	}
	if err := <-read; ruleOf(err) != "stream-digest" {
		t.Errorf("another digest: %v", err)
	}
	out, err := broker.OpenStream(ctx, Open{Name: "adapter", Size: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write([]byte("abc")); err == nil {
		t.Error("more was written than announced")
	}
}

// TestTooLong: what does not fit is refused before anything is sent.
func TestTooLong(t *testing.T) {
	broker, engine := pair(t, Options{}, Options{})
	ctx := t.Context()
	var long *TooLongError
	if err := broker.Send(ctx, SampleRequest{Tools: bytes.Repeat([]byte("1"), MaxPayload)}); !errors.As(err, &long) {
		t.Errorf("message: %v", err)
	}
	if err := broker.Send(ctx, Group{Rows: make([]byte, MaxGroup+1)}); !errors.As(err, &long) {
		t.Errorf("group: %v", err)
	}
	for _, m := range []any{&Task{}, Metrics{}, Hello{}, 3} {
		if err := broker.Send(ctx, m); err == nil {
			t.Errorf("a broker sends %T", m)
		}
	}
	if err := broker.Send(ctx, Task{Kind: "train"}); err != nil {
		t.Fatal(err)
	}
	if m, err := engine.Receive(ctx); err != nil || m.(Task).Kind != "train" {
		t.Errorf("%v, %v", m, err)
	}
}

// TestFaultBreaksStreams: a peer that gives up within a stream still says why.
func TestFaultBreaksStreams(t *testing.T) {
	broker, engine := pair(t, Options{}, Options{})
	ctx := t.Context()
	out, err := engine.OpenStream(ctx, Open{Name: "prepared", Size: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write([]byte("some")); err != nil {
		t.Fatal(err)
	}
	if err := engine.Send(ctx, Fault{Kind: "INTERNAL", Message: "why"}); err != nil {
		t.Fatal(err)
	}
	m, err := broker.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(m.(*Inbound)); string(b) != "some" || err != ErrBroken {
		t.Errorf("%q, %v", b, err)
	}
	if m, err := broker.Receive(ctx); err != nil || m.(Fault).Message != "why" {
		t.Errorf("%v, %v", m, err)
	}
}
