package objstore

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/firekeep/firekeep/internal/rft"
)

// TestReadEndsWithItsContext: bytes that have arrived already are not handed out
// behind the end of the context.
func TestReadEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	arrived := make([]byte, 1<<16)
	r, err := resume(ctx, URL{}, Config{}, Pin{Size: int64(len(arrived))}, 0, -1, func(context.Context, int64, int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(arrived)), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if n, err := io.Copy(io.Discard, r); n != 0 || rft.KindOf(err) != rft.KindCancelled {
		t.Errorf("%d more bytes, %v", n, err)
	}
}
