package wire

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// dataFrame is how much of a stream goes into one frame: small enough that a
// cancel never waits long behind it.
const dataFrame = 256 << 10

// ErrBroken is what reading a stream ends with when the peer gave up before its
// last byte. Receive says why: a Fault, or the end of the connection.
var ErrBroken = errors.New("the stream ends before its last byte")

// Outbound is the sending end of a stream.
type Outbound struct {
	c    *Conn
	ctx  context.Context
	open Open
	sent int64
	err  error
}

// OpenStream begins a stream; o.Stream is chosen here. ctx bounds every write.
// The stream must be closed; writes that do not add up to o.Size fail.
func (c *Conn) OpenStream(ctx context.Context, o Open) (*Outbound, error) {
	release, err := c.takeTurn(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	c.mu.Lock()
	o.Stream = c.nextOut
	c.nextOut += 2
	c.credit[o.Stream] = InitialCredit
	c.mu.Unlock()
	payload, err := encode(o)
	if err != nil {
		return nil, err
	}
	if err := c.sendOrdered(ctx, Frame{Type: TypeOpen, Payload: payload}); err != nil {
		return nil, err
	}
	return &Outbound{c: c, ctx: ctx, open: o}, nil
}

// Write sends p as credit allows.
func (o *Outbound) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 && o.err == nil {
		if o.open.Size >= 0 && o.sent+int64(len(p)) > o.open.Size {
			o.err = fmt.Errorf("wire: stream %s is longer than its announced %d bytes", o.open.Name, o.open.Size)
			break
		}
		n, err := o.c.takeCredit(o.ctx, o.open.Stream, 1, int64(min(len(p), dataFrame)))
		if err == nil {
			err = o.c.writeFrame(Frame{Type: TypeData, Stream: o.open.Stream, Payload: p[:n]})
		}
		if err != nil {
			o.err = err
			break
		}
		p, total, o.sent = p[n:], total+int(n), o.sent+n
	}
	return total, o.err
}

// Close ends the stream and waits until the peer has read all of it.
func (o *Outbound) Close() error {
	if o.err != nil {
		return o.err
	}
	if o.open.Size >= 0 && o.sent != o.open.Size {
		return fmt.Errorf("wire: stream %s has %d bytes, %d were announced", o.open.Name, o.sent, o.open.Size)
	}
	if err := o.c.writeFrame(Frame{Type: TypeData, Flags: FlagEnd, Stream: o.open.Stream}); err != nil {
		return err
	}
	_, err := o.c.takeCredit(o.ctx, o.open.Stream, InitialCredit, InitialCredit)
	o.c.mu.Lock()
	delete(o.c.credit, o.open.Stream)
	o.c.mu.Unlock()
	return err
}

// SendStream sends all of r as one stream.
func (c *Conn) SendStream(ctx context.Context, o Open, r io.Reader) error {
	out, err := c.OpenStream(ctx, o)
	if err != nil {
		return err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{r}, make([]byte, dataFrame)); err != nil {
		return err
	}
	return out.Close()
}

// Inbound is the receiving end of a stream: an io.Reader that ends with io.EOF
// after the stream's last byte, with ErrBroken when the peer gave up before it.
type Inbound struct {
	Open
	c        *Conn
	queue    [][]byte
	buffered int64
	window   int64 // what the peer may still send
	owed     int64 // read, but not yet returned as credit
	total    int64 // arrived
	ended    bool
	hash     hash.Hash
}

// takeOpen registers a stream of the peer. c.mu is held.
func (c *Conn) takeOpen(o Open) (*Inbound, error) {
	parity := uint32(1)
	if c.opt.Side == Broker {
		parity = 0
	}
	switch {
	case o.Stream == 0 || o.Stream%2 != parity:
		return nil, violation("bad-stream", "the peer may not open stream %d", o.Stream)
	case o.Stream <= c.lastIn:
		return nil, violation("stream-reused", "stream %d was opened after stream %d", o.Stream, c.lastIn)
	case o.Size < -1:
		return nil, violation("bad-size", "stream %d has size %d", o.Stream, o.Size)
	case c.heavy >= maxStreams:
		return nil, violation("too-many-streams", "more than %d streams are unread", maxStreams)
	}
	in := &Inbound{Open: o, c: c, window: InitialCredit}
	if o.SHA256 != "" {
		in.hash = sha256.New()
	}
	c.lastIn, c.in[o.Stream] = o.Stream, in
	c.heavy++
	return in, nil
}

