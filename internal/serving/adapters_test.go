package serving

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

// told is a child that notes what it is told.
type told struct {
	mu       sync.Mutex
	has      []string
	says     []float64         // of the canary
	unloadOf map[string]func() // runs before an unload takes hold
}

func (c *told) Load(_ context.Context, id string, _, _ []byte, _ int) ([]float64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.has = append(c.has, id)
	return c.says, nil
}

func (c *told) Computes() (level, precision string) { return "go", wire.Float32 }

func (c *told) Unload(_ context.Context, id string) error {
	if f := c.unloadOf[id]; f != nil {
		f()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.has, id) {
		return rft.Errorf(rft.KindInvalidArgument, "%s is not there", id)
	}
	c.has = slices.DeleteFunc(c.has, func(have string) bool { return have == id })
	return nil
}

type empty struct{}

func (empty) OpenBase(context.Context, Target) (Base, error)       { return Base{}, nil }
func (empty) OpenAdapter(context.Context, Target) (Adapter, error) { return Adapter{}, nil }
func (empty) Refuse(_ context.Context, _ Target, err error) error  { return err }

func adaptersOf(s Source, most int) *adapters {
	return newAdapters(&Router{source: s, opt: Options{MaxAdapters: most}, log: slog.New(slog.DiscardHandler)})
}

// TestEvictedAndWantedAgain: an adapter that is asked for while its eviction is
// on the way is in the child afterwards.
func TestEvictedAndWantedAgain(t *testing.T) {
	a := adaptersOf(empty{}, 2)
	child := &told{unloadOf: map[string]func(){}}
	use := func(id string) {
		_, release, err := a.use(context.Background(), child, Target{Adapter: id, AdapterID: id})
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

// recording is a source whose checkpoints record a canary.
type recording struct {
	empty
	canary *engine.Canary
}

func (r recording) OpenAdapter(context.Context, Target) (Adapter, error) {
	return Adapter{Canary: r.canary, Level: "go"}, nil
}

// TestProof: what is not close enough, not as long or not a number is refused and
// taken out of the child.
func TestProof(t *testing.T) {
	within := engine.CanaryTolerance(engine.Computed{Level: "go"}, engine.Computed{Level: "go"})
	record := func(lp ...float64) *engine.Canary {
		return &engine.Canary{Sequence: engine.CanarySequence, Logprobs: lp}
	}
	older, longer := make([]float64, engine.MaxCanaryTokens-1), make([]float64, engine.MaxCanaryTokens)
	for name, c := range map[string]struct {
		recorded *engine.Canary
		says     []float64
		proof    Proof
	}{
		"the same":         {record(-1, -2), []float64{-1, -2}, Proven},
		"close":            {record(-1, -2), []float64{-1, -2 - within/2}, Proven},
		"not close":        {record(-1, -2), []float64{-1, -2 - within*2}, ""},
		"not a number":     {record(-1, -2), []float64{-1, math.NaN()}, ""},
		"shorter":          {record(-1, -2), []float64{-1}, ""},
		"nothing":          {record(-1, -2), nil, ""},
		"another sequence": {&engine.Canary{Sequence: "of tomorrow", Logprobs: []float64{-1}}, []float64{-1}, ""},
		"an empty record":  {record(), nil, ""},
		"of before":        {record(older...), older, Proven},
		"beyond any":       {record(longer...), longer, ""},
		"no record":        {nil, nil, Unrecorded},
	} {
		a, child := adaptersOf(recording{canary: c.recorded}, 2), &told{says: c.says}
		proof := Proof("")
		l, _, err := a.use(t.Context(), child, Target{Adapter: "x", AdapterID: "x"})
		if err == nil {
			proof = l.proof
		}
		if proof != c.proof || (err != nil) != (c.proof == "") || len(child.has) != a.count() || a.count() == 0 && c.proof != "" {
			t.Errorf("%s: %q, %v; the child has %q, %d are thought to be there", name, proof, err, child.has, a.count())
		}
	}
}
