package serving_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/tensorfile"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/serving"
)

// canaryOf is what a trainer would record of an adapter: computed here, by the
// code of training and on the scalar kernels, not by the child that serves.
func canaryOf(t *testing.T, id string, tokens int) *engine.Canary {
	t.Helper()
	data, err := os.ReadFile(weights)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tensorfile.OpenPrepared(data)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	a, err := adapterOf(id)
	if err != nil {
		t.Fatal(err)
	}
	pool := kernel.NewPool(1)
	defer pool.Close()
	ids := engine.CanaryIDs(m.Config.Vocab, tokens)
	branch := model.Branch{Tokens: ids[1:], Scored: make([]bool, len(ids)-1)}
	for i := range branch.Scored {
		branch.Scored[i] = true
	}
	c := &engine.Canary{Sequence: engine.CanarySequence}
	err = model.NewWorkspace(pool, m, tokens).LogProbs(t.Context(), []*model.Tree{{Prompt: ids[:1], Branches: []model.Branch{branch}}}, a,
		func(_, _ int, lp []float64) { c.Logprobs = append(c.Logprobs, lp...) })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCanary: an adapter serves when its log-probs are those that its trainer
// recorded; one that disagrees is refused, once for the life of the child, and
// what served before goes on.
func TestCanary(t *testing.T) {
	right, other := target(1), target(2)
	older := target(5)
	s := &source{canaries: map[string]*engine.Canary{right.AdapterID: canaryOf(t, right.AdapterID, engine.CanaryTokens), other.AdapterID: canaryOf(t, right.AdapterID, engine.CanaryTokens),
		older.AdapterID: canaryOf(t, older.AdapterID, engine.MaxCanaryTokens)}}
	r := router(t, s, serving.Options{})
	proof, err := r.Warm(t.Context(), right)
	if err != nil || proof != serving.Proven {
		t.Fatalf("%q, %v", proof, err)
	}
	want := mustAsk(t, r, right)
	for range 3 {
		if _, err := ask(t, r, other); rft.KindOf(err) != rft.KindFailedPrecondition || !strings.Contains(rft.PublicMessage(err), "canary") {
			t.Fatalf("an adapter that says something else than its trainer: %v", err)
		}
	}
	if n, told := s.adapters.Load(), s.refused.Load(); n != 2 || told != 1 {
		t.Errorf("%d adapters opened, %d refusals told", n, told)
	}
	if st := r.Status(); len(st) != 1 || st[0].Adapters != 1 || st[0].Crashes != 0 {
		t.Errorf("%+v", st)
	}
	if got := mustAsk(t, r, right); got != want {
		t.Errorf("%q, then %q", want, got)
	}
	if proof, err := r.Warm(t.Context(), target(3)); err != nil || proof != serving.Unrecorded {
		t.Errorf("without a record: %q, %v", proof, err)
	}
	if proof, err := r.Warm(t.Context(), older); err != nil || proof != serving.Proven {
		t.Errorf("with the canary of older checkpoints: %q, %v", proof, err)
	}
	if got := r.Loads(); got != (serving.Loads{Proven: 2, Unrecorded: 1, Refused: 1}) {
		t.Errorf("%+v", got)
	}
}

// TestReloadUnderLoad: while clients ask, a deployment goes from one adapter to
// another, back, and is offered one that is refused. No request fails, and every
// answer is the one that the checkpoint it names gives alone.
func TestReloadUnderLoad(t *testing.T) {
	one, two, bad := target(1), target(2), target(4)
	s := &source{canaries: map[string]*engine.Canary{}}
	for _, to := range []serving.Target{one, two} {
		s.canaries[to.AdapterID] = canaryOf(t, to.AdapterID, engine.CanaryTokens)
	}
	s.canaries[bad.AdapterID] = s.canaries[one.AdapterID]
	alone := map[string]string{}
	for _, to := range []serving.Target{one, two} {
		r := router(t, &source{}, serving.Options{})
		alone[to.Checkpoint()] = mustAsk(t, r, to)
		r.Close()
	}
	r := router(t, s, serving.Options{MaxSequences: 8})
	var live atomic.Pointer[serving.Target]
	deploy := func(to serving.Target) {
		if _, err := r.Warm(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		live.Store(&to)
	}
	deploy(one)
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var answered [2]atomic.Int64
	for range 16 {
		clients.Go(func() {
			for ctx.Err() == nil {
				to := *live.Load()
				got, err := ask(t, r, to)
				switch {
				case err != nil:
					t.Errorf("a request failed: %v", err)
					return
				case got != alone[to.Checkpoint()]:
					t.Errorf("%s answered %q, alone %q", to.Checkpoint(), got, alone[to.Checkpoint()])
				case to.Checkpoint() == one.Checkpoint():
					answered[0].Add(1)
				default:
					answered[1].Add(1)
				}
			}
		})
	}
	until := func(i int, n int64) {
		for answered[i].Load() < n && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
	}
	until(0, 20)
	deploy(two)
	until(1, 20)
	if _, err := r.Warm(t.Context(), bad); rft.KindOf(err) != rft.KindFailedPrecondition {
		t.Errorf("%v", err)
	}
	until(1, 40)
	deploy(one)
	until(0, answered[0].Load()+20)
	stop()
	clients.Wait()
	t.Log(fmt.Sprintf("%d and %d answers", answered[0].Load(), answered[1].Load()))
	if st := r.Status(); len(st) != 1 || st[0].Requests != 0 || st[0].Crashes != 0 {
		t.Errorf("afterwards %+v", st)
	}
}
