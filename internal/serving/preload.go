package serving

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
// computed; until then it is only memory, and only the child's: what stays here
// says nothing about the weights, for the account's key may be gone by then.
type preloaded struct {
	id     string // what the child knows it by, until it ends
	bytes  digests
	tokens int // of the canary

	done   chan struct{} // closed when canary and err are set
	canary []float64
	err    error
	idle   *time.Timer // gives it up; adapters.mu guards it
}

// digests are those of an adapter's config and tensors, in hex.
type digests [2]string

func digestsOf(f Adapter) digests {
	return digests{digestOf(f.Config, f.ConfigSHA256), digestOf(f.Tensors, f.TensorsSHA256)}
}

func digestOf(b []byte, known string) string {
	if known != "" {
		return known
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func newPreloaded(id string, f Adapter, tokens int) *preloaded {
	return &preloaded{id: id, bytes: digestsOf(f), tokens: tokens, done: make(chan struct{})}
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
	ahead := newPreloaded(fmt.Sprintf("ahead-%d", r.aheads.Add(1)), f, canary)
	r.work.Go(func() {
		defer p.leaveUnasked()
		defer p.computing(s.sampler)() // its share of the cores, as for an answer
		s.adapters.preload(r.ctx, s.sampler, ahead, f)
	})
	return sync.OnceFunc(func() { go s.adapters.forgo(r.ctx, s.sampler, ahead) })
}

// running is the child that answers, nil where there is none now; else the caller
// is counted in, until leaveUnasked.
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
	p.unasked.Add(1)
	return p.now
}

// preload loads p from f, and takes back the one before it. Where all adapters that
// fit are in use it does not: requests come first.
func (a *adapters) preload(ctx context.Context, s loader, p *preloaded, f Adapter) {
	defer close(p.done)
	a.changing.Lock()
	defer a.changing.Unlock()
	if p.err = a.vacate(nil).unload(ctx, s); p.err == nil {
		p.err = a.makeRoom(ctx, s, 1)
	}
	if p.err == nil {
		a.mu.Lock()
		a.ahead = p
		p.idle = time.AfterFunc(preloadIdle, func() { a.forgo(ctx, s, p) })
		a.mu.Unlock()
		if p.canary, p.err = s.Load(ctx, p.id, f.Config, f.Tensors, p.tokens); p.err != nil {
			a.vacate(p)
		}
	}
	a.log.Debug("adapter loaded ahead of its checkpoint", slog.String("adapter", p.id), slog.Any("error", p.err))
}

// forgo takes p back unless somebody claimed it.
func (a *adapters) forgo(ctx context.Context, s loader, p *preloaded) {
	<-p.done
	a.changing.Lock()
	defer a.changing.Unlock()
	_ = a.vacate(p).unload(ctx, s) // a child that does not do it is gone
}

// vacate empties the place ahead where p is in it, whatever is where p is nil, and
// returns what was there. Only who got it decides what becomes of it.
func (a *adapters) vacate(p *preloaded) *preloaded {
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.ahead
	if was == nil || p != nil && p != was {
		return nil
	}
	a.ahead = nil
	was.idle.Stop()
	return was
}

// yield takes what is ahead out of the child when an adapter that a request wants
// needs its place.
func (a *adapters) yield(ctx context.Context, s loader) error {
	if a.count() < a.most {
		return nil
	}
	return a.vacate(nil).unload(ctx, s)
}

// claim hands out what was loaded ahead when its bytes are those of the verified
// files f, else nil.
func (a *adapters) claim(f Adapter) *preloaded {
	a.mu.Lock()
	p := a.ahead
	a.mu.Unlock()
	if p == nil || p.bytes != digestsOf(f) || a.vacate(p) == nil {
		return nil
	}
	<-p.done
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
