package runner_test

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/store"
)

// TestClockJumps moves the clock by hours and days, both ways, while a step
// runs. Leases run out in the middle of work, or seem to stand for ever; the
// step still ends once, with the adapter of a quiet clock.
func TestClockJumps(t *testing.T) {
	h := newHome(t)
	var offset atomic.Int64
	h.db.SetClock(func() time.Time { return time.Now().Add(time.Duration(offset.Load())) })
	stop := h.run(t)
	base := h.base(t)
	d := h.dataset(t, "d", h.write(t, "d.jsonl", rows(24, 4, varied)))
	step := func(id string) store.Job {
		return h.step(t, job.StepRequest{ID: id, Dataset: d.ID, BaseModel: base.ID, OutputModel: id, Params: small()})
	}
	h.wait(t, step("quiet").UID)
	want := h.adapterOf(t, "quiet")
	j := step("jumpy")
	for _, jump := range []time.Duration{time.Hour, -3 * time.Hour, 48 * time.Hour, -time.Minute, 365 * 24 * time.Hour, -400 * 24 * time.Hour} {
		seen := len(h.events(t, j.UID))
		changed := h.db.JobsChanged()
		for len(h.events(t, j.UID)) == seen && !h.over(t, j.UID) {
			select {
			case <-changed:
			case <-time.After(50 * time.Millisecond): // reports change no job's state
			}
			changed = h.db.JobsChanged()
		}
		offset.Add(int64(jump))
	}
	h.wait(t, j.UID)
	if h.adapterOf(t, "jumpy") != want {
		t.Error("the adapter differs from that of a quiet clock")
	}
	finished := 0
	for _, e := range h.events(t, j.UID) {
		if e.Kind == store.EventState && bytes.Contains(e.Data, []byte("JOB_STATE_COMPLETED")) {
			finished++
		}
	}
	if finished != 1 {
		t.Errorf("the step completed %d times", finished)
	}
	stop()
	for _, f := range h.fsck(t, false) {
		if !f.Harmless {
			t.Errorf("fsck: %+v", f)
		}
	}
}

func (h *home) events(t *testing.T, uid string) []store.Event {
	t.Helper()
	events, err := h.db.Events(t.Context(), uid, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return events
}
