package runner_test

import (
	"testing"

	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
)

// TestPreload: where the base of a step serves, its adapter is tried beside the rest
// of the checkpoint, and the checkpoint answers with it when it is there. One whose
// checkpoint could not be made leaves the child.
func TestPreload(t *testing.T) {
	h := newHome(t)
	log := &unlogged{db: h.db}
	h.config.Audit = log
	h.run(t)
	h.base(t)
	h.dataset(t, "rows", h.write(t, "rows.jsonl", rows(4, 3, varied)))
	router := h.config.Router
	base := h.model(t, "tiny")
	to := serving.Target{Account: "main", Base: base.Name(), BaseDigest: base.Digest}
	step := func(id string) store.Model {
		t.Helper()
		h.wait(t, h.step(t, job.StepRequest{ID: id, Dataset: "rows", BaseModel: "tiny", OutputModel: id, Params: small()}).UID)
		return h.model(t, id)
	}
	warm := func(m store.Model) {
		t.Helper()
		if proof, err := router.Warm(t.Context(), serving.Target{Account: to.Account, Base: to.Base, BaseDigest: to.BaseDigest, Adapter: m.Name(), AdapterID: m.Digest}); err != nil || proof != serving.Proven {
			t.Fatalf("%s: %q, %v", m.ID, proof, err)
		}
	}
	warm(step("alone"))
	if got := router.Loads(); got != (serving.Loads{Proven: 1}) {
		t.Fatalf("a step whose base does not serve: %+v", got)
	}
	warm(step("served"))
	if got := router.Loads(); got != (serving.Loads{Proven: 2, Ahead: 1}) {
		t.Errorf("a step whose base serves: %+v", got)
	}
	log.mu.Lock()
	log.fails = 1 // the second attempt trains nothing, and sends its adapter again
	log.mu.Unlock()
	warm(step("late"))
	if got := router.Loads(); got != (serving.Loads{Proven: 3, Ahead: 2}) {
		t.Errorf("a step whose first checkpoint could not be made: %+v", got)
	}
}
