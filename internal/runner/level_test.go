package runner_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/store"
)

// TestForcedLevelSurvivesResume: a step on a kernel level that is not the host's
// best goes on from its resume points on that level, to the same bytes.
func TestForcedLevelSurvivesResume(t *testing.T) { survivesResume(t, "go", broker.Float32) }

// TestPrecisionSurvivesResume is the same for a precision that is no longer the
// host's.
func TestPrecisionSurvivesResume(t *testing.T) { survivesResume(t, "go", broker.BFloat16) }

func survivesResume(t *testing.T, level, precision string) {
	h := newHome(t)
	h.config.Level, h.config.Precision = level, precision
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
	h.config.Level, h.config.Precision = "", broker.Float32 // the resume point says which they are
	h.run(t)
	ended := h.wait(t, j.UID)
	if h.resumes(t, j.UID) == 0 {
		t.Error("the step was over before it was halted: nothing is shown")
	}
	var done job.StepResult
	if err := json.Unmarshal(ended.Result, &done); err != nil || done.Level != level || done.Precision != precision {
		t.Errorf("it ended on %q in %q, %v", done.Level, done.Precision, err)
	}
	if h.adapterOf(t, "halted") != h.adapterOf(t, "whole") {
		t.Error("the adapter differs from that of a step that nobody halted")
	}
}
