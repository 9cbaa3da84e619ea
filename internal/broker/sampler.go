package broker

import (
	"context"
	"slices"
	"sync"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

// Sampler is a sampling child: many requests at a time, many adapters.
type Sampler struct {
	child *Child
	ended chan struct{} // closed when no answer will come any more
	err   error         // why, before ended is closed

	loading sync.Mutex // one AdapterChange at a time
	acks    chan wire.Ack

	order sync.Mutex // held while a request is numbered and sent
	next  uint64

	mu       sync.Mutex
	requests map[uint64]*answer
}

// answer queues the events of one request, so that a slow reader holds up
// nobody else.
type answer struct {
	n int // completions

	mu     sync.Mutex
	events []wire.SampleEvent
	bytes  int // roughly, of events
	err    error
	wake   chan struct{}
}

// maxUnread bounds the bytes of events that a request's reader may leave unread.
const maxUnread = 64 << 20

// StartSampling turns the child into a sampling child. It serves until Close or
// until it dies; ctx bounds the start only.
func (c *Child) StartSampling(ctx context.Context, task wire.SampleTask) (*Sampler, error) {
	if err := c.begin(); err != nil {
		return nil, err
	}
	s := &Sampler{child: c, ended: make(chan struct{}), acks: make(chan wire.Ack, 1), requests: map[uint64]*answer{}}
	go s.receive()
	if err := c.sendTask(ctx, wire.Task{Kind: "sample", Sample: &task}); err != nil {
		return nil, s.startFailed(ctx, err)
	}
	if _, err := s.awaitAck(ctx, ""); err != nil {
		return nil, s.startFailed(ctx, err)
	}
	return s, nil
}

func (s *Sampler) startFailed(ctx context.Context, err error) error {
	s.child.Close()
	<-s.ended
	if ours(err) || ctx.Err() != nil {
		return s.child.verdict(ctx, err)
	}
	return s.err
}

// Child is the sampling child.
func (s *Sampler) Child() *Child { return s.child }

// Ended is closed when the child can answer no more.
func (s *Sampler) Ended() <-chan struct{} { return s.ended }

// Close ends the child; its requests fail.
func (s *Sampler) Close() error {
	err := s.child.Close()
	<-s.ended
	return err
}

// Load makes an adapter available to requests under id, which is the caller's choice.
// It returns the log-probs of the first tokens of the canary under it, without
// that of the very first: they are the engine's word, for the caller to compare.
func (s *Sampler) Load(ctx context.Context, id string, config, tensors []byte, tokens int) ([]float64, error) {
	if tokens > 0 && !s.child.can(wire.CapabilityCanary) {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "this engine cannot compute the canary that its checkpoint records")
	}
	s.loading.Lock()
	defer s.loading.Unlock()
	if err := s.child.sendBytes(ctx, "adapter-config", config); err != nil {
		return nil, s.failed(ctx, err)
	}
	if err := s.child.sendBytes(ctx, "adapter", tensors); err != nil {
		return nil, s.failed(ctx, err)
	}
	return s.change(ctx, wire.AdapterChange{ID: id, Canary: tokens})
}

// Computes says on which kernel level and in which precision.
func (s *Sampler) Computes() (level, precision string) { return s.child.Level(), s.child.precision() }

// Unload drops an adapter; requests that use it still finish. It is an error when the
// child has none of this id.
func (s *Sampler) Unload(ctx context.Context, id string) error {
	s.loading.Lock()
	defer s.loading.Unlock()
	_, err := s.change(ctx, wire.AdapterChange{ID: id, Unload: true})
	return err
}

func (s *Sampler) change(ctx context.Context, m wire.AdapterChange) ([]float64, error) {
	if err := sending(s.child.conn.Send(ctx, m)); err != nil {
		return nil, s.failed(ctx, err)
	}
	return s.awaitAck(ctx, m.ID)
}

// awaitAck waits for the answer to an AdapterChange. When ctx ends first the
// pairing of changes and answers is lost, so the child is given up.
func (s *Sampler) awaitAck(ctx context.Context, id string) ([]float64, error) {
	select {
	case a := <-s.acks:
		switch {
		case a.ID != id:
			s.child.Close()
			return nil, rft.Errorf(rft.KindInternal, "the engine answered for another adapter")
		case a.Error != "":
			return nil, rft.Errorf(rft.KindInvalidArgument, "%s", clip(a.Error))
		}
		return a.Canary, nil
	case <-s.ended:
		return nil, s.err
	case <-ctx.Done():
		s.child.Close()
		return nil, contextError(ctx)
	}
}

// failed is the error of a send that did not go through.
func (s *Sampler) failed(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return contextError(ctx)
	case ours(err):
		return err
	}
	s.child.killAfter(s.child.host.grace())
	<-s.ended
	return s.err
}

