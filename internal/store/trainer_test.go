package store_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

func newTrainer(t *testing.T, db *store.DB, base store.Model, id string) store.Job {
	t.Helper()
	return must(db.CreateTrainer(t.Context(), store.Job{Account: "main", ID: id, Kind: store.JobStep, Spec: json.RawMessage(`{}`), BaseModel: base.Name()}, nil, []string{base.UID}, act))
}

func trainStep(d store.Dataset, output string) store.TrainStep {
	m := store.Model{UID: store.NewUID(), Account: "main", ID: output, Kind: store.KindAdapter}
	return store.TrainStep{Job: store.Job{Account: "main", Spec: json.RawMessage(`{}`), Dataset: d.Name(), OutputModel: m.Name()}, Output: m, DatasetUID: d.UID}
}

// finishStep takes a leased step to its checkpoint.
func finishStep(t *testing.T, db *store.DB, j store.Job, base store.Model) {
	t.Helper()
	advance(t, db, j, rft.StateRunning)
	advance(t, db, j, rft.StateWriting)
	if err := db.FinishStep(t.Context(), j.UID, j.Fence, store.Model{Kind: store.KindAdapter, BaseUID: base.UID, Digest: "sha256:1", Artifact: j.UID + "/"}, store.OK(), json.RawMessage(`{}`), act); err != nil {
		t.Fatal(err)
	}
}

// TestTrainerTakesStepsInTurn: one at a time, in the order of the asking, each from
// the checkpoint of the one before; asking twice is asking once.
func TestTrainerTakesStepsInTurn(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := t.Context()
		d, base := readyDataset(t, db, "d"), readyBase(t, db)
		p := newTrainer(t, db, base, "trainer")
		if p.State != rft.StateRunning || !p.KeepsAlive() || p.Owner != "" {
			t.Fatalf("%+v", p)
		}
		if _, ok, err := db.LeaseJob(ctx, "r1", store.TrainingKinds, time.Minute); ok || err != nil {
			t.Fatalf("a trainer that waits was leased: %v", err)
		}
		if moved := must(db.Rescue(ctx, 3)); len(moved) != 0 {
			t.Fatalf("a trainer that waits was rescued: %+v", moved)
		}
		var asked []store.Job
		for _, output := range []string{"m1", "m2", "m3"} { // within one tick of the clock
			asked = append(asked, must(db.ExecuteStep(ctx, p.UID, trainStep(d, output), act)))
		}
		again := must(db.ExecuteStep(ctx, p.UID, trainStep(d, "m2"), act))
		if again.UID != asked[1].UID {
			t.Error("asking again made another step")
		}
		other := readyDataset(t, db, "other")
		_, err := db.ExecuteStep(ctx, p.UID, trainStep(other, "m2"), act)
		wantKind(t, err, rft.KindAlreadyExists)
		_, _, err = db.DeleteDataset(ctx, "main", "d", act)
		wantKind(t, err, rft.KindFailedPrecondition)
		if !strings.Contains(err.Error(), "a step of accounts/main/rlorTrainerJobs/trainer") {
			t.Error(err)
		}

		for i, want := range asked {
			j := lease(t, db, store.JobTrain)
			if j.UID != want.UID {
				t.Fatalf("step %d: leased %s, want %s", i, j.OutputModel, want.OutputModel)
			}
			if _, ok, err := db.LeaseJob(ctx, "r2", store.TrainingKinds, time.Minute); ok || err != nil {
				t.Fatalf("two steps of a trainer at once: %v", err)
			}
			for update := range int64(2) {
				if err := db.Report(ctx, j.UID, j.Fence, nil, store.Event{Kind: store.EventMetrics, Update: update + 1, Data: json.RawMessage(`{}`)}); err != nil {
					t.Fatal(err)
				}
			}
			finishStep(t, db, j, base)
			state := must(must(db.JobByUID(ctx, p.UID)).TrainerState())
			if state.Model != j.OutputModel || state.Steps != int64(i+1) || state.Updates != int64(2*(i+1)) {
				t.Errorf("step %d: the trainer goes on from %+v", i, state)
			}
			m := must(db.Model(ctx, "main", strings.TrimPrefix(j.OutputModel, "accounts/main/models/")))
			if m.FineTuningJob != p.Name() || m.UID != state.ModelUID {
				t.Errorf("%+v", m)
			}
			_, err := db.DeleteModel(ctx, "main", m.ID, act)
			wantKind(t, err, rft.KindFailedPrecondition) // the next step begins with it
		}
		var updates []int64
		for _, e := range must(db.MetricsAfter(ctx, p.UID, 0, 100)) {
			updates = append(updates, e.Update)
		}
		if !slices.Equal(updates, []int64{1, 2, 3, 4, 5, 6}) {
			t.Errorf("the trainer's metrics are numbered %v", updates)
		}
		// A client that never heard the answer to its last request asks again.
		if again := must(db.ExecuteStep(ctx, p.UID, trainStep(d, "m3"), act)); again.State != rft.StateCompleted {
			t.Errorf("a finished step was queued again: %+v", again)
		}
		if _, err := db.DeleteModel(ctx, "main", "m1", act); err != nil {
			t.Errorf("an old checkpoint: %v", err)
		}
		made := must(db.ExecuteStep(ctx, p.UID, trainStep(d, "m1"), act))
		if made.State != rft.StatePending {
			t.Errorf("a deleted checkpoint is made again: %+v", made)
		}
		_, points, err := db.DeleteJob(ctx, "main", store.JobStep, "trainer", act)
		if err != nil || len(points) != 0 {
			t.Fatal(points, err)
		}
		training := func(j store.Job) bool { return j.Kind.Trains() }
		if s := must(db.Snapshot(ctx)); slices.ContainsFunc(s.Jobs, training) || slices.ContainsFunc(s.Models, func(m store.Model) bool { return m.ID == "m1" }) {
			t.Errorf("a deleted trainer leaves %+v", s.Jobs)
		}
	})
}

