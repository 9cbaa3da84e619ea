package serving

import (
	"context"
	"errors"
	"log/slog"
)

// Forget takes a model that was deleted out of memory, in whatever account's
// child it is: a base with its children, an adapter (its id) by itself. Requests
// in work on a base fail; those on an adapter still finish.
func (r *Router) Forget(ctx context.Context, base, adapterID string) {
	if adapterID == "" {
		r.stopWhere(func(p *replica) bool { return p.target.Base == base })
		return
	}
	r.mu.Lock()
	var on []*replica
	for _, p := range r.replicas {
		if p.target.Base == base {
			on = append(on, p)
		}
	}
	r.mu.Unlock()
	for _, p := range on {
		if err := p.forget(ctx, adapterID); err != nil {
			r.log.Warn("a deleted adapter stays in a child's memory until that ends", slog.String("base", base), slog.Any("error", err))
		}
	}
}

// forget unloads an adapter from the running child, if it has it.
func (p *replica) forget(ctx context.Context, id string) error {
	p.mu.Lock()
	s := p.now
	p.mu.Unlock()
	if s == nil {
		return nil
	}
	select {
	case <-s.ready:
	default:
		return nil // it is starting, and has no adapters
	}
	if s.err != nil {
		return nil
	}
	return s.adapters.forget(ctx, s.sampler, id)
}

// forget unloads one adapter, by what the child knows it by. One that is just being
// loaded is unloaded behind it. What is ahead goes too: it may be the same one, which
// no request has named yet, and is nothing but a head start if it is not.
func (a *adapters) forget(ctx context.Context, s loader, id string) error {
	a.mu.Lock()
	l := a.loaded[id]
	a.mu.Unlock()
	if l != nil {
		select {
		case <-l.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	err := a.vacate(nil).unload(ctx, s)
	a.mu.Lock()
	have := l != nil && a.loaded[id] == l
	if have {
		delete(a.loaded, id)
	}
	a.mu.Unlock()
	if !have {
		return err // evicted, or it never loaded
	}
	return errors.Join(err, s.Unload(ctx, l.id))
}