// Generate sends a request, whose ID is chosen here, and calls yield for each of
// its events until all completions finished. It returns yield's error, or
// ctx's; both cancel the request in the child.
func (s *Sampler) Generate(ctx context.Context, r wire.SampleRequest, yield func(wire.SampleEvent) error) error {
	r.N = max(r.N, 1)
	a := &answer{n: r.N, wake: make(chan struct{}, 1)}
	err := s.send(ctx, &r, a)
	defer s.drop(r.ID)
	if err != nil {
		return s.failed(ctx, err)
	}
	finished := make([]bool, r.N) // a completion that ends twice is not two that ended
	for slices.Contains(finished, false) {
		e, err := a.wait(ctx, s)
		if err == nil {
			err = taking(yield(e))
		}
		if err != nil {
			return s.abandon(ctx, r.ID, err)
		}
		if e.Finish != "" {
			finished[e.Index] = true
		}
	}
	return nil
}

// send numbers a request and sends it. Numbers rise on the wire too, so that the
// engine can tell a cancel that came before its request from a late one.
func (s *Sampler) send(ctx context.Context, r *wire.SampleRequest, a *answer) error {
	s.order.Lock()
	defer s.order.Unlock()
	s.next++
	r.ID = s.next
	s.mu.Lock()
	s.requests[r.ID] = a
	s.mu.Unlock()
	return sending(s.child.conn.Send(ctx, *r))
}

// abandon cancels a request that nobody reads any more.
func (s *Sampler) abandon(ctx context.Context, id uint64, err error) error {
	_ = s.child.conn.Send(context.Background(), wire.Cancel{ID: id})
	if own, ok := isTaking(err); ok {
		return own
	}
	if ctx.Err() != nil {
		return contextError(ctx)
	}
	return err
}

func (s *Sampler) drop(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.requests, id)
}

// wait returns the next event.
func (a *answer) wait(ctx context.Context, s *Sampler) (wire.SampleEvent, error) {
	for {
		if ctx.Err() != nil { // also when more is queued: nobody wants it
			return wire.SampleEvent{}, contextError(ctx)
		}
		a.mu.Lock()
		if len(a.events) > 0 {
			e := a.events[0]
			a.events = a.events[1:]
			a.bytes -= weight(e)
			a.mu.Unlock()
			return e, nil
		}
		err := a.err
		a.mu.Unlock()
		if err != nil {
			return wire.SampleEvent{}, err
		}
		select {
		case <-a.wake:
		case <-ctx.Done():
			return wire.SampleEvent{}, contextError(ctx)
		case <-s.ended:
			a.end(s.err)
		}
	}
}

func (a *answer) add(e wire.SampleEvent) {
	a.mu.Lock()
	if a.bytes += weight(e); a.bytes <= maxUnread {
		a.events = append(a.events, e)
	} else if a.err == nil {
		a.err = rft.Errorf(rft.KindResourceExhausted, "the answer was not read for too long")
	}
	a.mu.Unlock()
	a.signal()
}

// weight is about what an event takes in memory.
func weight(e wire.SampleEvent) int {
	n := 128 + len(e.Text) + 4*len(e.Prompt)
	for _, t := range e.Tokens {
		n += 128 + len(t.Text) + len(t.Bytes)
		for _, top := range t.Top {
			n += 64 + len(top.Text) + len(top.Bytes)
		}
	}
	return n
}

func (a *answer) end(err error) {
	a.mu.Lock()
	if a.err == nil {
		a.err = err
	}
	a.mu.Unlock()
	a.signal()
}

func (a *answer) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// receive hands out what the child sends until it ends.
func (s *Sampler) receive() {
	var err error
	for err == nil {
		var m any
		if m, err = s.child.conn.Receive(context.Background()); err == nil {
			err = s.take(m)
		}
	}
	s.child.conn.Close()
	s.err = s.child.verdict(context.Background(), err)
	s.child.Close()
	close(s.ended)
}

func (s *Sampler) take(m any) error {
	switch m := m.(type) {
	case wire.SampleEvent:
		if a := s.request(m.ID); a != nil {
			if m.Index < 0 || m.Index >= a.n || m.PromptTokens < 0 || m.Echoed < 0 || m.Echoed > len(m.Tokens) {
				return &wire.ProtocolError{Rule: "bad-event", Detail: "an event names a completion or tokens that are not there"}
			}
			a.add(m)
		}
		return nil
	case wire.Fault:
		if m.ID == 0 {
			return faultError(m)
		}
		if a := s.request(m.ID); a != nil {
			a.end(faultError(m))
		}
		return nil
	case wire.Ack:
		select {
		case s.acks <- m:
			return nil
		default:
		}
	}
	return unexpected(m)
}

func (s *Sampler) request(id uint64) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[id]
}