// TestTrainerEndsWithItsStep and both go on when the trainer is resumed.
func TestTrainerEndsWithItsStep(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := t.Context()
		d, base := readyDataset(t, db, "d"), readyBase(t, db)
		p := newTrainer(t, db, base, "trainer")
		first, second := must(db.ExecuteStep(ctx, p.UID, trainStep(d, "m1"), act)), must(db.ExecuteStep(ctx, p.UID, trainStep(d, "m2"), act))
		j := lease(t, db, store.JobTrain)
		if _, err := db.AddResumePoint(ctx, j.UID, j.Fence, store.ResumePoint{Update: 1, Mark: json.RawMessage(`{}`), Artifact: "p"}, 2); err != nil {
			t.Fatal(err)
		}
		bad := store.Status{Code: "FAILED_PRECONDITION", Message: "the object changed"}
		if err := db.Stop(ctx, j.UID, j.Fence, rft.StateFailed, bad, act); err != nil {
			t.Fatal(err)
		}
		p = must(db.JobByUID(ctx, p.UID))
		if p.State != rft.StateFailed || p.Status.Code != bad.Code || p.Status.Message != "accounts/main/models/m1: the object changed" {
			t.Errorf("%s %+v", p.State, p.Status)
		}
		if m := must(db.Model(ctx, "main", "m1")); m.State != store.StateUploading || m.Status != bad {
			t.Errorf("the model that does not come: %+v", m)
		}
		if _, ok, _ := db.LeaseJob(ctx, "r1", store.TrainingKinds, time.Minute); ok {
			t.Error("the step behind a failed one was leased")
		}
		_, err := db.ExecuteStep(ctx, p.UID, trainStep(d, "m3"), act)
		wantKind(t, err, rft.KindFailedPrecondition)

		p, dropped, err := db.ResumeJob(ctx, p, false, nil, "", []string{base.UID}, act)
		if err != nil || p.State != rft.StateRunning || !p.Completed.IsZero() || len(dropped) != 0 {
			t.Fatalf("%+v %v %v", p, dropped, err)
		}
		_, _, err = db.ResumeJob(ctx, p, false, nil, "", nil, act)
		wantKind(t, err, rft.KindFailedPrecondition)
		_, err = db.Model(ctx, "main", "m1")
		wantKind(t, err, rft.KindNotFound) // reserved again
		if j = lease(t, db, store.JobTrain); j.UID != first.UID || j.Tries != 1 || len(must(db.ResumePoints(ctx, j.UID))) != 1 {
			t.Fatalf("the interrupted step does not go on: %+v", j)
		}

		// Cancelled while it runs: the runner lets go first.
		if got := must(db.CancelJob(ctx, "main", store.JobStep, "trainer", act)); got.State != rft.StateCancelling {
			t.Errorf("%s", got.State)
		}
		if got := must(db.JobByUID(ctx, j.UID)); got.State != rft.StateCancelling {
			t.Errorf("the step that runs is %s", got.State)
		}
		c.add(time.Hour)
		must(db.Rescue(ctx, 3)) // the runner died while it let go
		p = must(db.JobByUID(ctx, p.UID))
		if p.State != rft.StateCancelled || must(db.JobByUID(ctx, second.UID)).State != rft.StatePending {
			t.Errorf("%s", p.State)
		}
		p, dropped, err = db.ResumeJob(ctx, p, true, nil, "", []string{base.UID}, act)
		if err != nil || p.State != rft.StateRunning || len(dropped) != 1 || len(must(db.TrainSteps(ctx, p.UID, 9))) != 0 {
			t.Fatalf("%+v %v %v", p, dropped, err)
		}
		must(db.ExecuteStep(ctx, p.UID, trainStep(d, "m1"), act)) // the names are free again
		if got := must(db.CancelJob(ctx, "main", store.JobStep, "trainer", act)); got.State != rft.StateCancelled {
			t.Errorf("a trainer whose step waits is %s", got.State)
		}
	})
}

