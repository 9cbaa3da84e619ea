package runner_test

import (
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/store"
)

// TestForcedLevelSurvivesResume: a step on a kernel level that is not the host's
// best goes on from its resume points on that level, to the same bytes.
func TestForcedLevelSurvivesResume(t *testing.T) {
	h := newHome(t)
	h.config.Level = "go"
	stop := h.run(t)
	base := h.base(t)
	d := h.dataset(t, "d", h.write(t, "d.jsonl", rows(24, 4, varied)))
	step := func(id string) store.Job {
		return h.step(t, job.StepRequest{ID: id, Dataset: d.ID, BaseModel: base.ID, OutputModel: id, Params: small()})
	}
	h.wait(t, step("whole").UID)
	j := step("halted")
	for marks := 0; marks == 0 && !h.over(t, j.UID); {
		for _, e := range h.events(t, j.UID) {
			if e.Kind == store.EventCheckpoint {
				marks++
			}
		}
		if marks == 0 {
			<-time.After(5 * time.Millisecond) // a resume point changes no job's state
		}
	}
	stop()
	h.config.Level = "" // the resume point says which level it is
	h.run(t)
	h.wait(t, j.UID)
	if h.resumes(t, j.UID) == 0 {
		t.Error("the step was over before it was halted: nothing is shown")
	}
	if h.adapterOf(t, "halted") != h.adapterOf(t, "whole") {
		t.Error("the adapter differs from that of a step that nobody halted")
	}
}
