package runner_test

import (
	"encoding/json"
	"testing"

	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

type evaluation struct {
	Loss, PairAccuracy float64
	Samples            int64
}

func evaluationOf(t *testing.T, j store.Job) (e evaluation) {
	t.Helper()
	var done job.StepResult
	if err := json.Unmarshal(j.Result, &done); err != nil || json.Unmarshal(done.Evaluation, &e) != nil {
		t.Fatalf("%s, %v", j.Result, err)
	}
	return e
}

// TestEvaluationDataset: rows that are held out judge the result and teach nothing:
// the checkpoint is that of a job without them.
func TestEvaluationDataset(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	h.base(t)
	h.dataset(t, "chats", h.write(t, "chats.jsonl", supervised(8)))
	h.dataset(t, "held", h.write(t, "held.jsonl", supervised(5)))
	h.dataset(t, "pairs", h.write(t, "pairs.jsonl", preferences(6)))
	p := small()
	p.Method = ptr("SFT")
	h.wait(t, h.step(t, job.StepRequest{Kind: store.JobSFT, Dataset: "chats", BaseModel: "tiny", OutputModel: "plain", Params: p}).UID)
	j := h.wait(t, h.step(t, job.StepRequest{Kind: store.JobSFT, Dataset: "chats", EvalDataset: "held", BaseModel: "tiny", OutputModel: "judged", Params: p}).UID)
	if h.adapterOf(t, "judged") != h.adapterOf(t, "plain") {
		t.Error("held-out rows changed the checkpoint")
	}
	e := evaluationOf(t, j)
	events, err := h.db.MetricsAfter(t.Context(), j.UID, 0, 1)
	var first struct{ Loss float64 }
	if err != nil || json.Unmarshal(events[0].Data, &first) != nil {
		t.Fatal(err)
	}
	if e.Samples != 5 || !(e.Loss > 0 && e.Loss < first.Loss) {
		t.Errorf("%+v; the first batch of training had %v", e, first.Loss)
	}
	// A trainer judges every step of it.
	p.Method = ptr("DPO")
	loop := h.step(t, job.StepRequest{ID: "loop", KeepAlive: true, EvalDataset: "pairs", BaseModel: "tiny", Params: p})
	if e := evaluationOf(t, h.wait(t, h.execute(t, "loop", "pairs", "m1").UID)); e.PairAccuracy != 1 || e.Samples != 12 {
		t.Errorf("%+v", e)
	}
	if all, err := h.db.Events(t.Context(), loop.UID, 0, 0); err != nil || all[len(all)-1].Kind != store.EventEvaluation {
		t.Errorf("%+v %v", all, err)
	}
	stop()
	if found := h.fsck(t, false); len(found) > 0 {
		t.Errorf("fsck: %+v", found)
	}
	_, err = h.jobs.CreateStep(t.Context(), job.StepRequest{Account: "main", Kind: store.JobSFT, Dataset: "chats", EvalDataset: "pairs", BaseModel: "tiny", OutputModel: "m", Params: func() job.Params {
		p := small()
		p.Method = ptr("SFT")
		return p
	}()}, act)
	if e, ok := err.(*rft.Error); !ok || e.Field != "evaluationDataset" {
		t.Errorf("preferences judge a supervised job: %v", err)
	}
}
