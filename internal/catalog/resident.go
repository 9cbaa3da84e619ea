package catalog

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// residents are the private weights that this host has in memory: each unsealed
// once, into a memory file that nobody can change and that is kept out of swap,
// and shared by the children that map it. They are never on a disk of the host.
type residents struct {
	vault *Vault
	idle  time.Duration

	mu  sync.Mutex
	all map[string]*resident // by artefact
}

// residentIdle is how long weights that nobody uses stay.
const residentIdle = 10 * time.Minute

func newResidents(v *Vault) *residents {
	return &residents{vault: v, idle: residentIdle, all: map[string]*resident{}}
}

// resident is one base in memory.
type resident struct {
	ready   chan struct{} // closed when memory or err is set
	memory  *memory
	err     error
	release func() // of the hold on the key

	users int
	timer *time.Timer // runs while nobody uses it
	gone  bool
}

// use returns the weights of m and unseals them when they are not there. Others
// wait for the same unsealing, so it does not end with ctx.
func (s *residents) use(ctx context.Context, m store.Model) (*Weights, error) {
	// The key may have been disabled while its weights stayed: ask it each time.
	if err := s.vault.keys.Check(ctx, accountOf(m.Artifact)); err != nil {
		return nil, err
	}
	s.mu.Lock()
	r := s.all[m.Artifact]
	if r == nil {
		r = &resident{ready: make(chan struct{})}
		s.all[m.Artifact] = r
		go s.fill(context.WithoutCancel(ctx), r, m)
	}
	r.users++
	if r.timer != nil {
		r.timer.Stop()
	}
	s.mu.Unlock()
	select {
	case <-r.ready:
	case <-ctx.Done():
		s.leave(m.Artifact, r)
		return nil, rft.Wrap(rft.KindCancelled, context.Cause(ctx), "cancelled while %s was unsealed", m.Name())
	}
	file, err := s.descriptor(r)
	if err != nil {
		s.leave(m.Artifact, r)
		return nil, err
	}
	return &Weights{File: file, Size: m.Size, Digest: m.Digest, leave: sync.OnceFunc(func() { s.leave(m.Artifact, r) })}, nil
}

// descriptor is a descriptor of the weights for one user.
func (s *residents) descriptor(r *resident) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.err != nil:
		return nil, r.err
	case r.gone:
		return nil, rft.Errorf(rft.KindUnavailable, "the weights were just taken out of memory; try again")
	}
	return r.memory.duplicate()
}

// fill unseals the weights of m. The hold on the key is taken before the key is
// used: however the two interleave with its loss, nothing stays behind.
func (s *residents) fill(ctx context.Context, r *resident, m store.Model) {
	release := s.vault.keys.Hold(accountOf(m.Artifact), custody.Memory, func(error) { s.drop(m.Artifact, r) })
	memory, err := s.unseal(custody.For(ctx, custody.Use{Purpose: "weights", Resource: m.Name()}), m)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
	case r.gone:
		memory.close()
		err = rft.Errorf(rft.KindFailedPrecondition, "%s was taken out of memory while it was unsealed: it was deleted, or its key was lost", m.Name())
	}
	if err != nil {
		release()
		r.err = err
		s.remove(m.Artifact, r)
	} else {
		r.memory, r.release = memory, release
	}
	close(r.ready)
}

func (s *residents) unseal(ctx context.Context, m store.Model) (*memory, error) {
	sealed, err := s.vault.openWeights(ctx, m)
	if err != nil {
		return nil, err
	}
	defer sealed.Close()
	memory, err := newMemory(m.Size)
	if err != nil {
		return nil, rft.Wrap(rft.KindResourceExhausted, err, "there is no memory for the %d bytes of %s", m.Size, m.Name())
	}
	if err = digestOf(memory, sealed, m); err == nil {
		err = memory.seal()
	}
	if err != nil {
		memory.close()
		if rft.KindOf(err) == rft.KindUnknown {
			err = rft.Wrap(rft.KindUnavailable, err, "the weights of %s cannot be unsealed into memory", m.Name())
		}
		return nil, err
	}
	if !memory.locked {
		s.vault.keys.Log.Warn("private weights could not be locked into memory and may be swapped out; raise the limit of locked memory", slog.String("model", m.Name()))
	}
	return memory, nil
}

// leave counts a user out; weights that nobody uses go after a while.
func (s *residents) leave(artefact string, r *resident) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.users--; r.users > 0 || r.gone {
		return
	}
	r.timer = time.AfterFunc(s.idle, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.users == 0 {
			s.remove(artefact, r)
		}
	})
}

// drop takes weights out of memory. Children that map them keep their pages:
// whoever drops them because of a key ends those first.
func (s *residents) drop(artefact string, r *resident) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(artefact, r)
}

// remove is drop for those who hold s.mu.
func (s *residents) remove(artefact string, r *resident) {
	if s.all[artefact] == r {
		delete(s.all, artefact)
	}
	if r.gone {
		return
	}
	r.gone = true
	if r.memory != nil {
		r.memory.close()
	}
	if r.release != nil {
		r.release()
	}
}

// forget drops the weights of an artefact that is being deleted.
func (s *residents) forget(artefact string) {
	s.mu.Lock()
	r := s.all[artefact]
	s.mu.Unlock()
	if r != nil {
		s.drop(artefact, r)
	}
}

// close drops everything.
func (s *residents) close() {
	s.mu.Lock()
	var all []string
	for artefact := range s.all {
		all = append(all, artefact)
	}
	s.mu.Unlock()
	for _, artefact := range all {
		s.forget(artefact)
	}
}
