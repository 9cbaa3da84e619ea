package serving

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// preloadIdle is how long an adapter that was loaded ahead waits for its checkpoint.
const preloadIdle = time.Minute

// preloaded is an adapter that a child got before its checkpoint was there. No
// request can name it. It becomes a checkpoint's when that has been opened and
// verified, holds the very same bytes, and records the canary that the child
// computed; until then it is only memory.
type preloaded struct {
	id     string // what the child knows it by, until it ends
	files  Adapter
	tokens int // of the canary

	done   chan struct{} // closed when canary and err are set
	canary []float64
	err    error
}

// Preload gives the child of t's account and base an adapter whose checkpoint is being
// made durable and signed, where such a child runs, so that the first request for it waits for
// neither the transfer nor the canary. It returns at once. drop takes the adapter
// back unless a checkpoint took it over; time does too.
func (r *Router) Preload(t Target, f Adapter, canary int) (drop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.replicas[key{t.Account, t.Base, t.BaseDigest}]
	if p == nil || r.closed {
		return func() {}
	}
	s := p.running()
	if s == nil {
		return func() {}
	}
	ahead := &preloaded{id: fmt.Sprintf("ahead-%d", r.aheads.Add(1)), files: f, tokens: canary, done: make(chan struct{})}
	drop = sync.OnceFunc(func() { go s.adapters.forgo(r.ctx, s.sampler, ahead) })
	r.work.Go(func() {
		defer p.leave()
		defer p.working(s.sampler)() // its share of the cores, as for an answer
		s.adapters.preload(r.ctx, s.sampler, ahead)
		time.AfterFunc(preloadIdle, drop)
	})
	return drop
}

// running is the child that answers, nil where there is none now; else the caller
// is counted in.
func (p *replica) running() *start {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now == nil || p.stopped {
		return nil
	}
	select {
	case <-p.now.ready:
	default:
		return nil
	}
	if p.now.err != nil {
		return nil
	}
	p.users++
	return p.now
}

// preload loads p, and takes back the one before it.
func (a *adapters) preload(ctx context.Context, s loader, p *preloaded) {
	defer close(p.done)
	a.changing.Lock()
	defer a.changing.Unlock()
	a.mu.Lock()
	old := a.ahead
	a.ahead = p
	a.mu.Unlock()
	if p.err = old.unload(ctx, s); p.err == nil {
		p.canary, p.err = s.Load(ctx, p.id, p.files.Config, p.files.Tensors, p.tokens)
	}
	a.log.Debug("adapter loaded ahead of its checkpoint", slog.String("adapter", p.id), slog.Any("error", p.err))
}

// forgo takes p back unless somebody claimed it.
func (a *adapters) forgo(ctx context.Context, s loader, p *preloaded) {
	<-p.done
	a.changing.Lock()
	defer a.changing.Unlock()
	a.mu.Lock()
	ours := a.ahead == p
	if ours {
		a.ahead = nil
	}
	a.mu.Unlock()
	if ours {
		_ = p.unload(ctx, s) // a child that does not do it is gone
	}
}

// claim hands out what was loaded ahead when its bytes are those of the verified
// files f, else nil.
func (a *adapters) claim(f Adapter) *preloaded {
	a.mu.Lock()
	p := a.ahead
	if p == nil || !bytes.Equal(p.files.Config, f.Config) || !bytes.Equal(p.files.Tensors, f.Tensors) {
		a.mu.Unlock()
		return nil
	}
	a.ahead = nil
	a.mu.Unlock()
	<-p.done
	p.files = Adapter{} // it has served its purpose
	return p
}

// proven says whether what was loaded ahead says what the checkpoint records; what
// does not is taken back, and then the checkpoint is loaded and judged as ever.
func (a *adapters) proven(ctx context.Context, s loader, t Target, f Adapter, p *preloaded) (Proof, error) {
	if p == nil {
		return "", nil
	}
	if p.err == nil && known(f.Canary) {
		if apart, most := distance(s, f, p.canary); apart <= most {
			a.loads.ahead.Add(1)
			a.accepted(t, apart, most)
			return Proven, nil
		}
	}
	return "", p.unload(ctx, s)
}

// unload takes p out of the child, where it is there.
func (p *preloaded) unload(ctx context.Context, s loader) error {
	if p == nil || p.err != nil {
		return nil
	}
	return s.Unload(ctx, p.id)
}
