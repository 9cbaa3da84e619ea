package wire

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// python finds the interpreter that make installs.
func python(t *testing.T) string {
	t.Helper()
	path := os.Getenv("FIREKEEP_PYTHON")
	if path == "" {
		path, _ = filepath.Abs("../../.venv/bin/python")
	}
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
			t.Skip("FIREKEEP_WITHOUT_ORACLES=1: there is no Python")
		}
		t.Fatalf("there is no Python (make installs it, FIREKEEP_PYTHON names it): %v", err)
	}
	return path
}

// TestPythonPassesTheVectors: the second implementation passes the same suite.
func TestPythonPassesTheVectors(t *testing.T) {
	out, err := exec.Command(python(t), "testdata/peer.py", "vectors", vectorFile).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

type process struct {
	io.Reader
	io.WriteCloser
}

// pythonEngine starts the Python engine and shakes hands with it.
func pythonEngine(t *testing.T) *Conn {
	t.Helper()
	cmd := exec.Command(python(t), "testdata/peer.py", "engine")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := New(process{out, in}, Options{Side: Broker})
	t.Cleanup(func() {
		c.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("python: %v", err)
		}
	})
	hello, err := c.Handshake(t.Context(), Hello{Peer: "firekeep"})
	if err != nil {
		t.Fatal(err)
	}
	if hello.Peer != "peer.py" {
		t.Fatalf("hello %+v", hello)
	}
	return c
}

func sha(b ...[]byte) string {
	sum := sha256.Sum256(bytes.Join(b, nil))
	return hex.EncodeToString(sum[:])
}

// TestConversationWithPython: a whole task, with streams larger than the window
// in both directions and a group that spans frames.
func TestConversationWithPython(t *testing.T) {
	c := pythonEngine(t)
	ctx := t.Context()
	file := bytes.Repeat([]byte("abc"), (InitialCredit+1)/3+1)
	large := bytes.Repeat([]byte("row\n"), MaxPayload/3)
	sent := make(chan error, 1)
	go func() {
		sent <- errors.Join(
			c.Send(ctx, Task{Kind: "train"}),
			c.SendStream(ctx, Open{Name: "weights", Size: int64(len(file))}, bytes.NewReader(file)),
			c.SendStream(ctx, Open{Name: "empty", Size: 0}, bytes.NewReader(nil)),
			c.Send(ctx, Threads{Threads: 5}),
			c.Send(ctx, Group{Position: 1, Line: 2, Rows: large}),
			c.Send(ctx, Group{Position: 2, Line: 3, Rows: []byte("x")}),
			c.Send(ctx, EpochEnd{Last: true}))
	}()
	if m, err := c.Receive(ctx); err != nil || m.(Progress).Stage != "train" {
		t.Fatal(m, err)
	}
	m, err := c.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	adapter, err := io.ReadAll(m.(*Inbound))
	if err != nil || len(adapter) <= InitialCredit || adapter[256+7] != 7 {
		t.Fatalf("%d bytes, %v", len(adapter), err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if m, err = c.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	var got, want any
	wanted, _ := json.Marshal(map[string]any{"streams": map[string]string{"weights": sha(file), "empty": sha()}, "groups": 2, "threads": 5,
		"rows": sha(appendGroupHeader(nil, Group{Position: 1, Line: 2}), large, appendGroupHeader(nil, Group{Position: 2, Line: 3}), []byte("x"))})
	_ = json.Unmarshal(wanted, &want)
	if err := json.Unmarshal(m.(Done).Result, &got); err != nil {
		t.Fatal(err)
	}
	if g, _ := json.Marshal(got); string(g) != string(wanted) {
		t.Fatalf("got %s\nwant %s", g, wanted)
	}
}

// TestPythonIsCancelled: a cancel ends the task of a peer that waits for credit
// which never comes.
func TestPythonIsCancelled(t *testing.T) {
	c := pythonEngine(t)
	ctx := t.Context()
	if err := errors.Join(c.Send(ctx, Task{Kind: "train"}), c.Send(ctx, EpochEnd{Last: true})); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := c.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		switch m := m.(type) {
		case *Inbound: // not read: its sender runs out of credit
			go func() { _ = c.Send(context.Background(), Cancel{}) }()
		case Fault:
			if m.Kind != "CANCELLED" {
				t.Fatalf("%+v", m)
			}
			return
		}
	}
}
