package runner_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// twice is a home with two datasets and the chain of two one-shot steps that a
// trainer must equal.
func twice(t *testing.T) (h *home, stop func()) {
	t.Helper()
	h = newHome(t)
	stop = h.run(t)
	h.base(t)
	h.dataset(t, "d1", h.write(t, "d1.jsonl", rows(8, 3, varied)))
	h.dataset(t, "d2", h.write(t, "d2.jsonl", rows(6, 3, func(g, s int) float64 { return varied(s, g) })))
	h.wait(t, h.step(t, job.StepRequest{ID: "c1", Dataset: "d1", BaseModel: "tiny", OutputModel: "c1", Params: small()}).UID)
	h.wait(t, h.step(t, job.StepRequest{ID: "c2", Dataset: "d2", WarmStartFrom: "c1", OutputModel: "c2"}).UID)
	return h, stop
}

func (h *home) trainer(t *testing.T, id string) store.Job {
	t.Helper()
	return h.step(t, job.StepRequest{ID: id, KeepAlive: true, BaseModel: "tiny", Params: small()})
}

func (h *home) execute(t *testing.T, trainer, dataset, output string) store.Job {
	t.Helper()
	j, err := h.jobs.Execute(t.Context(), "main", trainer, dataset, output, "ann", act)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (h *home) job(t *testing.T, uid string) store.Job {
	t.Helper()
	j, err := h.db.JobByUID(t.Context(), uid)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// TestTrainerEqualsAChain: each step begins with the weights and the moments that
// the one before left, and trains with the trainer's parameters: what comes out are
// the bytes of one-shot steps that continue each other.
func TestTrainerEqualsAChain(t *testing.T) {
	h, stop := twice(t)
	p := h.trainer(t, "loop")
	if p.State != rft.StateRunning {
		t.Fatalf("a new trainer is %s", p.State)
	}
	first, second := h.execute(t, "loop", "d1", "m1"), h.execute(t, "loop", "d2", "m2")
	h.wait(t, first.UID)
	h.wait(t, second.UID)
	for _, n := range []string{"1", "2"} {
		if h.adapterOf(t, "m"+n) != h.adapterOf(t, "c"+n) {
			t.Errorf("step %s of the trainer is not that of the chain", n)
		}
	}
	m, err := h.db.Model(t.Context(), "main", "m2")
	if err != nil || m.FineTuningJob != p.Name() {
		t.Errorf("%+v %v", m, err)
	}
	if _, err := h.catalog.Attestation(t.Context(), m); err != nil {
		t.Errorf("its signature: %v", err)
	}
	if p = h.job(t, p.UID); p.State != rft.StateRunning || p.Owner != "" || p.Status != store.OK() {
		t.Errorf("the trainer is %s %+v", p.State, p.Status)
	}
	// A trainer on a LoRA, with its first dataset at once.
	h.wait(t, h.steps(t, h.step(t, job.StepRequest{ID: "more", KeepAlive: true, WarmStartFrom: "c1", Dataset: "d2", OutputModel: "m3"}))[0].UID)
	if h.adapterOf(t, "m3") != h.adapterOf(t, "c2") {
		t.Error("a trainer on a LoRA does not go on from it")
	}
	stop()
	if found := h.fsck(t, false); len(found) > 0 {
		t.Errorf("fsck: %+v", found)
	}
	for _, c := range []struct {
		trainer, dataset, output string
		kind                     rft.Kind
	}{{"loop", "d1", "m2", rft.KindAlreadyExists}, {"loop", "d1", "", rft.KindInvalidArgument}, {"loop", "", "m9", rft.KindInvalidArgument},
		{"loop", "none", "m9", rft.KindNotFound}, {"none", "d1", "m9", rft.KindNotFound}, {"c1", "d1", "m9", rft.KindFailedPrecondition}} {
		if _, err := h.jobs.Execute(t.Context(), "main", c.trainer, c.dataset, c.output, "ann", act); rft.KindOf(err) != c.kind {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := h.jobs.Delete(t.Context(), "main", store.JobStep, "loop", act); err != nil {
		t.Fatal(err)
	}
	if found := h.fsck(t, false); len(found) > 0 {
		t.Errorf("fsck after the trainer was deleted: %+v", found)
	}
}

func (h *home) steps(t *testing.T, trainer store.Job) []store.Job {
	t.Helper()
	all, err := h.jobs.Steps(t.Context(), trainer, 100)
	if err != nil || len(all) == 0 {
		t.Fatalf("%d steps, %v", len(all), err)
	}
	return all
}

// TestTrainerSurvivesKills: steps that were answered are done by whoever comes
// next, with the bytes of an undisturbed chain.
func TestTrainerSurvivesKills(t *testing.T) {
	h, stop := twice(t)
	h.trainer(t, "loop")
	stop()
	h.execute(t, "loop", "d1", "m1")
	last := h.execute(t, "loop", "d2", "m2")
	kills := 0
	for !h.over(t, last.UID) {
		if h.crash(t, []string{"before", "after"}[kills%2], 2+3*(kills%7)) {
			kills++
		}
		for _, f := range h.fsck(t, true) {
			if !f.Harmless || !f.Repaired {
				t.Fatalf("after kill %d: %+v", kills, f)
			}
		}
	}
	h.wait(t, last.UID)
	if kills < 4 {
		t.Errorf("%d kills only", kills)
	}
	for _, n := range []string{"1", "2"} {
		if h.adapterOf(t, "m"+n) != h.adapterOf(t, "c"+n) {
			t.Errorf("step %s of the trainer is not that of the chain", n)
		}
	}
}

// TestFailedTrainerResumes: the failure is seen at the trainer and at the model;
// once its cause is gone, the step goes on.
func TestFailedTrainerResumes(t *testing.T) {
	h, _ := twice(t)
	p := h.trainer(t, "loop")
	h.wait(t, h.execute(t, "loop", "d1", "m1").UID)
	object := filepath.Join(h.dir, "customer", "d2.jsonl")
	if err := os.Rename(object, object+".away"); err != nil {
		t.Fatal(err)
	}
	failed := h.end(t, h.execute(t, "loop", "d2", "m2").UID)
	p = h.job(t, p.UID)
	if failed.State != rft.StateFailed || p.State != rft.StateFailed || !strings.Contains(p.Status.Message, "models/m2") || !strings.Contains(p.Status.Message, "d2.jsonl") {
		t.Fatalf("%s, the trainer %s %+v", failed.State, p.State, p.Status)
	}
	if m, err := h.db.Model(t.Context(), "main", "m2"); err != nil || m.State != store.StateUploading || m.Status != failed.Status || m.Status.Code == "OK" {
		t.Errorf("%+v %v", m, err)
	}
	if _, err := h.jobs.Execute(t.Context(), "main", "loop", "d1", "m3", "ann", act); rft.KindOf(err) != rft.KindFailedPrecondition {
		t.Errorf("a step of a failed trainer: %v", err)
	}
	if err := os.Rename(object+".away", object); err != nil {
		t.Fatal(err)
	}
	if now, err := h.jobs.Resume(t.Context(), "main", store.JobStep, "loop", false, act); err != nil || now.State != rft.StateRunning {
		t.Fatalf("%s %v", now.State, err)
	}
	h.wait(t, failed.UID)
	if h.adapterOf(t, "m2") != h.adapterOf(t, "c2") {
		t.Error("the resumed step is not that of the chain")
	}
	if n := len(h.steps(t, p)); n != 2 {
		t.Errorf("%d steps", n)
	}
}

// TestResumeCancelled: what was cancelled between two updates goes on from its
// last resume point and ends with the bytes of an undisturbed job, alone or as a
// step of a trainer.
func TestResumeCancelled(t *testing.T) {
	for _, keepAlive := range []bool{false, true} {
		t.Run(fmt.Sprintf("keepAlive=%v", keepAlive), func(t *testing.T) {
			h := newHome(t)
			h.calm(t)

			second, release := make(chan struct{}), make(chan struct{})
			h.bucket.before.Store(atPoint(2, func() { close(second); <-release }))
			j := h.step(t, job.StepRequest{ID: "job", KeepAlive: keepAlive, Dataset: "rows", BaseModel: "tiny", OutputModel: "out", Params: small()})
			worker := j
			if keepAlive {
				worker = h.steps(t, j)[0]
			}
			h.run(t)
			<-second
			if _, err := h.jobs.Cancel(t.Context(), "main", store.JobStep, "job", act); err != nil {
				t.Fatal(err)
			}
			close(release)
			if got := h.end(t, worker.UID); got.State != rft.StateCancelled {
				t.Fatalf("%s %+v", got.State, got.Status)
			}
			h.bucket.before.Store(nil)
			if got := h.job(t, j.UID); got.State != rft.StateCancelled {
				t.Errorf("%s", got.State)
			}
			now, err := h.jobs.Resume(t.Context(), "main", store.JobStep, "job", false, act)
			if err != nil || now.State.Terminal() {
				t.Fatalf("%s %v", now.State, err)
			}
			h.wait(t, worker.UID)
			if h.adapterOf(t, "out") != h.adapterOf(t, "calm") {
				t.Error("the adapter differs from that of an undisturbed job")
			}
			if h.resumes(t, worker.UID) == 0 {
				t.Error("it did not go on from a resume point")
			}
			if _, err := h.jobs.Resume(t.Context(), "main", store.JobStep, "job", false, act); rft.KindOf(err) != rft.KindFailedPrecondition {
				t.Errorf("resumed twice: %v", err)
			}
		})
	}
}

// TestTrainerStartsNothing while it waits.
func TestTrainerStartsNothing(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	h.base(t)
	stop()
	p := h.trainer(t, "idle")
	if _, ok, err := h.db.LeaseJob(t.Context(), "r", store.TrainingKinds, time.Minute); ok || err != nil {
		t.Fatalf("a trainer that waits is work for a runner: %v", err)
	}
	if got := h.job(t, p.UID); got.Attempt != 0 || got.Fence != 0 {
		t.Errorf("%+v", got)
	}
}

// TestFineTuningJobs: the kinds of jobs differ in name and rows; the engine and
// what it makes are those of a step with the same loss.
func TestFineTuningJobs(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	h.base(t)
	h.dataset(t, "chats", h.write(t, "chats.jsonl", supervised(8)))
	h.dataset(t, "pairs", h.write(t, "pairs.jsonl", preferences(8)))
	for _, c := range []struct {
		kind                  store.JobKind
		method, dataset, name string
	}{{store.JobSFT, "SFT", "chats", "supervisedFineTuningJobs"}, {store.JobDPO, "DPO", "pairs", "dpoJobs"}} {
		p := small()
		p.Method = ptr(c.method)
		want := h.step(t, job.StepRequest{ID: "same", Dataset: c.dataset, BaseModel: "tiny", OutputModel: "step-" + c.dataset, Params: p})
		got := h.step(t, job.StepRequest{Kind: c.kind, ID: "same", Dataset: c.dataset, BaseModel: "tiny", OutputModel: "job-" + c.dataset, Params: p})
		if got.Name() != "accounts/main/"+c.name+"/same" {
			t.Errorf("its name is %s", got.Name())
		}
		h.wait(t, want.UID)
		h.wait(t, got.UID)
		if h.adapterOf(t, "job-"+c.dataset) != h.adapterOf(t, "step-"+c.dataset) {
			t.Errorf("%s: another adapter than that of a step with the same loss", c.method)
		}
		if m, err := h.db.Model(t.Context(), "main", "job-"+c.dataset); err != nil || m.FineTuningJob != got.Name() {
			t.Errorf("%+v %v", m, err)
		}
		if err := h.jobs.Delete(t.Context(), "main", store.JobStep, "same", act); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if found := h.fsck(t, false); len(found) > 0 {
		t.Errorf("fsck: %+v", found)
	}
}
