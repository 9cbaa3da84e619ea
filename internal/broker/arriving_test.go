package broker

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// TestArriving: whoever writes a blob elsewhere while it comes gets all of it, and
// never takes what broke off for the whole.
func TestArriving(t *testing.T) {
	broken := errors.New("broken off")
	for name, end := range map[string]error{"whole": nil, "broken off": broken} {
		a := newArriving(4) // grows beyond it
		pieces, done := make(chan []byte), make(chan error, 1)
		go func() {
			_, err := a.WriteTo(writerFunc(func(p []byte) (int, error) {
				if len(p) > 0 {
					pieces <- bytes.Clone(p)
				}
				return len(p), nil
			}))
			done <- err
		}()
		for _, piece := range []string{"abc", "defgh", "i"} {
			if _, err := io.WriteString(a, piece); err != nil {
				t.Fatal(err)
			}
			if got := <-pieces; string(got) != piece {
				t.Errorf("%s: %q came for %q", name, got, piece)
			}
		}
		a.end(end)
		if err := <-done; err != end {
			t.Errorf("%s: %v", name, err)
		}
		var late bytes.Buffer
		if _, err := a.WriteTo(&late); err != end || late.String() != "abcdefghi" {
			t.Errorf("%s: later %q, %v", name, &late, err)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
