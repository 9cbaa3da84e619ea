package serving

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"
)

// told is a child that notes what it is told.
type told struct {
	mu       sync.Mutex
	has      []string
	unloadOf map[string]func() // runs before an unload takes hold
}

func (c *told) Load(_ context.Context, id string, _, _ []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.has = append(c.has, id)
	return nil
}

func (c *told) Unload(_ context.Context, id string) error {
	if f := c.unloadOf[id]; f != nil {
		f()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.has = slices.DeleteFunc(c.has, func(have string) bool { return have == id })
	return nil
}

type empty struct{}

func (empty) OpenBase(context.Context, Target) (Base, error)       { return Base{}, nil }
func (empty) OpenAdapter(context.Context, Target) (Adapter, error) { return Adapter{}, nil }

// TestEvictedAndWantedAgain: an adapter that is asked for while its eviction is
// on the way is in the child afterwards.
func TestEvictedAndWantedAgain(t *testing.T) {
	a := newAdapters(empty{}, 2)
	child := &told{unloadOf: map[string]func(){}}
	use := func(id string) {
		release, err := a.use(context.Background(), child, Target{Adapter: id, AdapterID: id})
		if err != nil {
			t.Error(err)
			return
		}
		release()
	}
	var again sync.WaitGroup
	child.unloadOf["x"] = func() {
		delete(child.unloadOf, "x")
		loaded := make(chan struct{})
		again.Go(func() { use("x"); close(loaded) })
		select { // what would be wrong has the time to happen
		case <-loaded:
		case <-time.After(50 * time.Millisecond):
		}
	}
	use("x")
	use("z")
	use("y") // evicts x
	again.Wait()
	if !slices.Contains(child.has, "x") || len(child.has) != 2 || a.count() != 2 {
		t.Errorf("the child has %q, %d are thought to be there", child.has, a.count())
	}
}
