package wire

import (
	"context"
	"encoding/json"
	"fmt"
)

// Send sends one message: a value (not a pointer) of a type of this package.
// Ordered messages wait for the peer's credit; ctx bounds that wait. Urgent
// ones (Threads, Cancel) go at once.
func (c *Conn) Send(ctx context.Context, m any) error {
	t := typeOf(m)
	if t == 0 || rules[t].from&c.opt.Side == 0 {
		return fmt.Errorf("wire: this side cannot send %T", m)
	}
	if g, ok := m.(Group); ok {
		return c.sendGroup(ctx, g)
	}
	payload, err := encode(m)
	if err != nil {
		return err
	}
	if rules[t].flow == urgent {
		return c.writeFrame(Frame{Type: t, Payload: payload})
	}
	release, err := c.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer release()
	return c.sendOrdered(ctx, Frame{Type: t, Payload: payload})
}

func encode(m any) ([]byte, error) {
	payload, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("wire: %T does not encode: %w", m, err)
	}
	if len(payload) > MaxPayload {
		return nil, &TooLongError{Message: fmt.Sprintf("%T", m), Bytes: len(payload)}
	}
	return payload, nil
}

// TooLongError refuses to send a message that exceeds MaxPayload, or a group
// that exceeds MaxGroup. Nothing was sent.
type TooLongError struct {
	Message string
	Bytes   int
}

func (e *TooLongError) Error() string {
	return fmt.Sprintf("wire: a %s of %d bytes is too long to send", e.Message, e.Bytes)
}

// sendGroup sends a group in as many frames as it takes. When ctx ends between
// two of them the connection ends too: half a group cannot be taken back.
func (c *Conn) sendGroup(ctx context.Context, g Group) error {
	if len(g.Rows) > MaxGroup {
		return &TooLongError{Message: "group", Bytes: len(g.Rows)}
	}
	release, err := c.takeTurn(ctx)
	if err != nil {
		return err
	}
	defer release()
	first := min(len(g.Rows), MaxPayload-groupHeaderLen)
	payload := append(appendGroupHeader(make([]byte, 0, groupHeaderLen+first), g), g.Rows[:first]...)
	rest := g.Rows[first:]
	for begun := false; ; begun = true {
		f := Frame{Type: TypeGroup, Payload: payload}
		if len(rest) > 0 {
			f.Flags = FlagMore
		}
		if err := c.sendOrdered(ctx, f); err != nil {
			if begun {
				c.fail(err)
			}
			return err
		}
		if len(rest) == 0 {
			return nil
		}
		n := min(len(rest), MaxPayload)
		payload, rest = rest[:n], rest[n:]
	}
}

// takeTurn waits for the right to send ordered frames, which keeps the frames
// of a group together.
func (c *Conn) takeTurn(ctx context.Context) (release func(), err error) {
	select {
	case c.turn <- struct{}{}:
		return func() { <-c.turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-c.done:
		return nil, c.Err()
	}
}

func (c *Conn) sendOrdered(ctx context.Context, f Frame) error {
	cost := int64(HeaderLen + len(f.Payload))
	if _, err := c.takeCredit(ctx, 0, cost, cost); err != nil {
		return err
	}
	return c.writeFrame(f)
}

// takeCredit waits until at least low bytes may be sent on stream, and takes up
// to high.
func (c *Conn) takeCredit(ctx context.Context, stream uint32, low, high int64) (int64, error) {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	})
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && ctx.Err() == nil && c.credit[stream] < low {
		c.changed.Wait()
	}
	if c.err != nil {
		return 0, c.err
	}
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	n := min(c.credit[stream], high)
	c.credit[stream] -= n
	return n, nil
}

func (c *Conn) writeJSON(t Type, m any) error {
	payload, err := encode(m)
	if err != nil {
		return err
	}
	return c.writeFrame(Frame{Type: t, Payload: payload})
}

// writeFrame writes one frame with one Write.
func (c *Conn) writeFrame(f Frame) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	c.wbuf = AppendFrame(c.wbuf[:0], f)
	if _, err := c.rw.Write(c.wbuf); err != nil {
		// A write fails because the peer is gone; what it sent before it went,
		// a Fault for example, is still read.
		select {
		case <-c.done:
			return c.Err()
		default:
			return fmt.Errorf("wire: write: %w", err)
		}
	}
	return nil
}
