package child

import (
	"bytes"
	"context"
	"io"

	"github.com/firekeep/firekeep/internal/wire"
)

// unexpected refuses a message that does not belong where it came.
func unexpected(m any) error {
	name := wire.NameOf(m)
	if in, ok := m.(*wire.Inbound); ok {
		name = "the stream " + in.Name
	}
	return &wire.ProtocolError{Rule: "unexpected-message", Detail: name + " does not belong here"}
}

// stream receives the opening of the stream called name.
func (w *worker) stream(name string) (*wire.Inbound, error) {
	m, err := w.conn.Receive(w.ctx)
	if err != nil {
		return nil, err
	}
	in, ok := m.(*wire.Inbound)
	if !ok || in.Name != name {
		return nil, unexpected(m)
	}
	return in, nil
}

// blob receives the stream called name into memory. Its size must be announced
// and is bounded.
func (w *worker) blob(name string) ([]byte, error) {
	in, err := w.stream(name)
	if err != nil {
		return nil, err
	}
	return readBlob(in)
}

// maxBlob bounds adapters and optimiser states.
const maxBlob = 8 << 30

func readBlob(in *wire.Inbound) ([]byte, error) {
	if in.Size < 0 || in.Size > maxBlob {
		return nil, unexpected(in)
	}
	data := make([]byte, in.Size)
	if _, err := io.ReadFull(in, data); err != nil {
		return nil, err
	}
	if _, err := in.Read(make([]byte, 1)); err != io.EOF { // also checks the digest
		return nil, err
	}
	return data, nil
}

// send sends bytes as a stream.
func (w *worker) send(ctx context.Context, name string, data []byte) error {
	return w.conn.SendStream(ctx, wire.Open{Name: name, Size: int64(len(data))}, bytes.NewReader(data))
}

// cancellable ends reading when the task is cancelled.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c cancellable) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
