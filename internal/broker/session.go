package broker

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

// session is the one task of an import, validation or step child.
type session struct {
	child *Child
	task  wire.Task
	// feed sends the task's input; its ctx ends with the session.
	feed func(ctx context.Context) error
	// handle takes every message but the last one.
	handle func(m any) error
}

// run runs the task to its Done, whose result it decodes into result. The child
// is ending then: Close waits until it is gone. After an error it is gone.
func (s *session) run(ctx context.Context, result any) (err error) {
	c := s.child
	if err := c.begin(); err != nil {
		return err
	}
	defer func() {
		if c.leave(); err != nil {
			<-c.dead
		}
	}()
	defer context.AfterFunc(ctx, c.cancel)()
	inner, stop := context.WithCancel(context.Background())
	var fed sync.WaitGroup
	var feedErr error
	fed.Go(func() {
		if feedErr = s.sendAll(inner); feedErr != nil {
			c.giveUp(feedErr)
		}
	})
	done, err := s.receive(ctx)
	stop()
	if err != nil {
		c.conn.Close()
	}
	fed.Wait()
	switch {
	case ctx.Err() != nil:
		return contextError(ctx)
	case err != nil && ours(feedErr):
		return feedErr
	case err != nil:
		if own, ok := isTaking(err); ok {
			return own
		}
		return c.verdict(ctx, err)
	}
	if err := json.Unmarshal(done.Result, result); err != nil {
		return rft.Wrap(rft.KindInternal, err, "the engine's result does not decode")
	}
	return nil
}

// ours reports whether feeding failed for a reason of our side rather than
// because the child went away.
func ours(err error) bool {
	var sent *sendError
	return err != nil && !errors.As(err, &sent)
}

// sendError marks a failed send: the child's side knows why.
type sendError struct{ err error }

func (e *sendError) Error() string { return e.err.Error() }
func (e *sendError) Unwrap() error { return e.err }

// sending keeps errors that belong to what was sent and marks the rest.
func sending(err error) error {
	var long *wire.TooLongError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &long):
		return rft.Wrap(rft.KindInvalidArgument, err, "one %s has %d bytes, more than an engine takes", long.Message, long.Bytes)
	}
	return &sendError{err}
}

// sendAll sends the task, the weights when they go by stream, and the input.
func (s *session) sendAll(ctx context.Context) error {
	c := s.child
	if err := c.sendTask(ctx, s.task); err != nil {
		return err
	}
	if s.feed == nil {
		return nil
	}
	return s.feed(ctx)
}

// sendTask fills in what every task has and sends it.
func (c *Child) sendTask(ctx context.Context, t wire.Task) error {
	c.mu.Lock()
	t.Threads = c.threads
	c.mu.Unlock()
	t.Level, t.Precision, t.MemoryBytes = c.opt.Level, c.opt.Precision, c.opt.MemoryBytes
	w := c.opt.Weights
	if w != nil {
		t.Weights = &wire.Weights{FD: weightsFD, Size: w.Size, Digest: w.Digest}
		if w.Stream {
			t.Weights.FD = 0
		}
	}
	if err := c.conn.Send(ctx, t); err != nil {
		return sending(err)
	}
	if w == nil || !w.Stream {
		return nil
	}
	return c.sendStream(ctx, wire.Open{Name: "weights", Size: w.Size}, io.NewSectionReader(w.File, 0, w.Size))
}

// sendStream sends r as a stream and tells errors of r from errors of sending.
func (c *Child) sendStream(ctx context.Context, o wire.Open, r io.Reader) error {
	source := &watchedReader{r: r}
	err := c.conn.SendStream(ctx, o, source)
	switch {
	case source.err != nil:
		return source.err
	case err != nil && o.Size >= 0 && (source.n > o.Size || source.over && source.n < o.Size):
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s has not the %d bytes that were announced", o.Path, o.Size)
	}
	return sending(err)
}

// watchedReader remembers how reading ended.
type watchedReader struct {
	r io.Reader
	n int64
	// over: the end was reached; err: reading failed before it.
	over bool
	err  error
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.n += int64(n)
	if err == io.EOF {
		w.over = true
	} else if err != nil {
		w.err = err
	}
	return n, err
}

// receive handles messages until the task ends.
func (s *session) receive(ctx context.Context) (wire.Done, error) {
	for {
		m, err := s.child.conn.Receive(context.Background())
		if err != nil {
			return wire.Done{}, err
		}
		switch m := m.(type) {
		case wire.Done:
			return m, nil
		case wire.Fault:
			if m.ID != 0 {
				return wire.Done{}, unexpected(m)
			}
			return wire.Done{}, faultError(m)
		}
		if ctx.Err() != nil {
			continue // the child is ending; nobody wants its reports any more
		}
		// A broken stream has its reason in what follows; no Done can.
		if err := s.handle(m); err != nil && !errors.Is(err, wire.ErrBroken) {
			return wire.Done{}, err
		}
	}
}

func unexpected(m any) error {
	return &wire.ProtocolError{Rule: "unexpected-message", Detail: describe(m) + " does not belong to this task"}
}

func describe(m any) string {
	if in, ok := m.(*wire.Inbound); ok {
		return "a stream named " + clip(in.Name)
	}
	return wire.NameOf(m)
}

// cancel asks the child to stop and kills it after the grace.
func (c *Child) cancel() {
	go func() { _ = c.conn.Send(context.Background(), wire.Cancel{}) }()
	c.killAfter(c.host.grace())
}

// giveUp ends the child after feeding failed. A child that went away first has
// a moment to let its last words arrive.
func (c *Child) giveUp(err error) {
	if ours(err) {
		_ = c.process.Kill()
		return
	}
	c.killAfter(c.host.grace())
}

func (c *Child) killAfter(d time.Duration) {
	time.AfterFunc(d, func() {
		select {
		case <-c.dead:
		default:
			_ = c.process.Kill()
		}
	})
}
