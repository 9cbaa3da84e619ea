package serving

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

// replica is the sampling child of one account and base, over its restarts.
type replica struct {
	router *Router
	target Target

	mu      sync.Mutex
	users   int
	used    time.Time
	busy    int    // requests that are being decoded, adapters that are tried
	release func() // of the cores, while busy
	now     *start // the current child or the attempt to start it; nil = none
	crashes int    // since the last answer
	retry   time.Time
	stopped bool
	unasked sync.WaitGroup // adapters that are loaded ahead
}

// start is one life of the child.
type start struct {
	ready   chan struct{} // closed when sampler or err is set
	sampler *broker.Sampler
	err     error
	// adapters are what this child has; the next one starts with none.
	adapters *adapters
	// base is what the child maps.
	base Base
	// unopened: the base could not be opened, so no child was to blame.
	unopened bool
}

func newReplica(r *Router, t Target) *replica {
	t.Adapter, t.AdapterID = "", ""
	return &replica{router: r, target: t}
}

func (p *replica) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users--
	p.used = time.Now()
}

// leaveUnasked counts out one that nobody asked for: it keeps no child from being idle.
func (p *replica) leaveUnasked() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users--
	p.unasked.Done()
}

// idle reports that nobody has used the replica since before.
func (p *replica) idle(before time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.users == 0 && p.used.Before(before)
}

// started returns the running child, which it starts when there is none. The
// start goes on when ctx ends: others wait for it too.
func (p *replica) started(ctx context.Context) (*start, error) {
	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		return nil, rft.Errorf(rft.KindUnavailable, "model %s was just stopped; try again", p.target.Base)
	}
	if p.now == nil {
		if wait := time.Until(p.retry); wait > 0 {
			p.mu.Unlock()
			return nil, rft.Wrap(rft.KindUnavailable, &Busy{After: wait}, "model %s crashed; it starts again in %s", p.target.Base, wait.Round(time.Second))
		}
		p.now = &start{ready: make(chan struct{}), adapters: newAdapters(p.router)}
		s := p.now
		p.router.work.Go(func() { p.live(s) })
	}
	s := p.now
	p.mu.Unlock()
	select {
	case <-s.ready:
		return s, s.err
	case <-ctx.Done():
		return nil, rft.Wrap(rft.KindCancelled, context.Cause(ctx), "cancelled while model %s was starting", p.target.Base)
	}
}

// live starts the child and stays until it ends.
func (p *replica) live(s *start) {
	s.sampler, s.err = p.launch(s)
	close(s.ready)
	if s.err == nil {
		p.router.log.Info("sampling child started", slog.String("account", p.target.Account), slog.String("base", p.target.Base))
		select {
		case <-s.sampler.Ended():
		case <-p.router.ctx.Done():
		}
		s.sampler.Close()
	}
	s.base.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = nil
	if !p.stopped && !s.unopened {
		p.crashes++
		p.retry = time.Now().Add(backoff(p.crashes))
	}
}

// backoff is how long a child stays down after n crashes without an answer in
// between: not at all after the first, up to a minute.
func backoff(n int) time.Duration {
	if n < 2 {
		return 0
	}
	return min(time.Second<<min(n-2, 10), time.Minute)
}

// launch starts a sampling child.
func (p *replica) launch(s *start) (*broker.Sampler, error) {
	ctx, cancel := context.WithTimeout(p.router.ctx, p.router.opt.StartTimeout)
	defer cancel()
	base, err := p.router.source.OpenBase(ctx, p.target)
	if err != nil {
		s.unopened = true
		return nil, err
	}
	s.base = base
	o := p.router.opt
	choice, err := p.router.host.Isolated(base.Isolation).Choose(ctx, o.Level, o.Precision)
	if err != nil {
		return nil, err
	}
	child, err := p.router.host.Start(ctx, broker.Options{Name: "sample", Threads: o.Shares.idle(), MemoryBytes: o.MemoryBytes, Level: choice.Level, Precision: choice.Precision,
		Weights: &broker.Weights{File: base.File, Size: base.Size, Digest: base.Digest}, Isolation: base.Isolation, Require: base.Require})
	if err != nil {
		return nil, err
	}
	return child.StartSampling(ctx, wire.SampleTask{MaxSequences: o.MaxSequences, MaxContext: o.MaxContext, CacheBytes: o.CacheBytes, Int8: o.Int8})
}

// close gives back what the child mapped.
func (b Base) close() {
	switch {
	case b.Close != nil:
		b.Close()
	case b.File != nil:
		_ = b.File.Close()
	}
}

// working counts a request that is being decoded; a child that outlives one has
// not crashed in a row.
func (p *replica) working(s *broker.Sampler) (done func()) {
	rest := p.computing(s)
	return func() {
		rest()
		select {
		case <-s.Ended():
		default:
			p.mu.Lock()
			defer p.mu.Unlock()
			p.crashes = 0
		}
	}
}

// computing counts what the child computes: the first takes the cores, the last
// gives them back.
func (p *replica) computing(s *broker.Sampler) (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.busy++; p.busy == 1 {
		p.release = p.router.opt.Shares.Sampling(s.Child())
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.busy--; p.busy == 0 {
			p.release()
		}
	}
}

// stop ends the child for good. What was being loaded ahead is out of memory too then.
func (p *replica) stop() {
	defer p.unasked.Wait()
	p.mu.Lock()
	p.stopped = true
	s := p.now
	p.mu.Unlock()
	if s == nil {
		return
	}
	<-s.ready
	if s.sampler != nil {
		s.sampler.Close()
	}
}

func (p *replica) status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Status{Account: p.target.Account, Base: p.target.Base, Requests: p.users, Crashes: p.crashes}
	if p.now != nil {
		st.Adapters = p.now.adapters.count()
		select {
		case <-p.now.ready:
			if p.now.err == nil {
				child := p.now.sampler.Child()
				st.Running, st.Pid, st.Level = true, child.Pid(), child.Level()
			}
		default:
		}
	}
	return st
}
