package serving

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

// Router owns the sampling children.
type Router struct {
	host   *broker.Host
	source Source
	opt    Options
	log    *slog.Logger
	loads  loads
	aheads atomic.Int64 // adapters that were loaded ahead, to number them

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	replicas map[key]*replica
	closed   bool
}

// key is what a child belongs to.
type key struct{ account, base, digest string }

// NewRouter returns a router that starts children on h. Close ends them.
func NewRouter(h *broker.Host, source Source, o Options) *Router {
	r := &Router{host: h, source: source, opt: o.withDefaults(), log: h.Log, replicas: map[key]*replica{}}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.work.Go(r.sweep)
	return r
}

// Close ends all children and waits for them; requests in work fail.
func (r *Router) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.work.Wait()
	return nil
}

// Generate answers one request: it calls yield for every event until all
// completions finished, and returns yield's error or ctx's, which both cancel
// the request. q.Adapter and q.ID are set here. RESOURCE_EXHAUSTED and
// UNAVAILABLE errors may wrap a *Busy.
func (r *Router) Generate(ctx context.Context, t Target, q wire.SampleRequest, yield func(wire.SampleEvent) error) error {
	p, err := r.enter(t)
	if err != nil {
		return err
	}
	defer p.leave()
	s, err := p.started(ctx)
	if err != nil {
		return err
	}
	q.Adapter = ""
	if t.Adapter != "" {
		l, release, err := s.adapters.use(ctx, s.sampler, t)
		if err != nil {
			return err
		}
		defer release()
		q.Adapter = l.id
	}
	defer p.working(s.sampler)()
	return s.sampler.Generate(ctx, q, yield)
}

// Share is how many requests at once a job may have, which has time: most of them,
// but no more than a quarter of what a child takes, so that chats find a place.
func (r *Router) Share(most int) int { return max(1, min(most, r.opt.MaxRequests/4)) }

// Warm starts the child of t, and loads its adapter, ahead of the first request.
// It says how the adapter was proven, "" for a base.
func (r *Router) Warm(ctx context.Context, t Target) (Proof, error) {
	p, err := r.enter(t)
	if err != nil {
		return "", err
	}
	defer p.leave()
	s, err := p.started(ctx)
	if err != nil || t.Adapter == "" {
		return "", err
	}
	l, release, err := s.adapters.use(ctx, s.sampler, t)
	if err != nil {
		return "", err
	}
	release()
	return l.proof, nil
}

// enter finds the replica of t, or makes it, and counts the caller in.
func (r *Router) enter(t Target) (*replica, error) {
	k := key{t.Account, t.Base, t.BaseDigest}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, rft.Errorf(rft.KindUnavailable, "the server is stopping")
	}
	p := r.replicas[k]
	if p == nil {
		p = newReplica(r, t)
		r.replicas[k] = p
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users >= r.opt.MaxRequests {
		return nil, rft.Wrap(rft.KindResourceExhausted, &Busy{After: time.Second},
			"too many requests wait for model %s: %d; try again in a second", t.Base, p.users)
	}
	p.users++
	p.used = time.Now()
	return p, nil
}

// sweep stops idle children, and all of them at the end.
func (r *Router) sweep() {
	t := time.NewTicker(max(r.opt.Idle/4, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-r.ctx.Done():
			r.stopWhere(func(*replica) bool { return true })
			return
		case now := <-t.C:
			r.stopWhere(func(p *replica) bool { return p.idle(now.Add(-r.opt.Idle)) })
		}
	}
}

// stopWhere forgets and stops the replicas that match.
func (r *Router) stopWhere(match func(*replica) bool) {
	r.mu.Lock()
	var stop []*replica
	for k, p := range r.replicas {
		if match(p) {
			delete(r.replicas, k)
			stop = append(stop, p)
		}
	}
	r.mu.Unlock()
	for _, p := range stop {
		p.stop()
	}
}

// Stop ends the children of account that serve base ("" = every base): a
// deployment was deleted or a key was revoked. Requests in work fail.
func (r *Router) Stop(account, base string) {
	r.stopWhere(func(p *replica) bool {
		return p.target.Account == account && (base == "" || p.target.Base == base)
	})
}

// Status describes one sampling child for people and metrics.
type Status struct {
	Account  string
	Base     string
	Running  bool
	Pid      int // 0 = not running
	Requests int // in work or waiting
	Adapters int // loaded
	Crashes  int // one behind another
	Level    string
}

// Status lists the children.
func (r *Router) Status() []Status {
	r.mu.Lock()
	list := make([]*replica, 0, len(r.replicas))
	for _, p := range r.replicas {
		list = append(list, p)
	}
	r.mu.Unlock()
	out := make([]Status, 0, len(list))
	for _, p := range list {
		out = append(out, p.status())
	}
	return out
}

func (t Target) String() string {
	if t.Adapter == "" {
		return t.Base
	}
	return fmt.Sprintf("%s on %s", t.Adapter, t.Base)
}
