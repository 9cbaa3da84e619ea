package serving

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

// making is a source with one checkpoint.
type making struct {
	empty
	files Adapter
}

func (m making) OpenAdapter(context.Context, Target) (Adapter, error) { return m.files, nil }

func checkpoint(tensors string, lp ...float64) Adapter {
	return Adapter{Config: []byte("{}"), Tensors: []byte(tensors), Canary: &engine.Canary{Sequence: engine.CanarySequence, Logprobs: lp}, Level: "go"}
}

func loadAhead(t *testing.T, a *adapters, child *told, tensors string) *preloaded {
	t.Helper()
	p := &preloaded{id: "ahead of " + tensors, files: Adapter{Config: []byte("{}"), Tensors: []byte(tensors)}, tokens: 3, done: make(chan struct{})}
	a.preload(t.Context(), child, p)
	return p
}

// TestPreload: a checkpoint takes over what was loaded ahead of it when that is its
// very bytes and says what it records. Else the checkpoint is loaded and judged as
// ever, and what was loaded ahead leaves the child.
func TestPreload(t *testing.T) {
	for name, c := range map[string]struct {
		ahead string
		files Adapter
		proof Proof
		has   []string
	}{
		"the same":            {"x", checkpoint("x", -1, -2), Proven, []string{"ahead of x"}},
		"other bytes":         {"y", checkpoint("x", -1, -2), Proven, []string{"ahead of y", "id"}},
		"another canary":      {"x", checkpoint("x", -1, -3), "", nil},
		"a shorter canary":    {"x", checkpoint("x", -1), "", nil},
		"no canary on record": {"x", Adapter{Config: []byte("{}"), Tensors: []byte("x")}, Unrecorded, []string{"id"}},
	} {
		a, child := adaptersOf(making{files: c.files}, 2), &told{says: []float64{-1, -2}}
		loadAhead(t, a, child, c.ahead)
		l, release, err := a.use(t.Context(), child, Target{Adapter: "name", AdapterID: "id"})
		if (err != nil) != (c.proof == "") || err == nil && (l.proof != c.proof || l.id != c.has[len(c.has)-1]) || !slices.Equal(child.has, c.has) && len(child.has)+len(c.has) > 0 {
			t.Errorf("%s: %+v, %v; the child has %q", name, l, err, child.has)
		}
		if ahead := a.loads.ahead.Load(); (ahead == 1) != (name == "the same") {
			t.Errorf("%s: %d were ahead", name, ahead)
		}
		if err == nil {
			release()
		}
	}
}

// TestPreloadIsOne: a child keeps one adapter ahead; what is given up or follows
// takes it out, unless a checkpoint has it by then. Its place is given to others
// like that of any adapter.
func TestPreloadIsOne(t *testing.T) {
	a, child := adaptersOf(making{files: checkpoint("z", -1, -2)}, 1), &told{says: []float64{-1, -2}}
	first := loadAhead(t, a, child, "x")
	second := loadAhead(t, a, child, "y")
	if !slices.Equal(child.has, []string{"ahead of y"}) {
		t.Errorf("after the second the child has %q", child.has)
	}
	a.forgo(t.Context(), child, first)
	a.forgo(t.Context(), child, second)
	if len(child.has) != 0 || a.ahead != nil {
		t.Errorf("given up, the child has %q", child.has)
	}
	third := loadAhead(t, a, child, "z")
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if l, release, err := a.use(t.Context(), child, Target{Adapter: "name", AdapterID: "id"}); err != nil || l.id != third.id {
				t.Errorf("%+v, %v", l, err)
			} else {
				release()
			}
		})
	}
	both.Wait()
	a.forgo(t.Context(), child, third)
	if !slices.Equal(child.has, []string{third.id}) {
		t.Errorf("taken over and given up, the child has %q", child.has)
	}
	a.source = making{files: checkpoint("w", -1, -2)}
	if _, _, err := a.use(t.Context(), child, Target{Adapter: "other", AdapterID: "other"}); err != nil || !slices.Equal(child.has, []string{"other"}) {
		t.Errorf("%v; with one place the child has %q", err, child.has)
	}
}
