package serving

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"testing"
	"weak"

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
	f := Adapter{Config: []byte("{}"), Tensors: []byte(tensors)}
	p := newPreloaded("ahead of "+tensors, f, 3)
	a.preload(t.Context(), child, p, f)
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
	if !slices.Equal(child.has, []string{"ahead of y"}) || first.idle.Stop() {
		t.Errorf("after the second the child has %q, or the first's time runs on", child.has)
	}
	a.forgo(t.Context(), child, first)
	a.forgo(t.Context(), child, second)
	if len(child.has) != 0 || a.ahead != nil || second.idle.Stop() {
		t.Errorf("given up, the child has %q, or its time runs on", child.has)
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
	if !slices.Equal(child.has, []string{third.id}) || third.idle.Stop() {
		t.Errorf("taken over and given up, the child has %q, or its time runs on", child.has)
	}
	a.source = making{files: checkpoint("w", -1, -2)}
	if _, _, err := a.use(t.Context(), child, Target{Adapter: "other", AdapterID: "other"}); err != nil || !slices.Equal(child.has, []string{"other"}) {
		t.Errorf("%v; with one place the child has %q", err, child.has)
	}
}

// TestPreloadForgotten: a model that was deleted leaves the child, by what the child
// knows it by: before its first request, after it, and when another was ahead.
func TestPreloadForgotten(t *testing.T) {
	for name, c := range map[string]struct {
		ahead []string
		asked bool
	}{
		"not asked yet":          {[]string{"x"}, false},
		"taken over":             {[]string{"x"}, true},
		"loaded, another ahead":  {[]string{"x", "y"}, true},
		"loaded, nothing ahead":  {nil, true},
		"neither of them is any": {nil, false},
	} {
		a, child := adaptersOf(making{files: checkpoint("x", -1, -2)}, 3), &told{says: []float64{-1, -2}}
		for _, tensors := range c.ahead {
			loadAhead(t, a, child, tensors)
		}
		if c.asked {
			_, release, err := a.use(t.Context(), child, Target{Adapter: "name", AdapterID: "id"})
			if err != nil {
				t.Fatal(err)
			}
			release()
		}
		if err := a.forget(t.Context(), child, "id"); err != nil || len(child.has) != 0 || a.count() != 0 || a.ahead != nil {
			t.Errorf("%s: %v; the child has %q, %d are thought to be there", name, err, child.has, a.count())
		}
	}
}

// TestPreloadKeepsNoWeights: what waits for its checkpoint, or could not be loaded,
// keeps none of the weights in memory here.
func TestPreloadKeepsNoWeights(t *testing.T) {
	a, child := adaptersOf(empty{}, 2), &told{says: []float64{-1, -2}}
	load := func() (*preloaded, weak.Pointer[byte]) {
		tensors := make([]byte, 1<<16)
		f := Adapter{Tensors: tensors}
		p := newPreloaded("ahead", f, 3)
		a.preload(t.Context(), child, p, f)
		return p, weak.Make(&tensors[0])
	}
	p, tensors := load()
	runtime.GC()
	if a.ahead != p || tensors.Value() != nil {
		t.Error("the weights stay")
	}
	runtime.KeepAlive(p)
}

// TestPreloadTakesNoPlace: what is loaded ahead counts among the adapters that fit.
// It takes no place of one in use, and gives its own to a request.
func TestPreloadTakesNoPlace(t *testing.T) {
	a, child := adaptersOf(making{files: checkpoint("x", -1, -2)}, 1), &told{says: []float64{-1, -2}}
	use := func(id string) (release func()) {
		t.Helper()
		_, release, err := a.use(t.Context(), child, Target{Adapter: id, AdapterID: id})
		if err != nil {
			t.Fatal(err)
		}
		return release
	}
	release := use("a")
	if p := loadAhead(t, a, child, "y"); p.err == nil || a.ahead != nil || !slices.Equal(child.has, []string{"a"}) {
		t.Errorf("all in use: %v; the child has %q", p.err, child.has)
	}
	release()
	if p := loadAhead(t, a, child, "y"); p.err != nil || a.count() != 0 || !slices.Equal(child.has, []string{p.id}) {
		t.Errorf("one not in use: %v; the child has %q", p.err, child.has)
	}
	use("b")()
	if a.ahead != nil || !slices.Equal(child.has, []string{"b"}) {
		t.Errorf("behind a request the child has %q", child.has)
	}
}