// takeData files the bytes of a Data frame. c.mu is held.
func (c *Conn) takeData(f Frame) error {
	in := c.in[f.Stream]
	n := int64(len(f.Payload))
	switch {
	case c.ended:
		return violation("after-end", "data follows the last frame")
	case in == nil:
		return violation("unknown-stream", "data for stream %d, which is not open", f.Stream)
	case n > in.window:
		return violation("credit-overrun", "%d bytes on stream %d exceed the credit of %d", n, f.Stream, in.window)
	case n == 0 && f.Flags&FlagEnd == 0:
		return violation("empty-data", "an empty frame on stream %d does not end it", f.Stream)
	case in.Size >= 0 && in.total+n > in.Size:
		return violation("stream-too-long", "stream %d exceeds its announced %d bytes", f.Stream, in.Size)
	}
	in.window -= n
	in.total += n
	if n > 0 {
		in.queue = append(in.queue, f.Payload)
		in.buffered += n
	}
	if f.Flags&FlagEnd == 0 {
		return nil
	}
	if in.Size >= 0 && in.total != in.Size {
		return violation("stream-too-short", "stream %d ends after %d of %d bytes", f.Stream, in.total, in.Size)
	}
	in.ended = true
	delete(c.in, f.Stream)
	if in.buffered == 0 {
		c.heavy--
	}
	return nil
}

// Read reads the stream and returns credit as it goes.
func (in *Inbound) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	err = in.take(func(piece []byte) int { n = copy(p, piece); return n })
	return n, err
}

// Next is Read without a copy: it returns what of the stream came together, for the
// caller to keep.
func (in *Inbound) Next() (piece []byte, err error) {
	err = in.take(func(p []byte) int { piece = p; return len(p) })
	return piece, err
}

// take hands the next bytes to use, which says how many it took.
func (in *Inbound) take(use func([]byte) int) error {
	c := in.c
	c.mu.Lock()
	for len(in.queue) == 0 && !in.ended && !c.ended && c.err == nil {
		c.changed.Wait()
	}
	if c.err != nil && !errors.Is(c.err, ErrClosed) {
		defer c.mu.Unlock()
		return c.err
	}
	if len(in.queue) == 0 {
		err := in.finish()
		grant := in.grant()
		c.mu.Unlock()
		in.sendCredit(grant)
		return err
	}
	piece := in.queue[0]
	n := use(piece)
	if in.queue[0] = piece[n:]; n == len(piece) {
		in.queue[0] = nil
		in.queue = in.queue[1:]
	}
	if in.hash != nil {
		in.hash.Write(piece[:n])
	}
	in.buffered -= int64(n)
	in.owed += int64(n)
	if in.ended && in.buffered == 0 {
		c.heavy--
	}
	grant := int64(0)
	if in.owed >= InitialCredit/2 || in.buffered == 0 && in.total == in.Size {
		grant = in.grant()
	}
	c.mu.Unlock()
	in.sendCredit(grant)
	return nil
}

// grant is the credit to return now. c.mu is held.
func (in *Inbound) grant() int64 {
	n := in.owed
	in.owed = 0
	in.window += n
	return n
}

// sendCredit returns n bytes of credit; a failed write shows on the next read.
func (in *Inbound) sendCredit(n int64) {
	if n > 0 {
		_ = in.c.writeJSON(TypeCredit, Credit{Stream: in.Stream, Bytes: n})
	}
}

// finish is the result of reading past the last byte. c.mu is held.
func (in *Inbound) finish() error {
	if !in.ended {
		if in.c.ended || errors.Is(in.c.err, ErrClosed) {
			return ErrBroken
		}
		return in.c.err
	}
	if in.hash != nil && hex.EncodeToString(in.hash.Sum(nil)) != in.SHA256 {
		return violation("stream-digest", "the bytes of stream %d are not those announced", in.Stream)
	}
	return io.EOF
}