// TestResumedJobHasItsNameAgain, unless somebody took it.
func TestResumedJobHasItsNameAgain(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := t.Context()
		d, base := readyDataset(t, db, "d"), readyBase(t, db)
		j := must(queueStep(t, db, d, base, "s", "out"))
		output := func() *store.Model {
			return &store.Model{UID: store.NewUID(), Account: "main", ID: "out", Kind: store.KindAdapter}
		}
		_, _, err := db.ResumeJob(ctx, j, false, output(), d.UID, []string{base.UID}, act)
		wantKind(t, err, rft.KindFailedPrecondition)
		must(db.CancelJob(ctx, "main", store.JobStep, "s", act))
		c.add(time.Second)
		thief := must(queueStep(t, db, d, base, "thief", "out"))
		_, _, err = db.ResumeJob(ctx, j, false, output(), d.UID, []string{base.UID}, act)
		wantKind(t, err, rft.KindAlreadyExists)
		if got := must(db.JobByUID(ctx, j.UID)); got.State != rft.StateCancelled {
			t.Errorf("a refused resumption left the job %s", got.State)
		}
		_, _, err = db.DeleteJob(ctx, "main", store.JobStep, "thief", act)
		if err != nil {
			t.Fatal(thief.Name(), err)
		}
		now, _, err := db.ResumeJob(ctx, j, false, output(), d.UID, []string{base.UID}, act)
		if err != nil || now.State != rft.StateRequeueing || !now.Completed.IsZero() || now.Tries != 0 {
			t.Fatalf("%+v %v", now, err)
		}
		finishStep(t, db, lease(t, db, store.JobStep), base)
		if m := must(db.Model(ctx, "main", "out")); m.JobUID != j.UID {
			t.Errorf("%+v", m)
		}
	})
}
