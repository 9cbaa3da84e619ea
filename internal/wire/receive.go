package wire

import (
	"bufio"
	"context"
	"errors"
	"time"
)

// read takes frames off the connection until it ends. It never waits for
// anything else, so credit, heartbeats and cancels always get through: what the
// peer may make it hold is bounded by credit.
func (c *Conn) read() {
	r := bufio.NewReaderSize(c.rw, 64<<10)
	for {
		f, err := ReadFrame(r)
		if err == nil {
			err = c.take(f)
		}
		if err != nil {
			c.fail(closedEarly(err))
			return
		}
	}
}

// take files one frame.
func (c *Conn) take(f Frame) error {
	peer := Broker + Engine - c.opt.Side
	rule := rules[f.Type]
	if rule.from&peer == 0 {
		return violation("wrong-side", "the peer may not send frame type %d", f.Type)
	}
	var m any
	var err error
	switch f.Type {
	case TypeHello:
		return violation("second-hello", "a hello comes once")
	case TypeHeartbeat:
		if len(f.Payload) > 0 {
			return violation("bad-heartbeat", "a heartbeat carries %d bytes", len(f.Payload))
		}
	case TypeData, TypeGroup:
	default:
		if m, err = decode(f.Type, f.Payload); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.seen = time.Now()
	switch {
	case rule.flow == data:
		err = c.takeData(f)
	case rule.flow == ordered:
		err = c.takeOrdered(f, m)
	case f.Type == TypeCredit:
		err = c.takeCreditFrame(m.(Credit))
	}
	c.changed.Broadcast()
	c.mu.Unlock()
	if err == nil && (f.Type == TypeThreads || f.Type == TypeCancel) && c.opt.Urgent != nil {
		c.opt.Urgent(m)
	}
	return err
}

func (c *Conn) takeCreditFrame(m Credit) error {
	have, live := c.credit[m.Stream]
	switch {
	case m.Bytes <= 0 || m.Bytes > InitialCredit:
		return violation("bad-credit", "a credit of %d bytes", m.Bytes)
	case !live && m.Stream%2 == c.nextOut%2 && m.Stream < c.nextOut:
		return nil // of a stream that was given up
	case !live:
		return violation("unknown-stream", "credit for stream %d", m.Stream)
	case have+m.Bytes > InitialCredit:
		return violation("credit-overflow", "credit for stream %d exceeds what was sent", m.Stream)
	}
	c.credit[m.Stream] = have + m.Bytes
	return nil
}

// takeOrdered puts a message into the inbox.
func (c *Conn) takeOrdered(f Frame, m any) error {
	cost := int64(HeaderLen + len(f.Payload))
	if cost > c.window {
		return violation("credit-overrun", "a message of %d bytes exceeds the credit of %d", cost, c.window)
	}
	if c.ended {
		return violation("after-end", "frame type %d follows the last frame", f.Type)
	}
	if c.grouped && f.Type != TypeGroup {
		return violation("group-interrupted", "frame type %d within a group", f.Type)
	}
	if err := c.checkTask(f.Type); err != nil {
		return err
	}
	switch v := m.(type) {
	case Open:
		in, err := c.takeOpen(v)
		if err != nil {
			return err
		}
		m = in
	case Done:
		if len(c.in) > 0 {
			return violation("unfinished-stream", "the task is done while a stream has no end")
		}
		c.ended = true
	case Fault:
		c.ended = v.ID == 0
	}
	if f.Type == TypeGroup {
		if c.grouped {
			m = groupPiece(f.Payload)
		} else {
			g, err := parseGroupHeader(f.Payload)
			if err != nil {
				return err
			}
			g.Rows = f.Payload[groupHeaderLen:]
			m = g
		}
		c.grouped = f.Flags&FlagMore != 0
	}
	c.window -= cost
	c.inbox = append(c.inbox, received{message: m, more: f.Flags&FlagMore != 0, cost: cost})
	return nil
}

// checkTask keeps the engine's first ordered message a Task, the only one.
func (c *Conn) checkTask(t Type) error {
	if c.opt.Side == Broker {
		return nil
	}
	if t == TypeTask && c.tasked {
		return violation("second-task", "a task comes once")
	}
	if t != TypeTask && !c.tasked {
		return violation("no-task", "frame type %d comes before the task", t)
	}
	c.tasked = true
	return nil
}

// Receive returns the next message in the order they were sent: *Inbound for
// a stream that begins, otherwise a value of a type of this package. Streams
// should be read to their end as they come. After the peer closed the
// connection Receive returns what is left and then ErrClosed.
func (c *Conn) Receive(ctx context.Context) (any, error) {
	first, err := c.pop(ctx)
	if err != nil || !first.more {
		return first.message, err
	}
	g := first.message.(Group)
	g.Rows = append(make([]byte, 0, 2*len(g.Rows)), g.Rows...)
	for more := true; more; {
		next, err := c.pop(ctx)
		if err != nil {
			return nil, err
		}
		piece := next.message.(groupPiece)
		if len(g.Rows)+len(piece) > MaxGroup {
			err := violation("group-too-long", "a group exceeds %d bytes", MaxGroup)
			c.fail(err)
			return nil, err
		}
		g.Rows, more = append(g.Rows, piece...), next.more
	}
	return g, nil
}

// pop takes one frame from the inbox and returns its credit.
func (c *Conn) pop(ctx context.Context) (received, error) {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.changed.Broadcast()
	})
	defer stop()
	c.mu.Lock()
	for c.err == nil && ctx.Err() == nil && len(c.inbox) == 0 {
		c.changed.Wait()
	}
	// What a broken peer sent is not worth reading; what a peer sent before it
	// closed is.
	switch {
	case ctx.Err() != nil:
		defer c.mu.Unlock()
		return received{}, context.Cause(ctx)
	case c.err != nil && (len(c.inbox) == 0 || !errors.Is(c.err, ErrClosed)):
		defer c.mu.Unlock()
		return received{}, c.err
	}
	r := c.inbox[0]
	c.inbox[0] = received{}
	c.inbox = c.inbox[1:]
	c.owed += r.cost
	grant := int64(0)
	if c.owed >= InitialCredit/2 {
		grant, c.owed = c.owed, 0
		c.window += grant
	}
	c.mu.Unlock()
	if grant > 0 {
		// A failed write shows on the next read.
		_ = c.writeJSON(TypeCredit, Credit{Stream: 0, Bytes: grant})
	}
	return r, nil
}
