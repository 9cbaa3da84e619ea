package runner_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// unlogged is an audit log that fails the first times that a checkpoint is to be
// signed.
type unlogged struct {
	db *store.DB

	mu    sync.Mutex
	fails int
}

func (u *unlogged) Record(ctx context.Context, act store.Act, result string) (int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if act.Method == "SignCheckpoint" && u.fails > 0 {
		u.fails--
		return 0, rft.Errorf(rft.KindUnavailable, "the audit log cannot be written")
	}
	seq, err := u.db.AppendAudit(ctx, act, result)
	return seq - 1, err
}

// TestLastUpdateIsWrittenOnce: the state behind the last update is the checkpoint
// and not a resume point too, unless the checkpoint cannot be made: then it is kept,
// and the next attempt trains nothing again.
func TestLastUpdateIsWrittenOnce(t *testing.T) {
	h := newHome(t)
	log := &unlogged{db: h.db}
	h.config.Audit = log
	var mu sync.Mutex
	points := 0
	count := func(key string) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(key, "/jobs/") && strings.HasSuffix(key, "manifest.json") {
			points++
		}
	}
	h.bucket.after.Store(&count)
	h.run(t)
	h.base(t)
	h.dataset(t, "rows", h.write(t, "rows.jsonl", rows(4, 3, varied)))
	one := small() // one update
	one.Epochs, one.BatchSizeSamples = ptr(1), ptr(12)

	h.wait(t, h.step(t, job.StepRequest{ID: "calm", Dataset: "rows", BaseModel: "tiny", OutputModel: "calm", Params: one}).UID)
	if points != 0 {
		t.Errorf("%d resume points of a step of one update", points)
	}
	log.mu.Lock()
	log.fails = 2
	log.mu.Unlock()
	j := h.wait(t, h.step(t, job.StepRequest{ID: "late", Dataset: "rows", BaseModel: "tiny", OutputModel: "late", Params: one}).UID)
	if j.Attempt != 3 || points != 1 || h.resumes(t, j.UID) != 2 {
		t.Errorf("%d attempts, %d resume points, %d attempts that went on from one", j.Attempt, points, h.resumes(t, j.UID))
	}
	if h.adapterOf(t, "late") != h.adapterOf(t, "calm") {
		t.Error("the adapter differs from that of an undisturbed run")
	}
	if found := h.fsck(t, false); len(found) > 0 {
		t.Errorf("fsck: %+v", found)
	}
}

// TestDeletedJobLeavesNothing: a job is deleted while its state is written, at the
// end of a training whose checkpoint cannot be made and in the middle of one; the
// state goes with it.
func TestDeletedJobLeavesNothing(t *testing.T) {
	h := newHome(t)
	log := &unlogged{db: h.db}
	h.config.Audit = log
	var states atomic.Int64
	deleted := make(chan error, 2)
	remove := func(key string) {
		if strings.Contains(key, "/jobs/") && strings.HasSuffix(key, "manifest.json") {
			states.Add(1)
			deleted <- h.jobs.Delete(context.Background(), "main", store.JobStep, "gone", act)
		}
	}
	h.bucket.after.Store(&remove)
	stop := h.run(t)
	h.base(t)
	h.dataset(t, "rows", h.write(t, "rows.jsonl", rows(4, 3, varied)))
	one := small() // one update: its state is salvaged
	one.Epochs, one.BatchSizeSamples = ptr(1), ptr(12)
	for _, p := range []job.Params{one, small()} {
		log.mu.Lock()
		log.fails = 1 << 20
		log.mu.Unlock()
		h.step(t, job.StepRequest{ID: "gone", Dataset: "rows", BaseModel: "tiny", OutputModel: "gone", Params: p})
		if err := <-deleted; err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if n := states.Load(); n != 2 {
		t.Errorf("%d states were written", n)
	}
	if found := h.fsck(t, false); len(found) > 0 {
		t.Errorf("fsck: %+v", found)
	}
}
