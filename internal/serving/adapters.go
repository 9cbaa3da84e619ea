package serving

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// adapters are the adapters loaded in one child, the least recently used of
// which makes room for the next.
type adapters struct {
	source Source
	most   int
	loads  *loads
	log    *slog.Logger

	// changing orders what the child is told: an adapter that is evicted is gone
	// from it before the next load, which may be one of the same adapter.
	changing sync.Mutex

	mu     sync.Mutex
	loaded map[string]*loaded // by AdapterID
	// refused are adapters whose canary disagreed: the same bytes on the same
	// kernels would again.
	refused map[string]error
	// ahead is in the child before its checkpoint is there, nil = nothing.
	ahead *preloaded
}

type loaded struct {
	ready chan struct{} // closed when id, proof or err is set
	id    string        // what the child knows it by
	proof Proof
	err   error
	users int
	used  time.Time
}

func newAdapters(r *Router) *adapters {
	return &adapters{source: r.source, most: r.opt.MaxAdapters, loads: &r.loads, log: r.log, loaded: map[string]*loaded{}, refused: map[string]error{}}
}

// loader is the child as adapters see it.
type loader interface {
	Load(ctx context.Context, id string, config, tensors []byte, canary int) ([]float64, error)
	Unload(ctx context.Context, id string) error
	Computes() (level, precision string)
}

func (a *adapters) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.loaded)
}

// use makes sure that the child has t's adapter and keeps it there until release.
func (a *adapters) use(ctx context.Context, s loader, t Target) (l *loaded, release func(), err error) {
	a.mu.Lock()
	if err := a.refused[t.AdapterID]; err != nil {
		a.mu.Unlock()
		return nil, nil, err
	}
	l, known := a.loaded[t.AdapterID]
	if !known {
		l = &loaded{ready: make(chan struct{}), id: t.AdapterID}
		a.loaded[t.AdapterID] = l
	}
	l.users++
	l.used = time.Now()
	a.mu.Unlock()
	release = func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		l.users--
	}
	if !known {
		// Others wait for this load, so it does not end with this request.
		l.err = a.load(context.WithoutCancel(ctx), s, t, l)
		a.finish(t.AdapterID, l)
	}
	select {
	case <-l.ready:
	case <-ctx.Done():
		release()
		return nil, nil, rft.Wrap(rft.KindCancelled, context.Cause(ctx), "cancelled while model %s was loading", t.Adapter)
	}
	if l.err != nil {
		release()
		return nil, nil, l.err
	}
	return l, release, nil
}

// finish ends a load; a failed one is forgotten, so the next request tries again.
func (a *adapters) finish(id string, l *loaded) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l.err != nil && a.loaded[id] == l {
		delete(a.loaded, id)
	}
	close(l.ready)
}

func (a *adapters) load(ctx context.Context, s loader, t Target, l *loaded) error {
	begun := time.Now()
	files, err := a.source.OpenAdapter(ctx, t)
	if err != nil {
		return err
	}
	opened := time.Now()
	ahead := a.claim(files)
	a.changing.Lock()
	defer a.changing.Unlock()
	if err = a.yield(ctx, s); err == nil {
		err = a.makeRoom(ctx, s, 0)
	}
	if err != nil {
		_ = ahead.unload(ctx, s) // else it goes with the child
		return err
	}
	if l.proof, err = a.proven(ctx, s, t, files, ahead); err == nil && l.proof != "" {
		l.id = ahead.id
	} else if err == nil {
		l.proof, err = a.prove(ctx, s, t, files)
	}
	a.log.Debug("adapter load", slog.String("model", t.Adapter), slog.Bool("ahead", l.id != t.AdapterID), slog.Duration("opened", opened.Sub(begun)), slog.Duration("proven", time.Since(opened)))
	return err
}

// makeRoom unloads the least recently used adapters that nobody uses, until those
// that are known and more fit.
func (a *adapters) makeRoom(ctx context.Context, s loader, more int) error {
	for {
		id, full := a.evict(more)
		switch {
		case !full:
			return nil
		case id == "":
			return rft.Wrap(rft.KindResourceExhausted, &Busy{After: time.Second}, "all %d adapters that fit are in use; try again in a second", a.most)
		}
		if err := s.Unload(ctx, id); err != nil {
			return err
		}
	}
}

// evict forgets one adapter when more would be too many; id is "" when all are in use.
func (a *adapters) evict(more int) (id string, full bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.loaded)+more <= a.most {
		return "", false
	}
	var oldest *loaded
	for k, l := range a.loaded {
		if l.users == 0 && (oldest == nil || l.used.Before(oldest.used)) {
			id, oldest = k, l
		}
	}
	if delete(a.loaded, id); oldest != nil {
		id = oldest.id
	}
	return id, true
}
