package store_test

import (
	"database/sql"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

func TestStepReservesItsName(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, _ *clock) {
		ctx := t.Context()
		d, base := readyDataset(t, db, "d"), readyBase(t, db)
		j := must(queueStep(t, db, d, base, "s1", "out"))
		_, err := db.Model(ctx, "main", "out")
		wantKind(t, err, rft.KindNotFound)
		if p := must(db.ListModels(ctx, "main", store.ListOptions{})); p.Total != 1 {
			t.Errorf("a reserved name is listed: %+v", p.Items)
		}
		_, err = queueStep(t, db, d, base, "s2", "out")
		wantKind(t, err, rft.KindAlreadyExists)
		_, err = db.Job(ctx, "main", store.JobStep, "s2")
		wantKind(t, err, rft.KindNotFound) // nothing of the refused step is left
		_, err = queueStep(t, db, d, base, "s1", "out2")
		wantKind(t, err, rft.KindAlreadyExists)
		must(queueStep(t, db, d, base, "s3", "out2")) // the name of the refused s1 is free

		_, _, err = db.DeleteDataset(ctx, "main", "d", act)
		wantKind(t, err, rft.KindFailedPrecondition)
		_, err = db.DeleteModel(ctx, "main", "base", act)
		wantKind(t, err, rft.KindFailedPrecondition)

		j = must(db.CancelJob(ctx, "main", store.JobStep, "s1", act))
		if j.State != rft.StateCancelled || j.Completed.IsZero() {
			t.Errorf("a queued job that was cancelled is %s", j.State)
		}
		_, err = db.CancelJob(ctx, "main", store.JobStep, "s1", act)
		wantKind(t, err, rft.KindFailedPrecondition)
		must(queueStep(t, db, d, base, "s4", "out")) // the name is free again
	})
}

func TestStepWithoutReadyDataset(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, _ *clock) {
		base := readyBase(t, db)
		d := must(db.CreateDataset(t.Context(), store.Dataset{Account: "main", ID: "d", State: store.StateUploading, Status: store.Status{Code: "INVALID_ARGUMENT", Message: "line 3 is bad"}}, nil, act))
		_, err := queueStep(t, db, d, base, "s", "out")
		wantKind(t, err, rft.KindFailedPrecondition)
		if want := "accounts/main/datasets/d is not READY but UPLOADING: line 3 is bad"; err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	})
}

func TestStepRunsToItsCheckpoint(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := t.Context()
		d, base := readyDataset(t, db, "d"), readyBase(t, db)
		queued := must(queueStep(t, db, d, base, "s", "out"))
		c.add(time.Second)
		j := lease(t, db, store.JobStep)
		if j.UID != queued.UID || j.State != rft.StateCreating || j.Fence != 1 || j.Attempt != 1 || !j.Started.Equal(c.now()) {
			t.Fatalf("leased %+v", j)
		}
		if _, ok, err := db.LeaseJob(ctx, "r2", []store.JobKind{store.JobStep}, time.Second); ok || err != nil {
			t.Fatalf("leased twice: %v", err)
		}
		advance(t, db, j, rft.StateRunning)
		p := store.Progress{Percent: 50, Update: 1}
		metrics := store.Event{Kind: store.EventMetrics, Update: 1, Data: json.RawMessage(`{"loss":1}`)}
		for range 2 { // the second is what a resumed attempt repeats
			if err := db.Report(ctx, j.UID, j.Fence, &p, metrics); err != nil {
				t.Fatal(err)
			}
		}
		for update := int64(1); update <= 3; update++ {
			dropped, err := db.AddResumePoint(ctx, j.UID, j.Fence, store.ResumePoint{Update: update, Mark: json.RawMessage(`{}`), Artifact: "p"}, 2)
			if err != nil || len(dropped) != max(0, int(update)-2) {
				t.Fatalf("update %d dropped %v, %v", update, dropped, err)
			}
		}
		// An attempt that repeats an update replaces its point and hands the old one back.
		again, err := db.AddResumePoint(ctx, j.UID, j.Fence, store.ResumePoint{Update: 3, Mark: json.RawMessage(`{}`), Artifact: "q"}, 2)
		if err != nil || len(again) != 1 || again[0].Artifact != "p" {
			t.Fatalf("%v, %v", again, err)
		}
		made := store.Model{Kind: store.KindAdapter, BaseUID: base.UID, Digest: "sha256:1", Artifact: "a/"}
		wantKind(t, db.FinishStep(ctx, j.UID, j.Fence, made, store.OK(), nil, act), rft.KindAborted) // RUNNING is not WRITING_RESULTS
		_, err = db.Model(ctx, "main", "out")
		wantKind(t, err, rft.KindNotFound)
		advance(t, db, j, rft.StateWriting)
		if err := db.FinishStep(ctx, j.UID, j.Fence, made, store.Status{Code: "OK", Message: "look"}, json.RawMessage(`{"updates":3}`), act); err != nil {
			t.Fatal(err)
		}
		m := must(db.Model(ctx, "main", "out"))
		if m.State != store.StateReady || m.Digest != "sha256:1" || m.JobUID != j.UID || m.FineTuningJob != j.Name() {
			t.Errorf("%+v", m)
		}
		done := must(db.JobByUID(ctx, j.UID))
		if done.State != rft.StateCompleted || done.Status.Message != "look" || done.Progress.Percent != 100 || done.Owner != "" {
			t.Errorf("%+v", done)
		}
		wantKind(t, db.FinishStep(ctx, j.UID, j.Fence, made, store.OK(), nil, act), rft.KindAborted)
		events := must(db.Events(ctx, j.UID, 0, 0))
		var kinds string
		for i, e := range events {
			if e.Seq != int64(i)+1 {
				t.Errorf("event %d has seq %d", i, e.Seq)
			}
			kinds += e.Kind[:1]
		}
		if kinds != "sss"+"m"+"cccc"+"ss" { // state, metrics once, checkpoints, writing, completed
			t.Errorf("events %q", kinds)
		}
		if n := len(must(db.DropResumePoints(ctx, j.UID))); n != 2 {
			t.Errorf("%d resume points were left", n)
		}
	})
}

// TestFencing: after a lease was lost, every write of its runner is refused.
func TestFencing(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := t.Context()
		d, base := readyDataset(t, db, "d"), readyBase(t, db)
		must(queueStep(t, db, d, base, "s", "out"))
		old := lease(t, db, store.JobStep)
		advance(t, db, old, rft.StateRunning)
		if moved := must(db.Rescue(ctx, 10)); len(moved) != 0 {
			t.Fatalf("rescued a living job: %v", moved)
		}
		c.add(14 * time.Second)
		if _, err := db.Heartbeat(ctx, old.UID, old.Fence, 15*time.Second); err != nil {
			t.Fatal(err)
		}
		c.add(14 * time.Second)
		if moved := must(db.Rescue(ctx, 10)); len(moved) != 0 {
			t.Fatal("a heartbeat did not extend the lease")
		}
		c.add(2 * time.Second)
		moved := must(db.Rescue(ctx, 10))
		if len(moved) != 1 || moved[0].State != rft.StateRequeueing {
			t.Fatalf("moved %+v", moved)
		}
		refused := func(when string) {
			t.Helper()
			for name, err := range map[string]error{
				"heartbeat": second(db.Heartbeat(ctx, old.UID, old.Fence, time.Second)),
				"advance":   db.Advance(ctx, old.UID, old.Fence, rft.StateWriting),
				"report":    db.Report(ctx, old.UID, old.Fence, nil, store.Event{Kind: store.EventWarning}),
				"point":     second(db.AddResumePoint(ctx, old.UID, old.Fence, store.ResumePoint{Update: 9}, 2)),
				"finish":    db.FinishStep(ctx, old.UID, old.Fence, store.Model{}, store.OK(), nil, act),
				"stop":      db.Stop(ctx, old.UID, old.Fence, rft.StateFailed, store.Status{Code: "INTERNAL"}, act),
				"release":   db.Release(ctx, old.UID, old.Fence),
				"retry":     db.Retry(ctx, old.UID, old.Fence, 10, store.OK()),
			} {
				if rft.KindOf(err) != rft.KindAborted {
					t.Errorf("%s %s: %v", when, name, err)
				}
			}
		}
		refused("before the next lease")
		next := lease(t, db, store.JobStep)
		if next.UID != old.UID || next.Fence <= old.Fence || next.Attempt != 2 {
			t.Fatalf("next lease %+v", next)
		}
		refused("after the next lease")
		advance(t, db, next, rft.StateRunning)
	})
}

func second[T any](_ T, err error) error { return err }

func TestTriesEndAndProgressResetsThem(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := t.Context()
		d, base := readyDataset(t, db, "d"), readyBase(t, db)
		must(queueStep(t, db, d, base, "s", "out"))
		die := func() store.Job {
			c.add(time.Minute)
			return must(db.Rescue(ctx, 2))[0]
		}
		j := lease(t, db, store.JobStep)
		die()
		j = lease(t, db, store.JobStep)
		must(db.AddResumePoint(ctx, j.UID, j.Fence, store.ResumePoint{Update: 1, Mark: json.RawMessage(`{}`)}, 2))
		if got := die(); got.State != rft.StateRequeueing {
			t.Fatalf("a job that made progress is %s", got.State)
		}
		lease(t, db, store.JobStep)
		got := die()
		if got.State != rft.StateFailed || got.Status.Code != "INTERNAL" {
			t.Fatalf("a job that makes none is %s %+v", got.State, got.Status)
		}
		must(queueStep(t, db, d, base, "s2", "out")) // its name is free
	})
}

func TestCancelAndReleaseOfLeasedJob(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := t.Context()
		d, base := readyDataset(t, db, "d"), readyBase(t, db)
		must(queueStep(t, db, d, base, "s", "out"))
		j := lease(t, db, store.JobStep)
		if err := db.Release(ctx, j.UID, j.Fence); err != nil {
			t.Fatal(err)
		}
		j = lease(t, db, store.JobStep)
		if j.Tries != 1 || j.Attempt != 2 {
			t.Errorf("after a release: tries %d, attempt %d", j.Tries, j.Attempt)
		}
		changed := db.JobsChanged()
		got := must(db.CancelJob(ctx, "main", store.JobStep, "s", act))
		if got.State != rft.StateCancelling {
			t.Fatalf("%s", got.State)
		}
		select {
		case <-changed:
		default:
			t.Error("the runner was not told")
		}
		must(db.CancelJob(ctx, "main", store.JobStep, "s", act)) // again: nothing happens
		if beat := must(db.Heartbeat(ctx, j.UID, j.Fence, time.Second)); beat.State != rft.StateCancelling {
			t.Errorf("the heartbeat says %s", beat.State)
		}
		c.add(time.Minute) // and the runner dies before it lets go
		if moved := must(db.Rescue(ctx, 10)); moved[0].State != rft.StateCancelled {
			t.Errorf("rescued as %s", moved[0].State)
		}
		must(queueStep(t, db, d, base, "s2", "out"))
	})
}

func TestDeleteLiveJob(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, _ *clock) {
		ctx := t.Context()
		d, base := readyDataset(t, db, "d"), readyBase(t, db)
		must(queueStep(t, db, d, base, "s", "out"))
		j := lease(t, db, store.JobStep)
		must(db.AddResumePoint(ctx, j.UID, j.Fence, store.ResumePoint{Update: 1, Mark: json.RawMessage(`{}`), Artifact: "a"}, 2))
		_, points, err := db.DeleteJob(ctx, "main", store.JobStep, "s", act)
		if err != nil || len(points) != 1 {
			t.Fatalf("%v, %v", points, err)
		}
		_, err = db.Heartbeat(ctx, j.UID, j.Fence, time.Second)
		wantKind(t, err, rft.KindAborted)
		again := must(queueStep(t, db, d, base, "s", "out"))
		if again.UID == j.UID {
			t.Error("a job that was made again has the old UID")
		}
	})
}

func TestFailuresShowOnWhatTheJobMade(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, _ *clock) {
		ctx := t.Context()
		must(db.CreateDataset(ctx, store.Dataset{UID: "du", Account: "main", ID: "d", State: store.StateUploading, Status: store.OK()},
			&store.Job{Account: "main", Kind: store.JobValidation, Spec: json.RawMessage(`{"uid":"du"}`)}, act))
		must(db.CreateModel(ctx, store.Model{UID: "mu", Account: "main", ID: "m", State: store.StateUploading, Status: store.OK()},
			&store.Job{Account: "main", Kind: store.JobImport, Spec: json.RawMessage(`{"uid":"mu"}`)}, act))
		bad := store.Status{Code: "INVALID_ARGUMENT", Message: "line 3: it is bad"}
		for range 2 {
			j := lease(t, db, store.JobValidation, store.JobImport)
			if err := db.Stop(ctx, j.UID, j.Fence, rft.StateFailed, bad, act); err != nil {
				t.Fatal(err)
			}
		}
		if d := must(db.Dataset(ctx, "main", "d")); d.Status != bad || d.State != store.StateUploading {
			t.Errorf("%+v", d)
		}
		if m := must(db.Model(ctx, "main", "m")); m.Status != bad {
			t.Errorf("%+v", m)
		}
	})
}

// TestOneLeasePerJob: many runners, each job goes to one of them.
func TestOneLeasePerJob(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, _ *clock) {
		for range 6 {
			must(db.CreateJob(t.Context(), store.Job{Account: "main", Kind: store.JobExport, Spec: json.RawMessage(`{}`)}, act))
		}
		var mu sync.Mutex
		seen := map[string]int{}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					j, ok, err := db.LeaseJob(t.Context(), "r", []store.JobKind{store.JobExport}, time.Minute)
					if err != nil {
						t.Error(err)
					}
					if err != nil || !ok {
						return
					}
					mu.Lock()
					seen[j.UID]++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(seen) != 6 {
			t.Errorf("%d jobs were leased", len(seen))
		}
		for uid, n := range seen {
			if n != 1 {
				t.Errorf("%s was leased %d times", uid, n)
			}
		}
	})
}

// replacesNothing: a load that replaces, but names no deployment, takes nobody's
// loads away that name none either.
func replacesNothing(t *testing.T, db *store.DB) {
	t.Helper()
	must(db.CreateAccount(t.Context(), store.Account{ID: "other"}, act))
	for i, d := range []store.DeployedModel{{Account: "main", ID: "own", Model: "accounts/main/models/a"}, {Account: "other", ID: "theirs", Model: "accounts/other/models/b"}} {
		must(db.CreateDeployedModel(t.Context(), d, i > 0, act))
	}
	if _, err := db.DeployedModel(t.Context(), "main", "own"); err != nil {
		t.Errorf("another account's load replaced ours: %v", err)
	}
	for _, d := range [][2]string{{"main", "own"}, {"other", "theirs"}} {
		if err := db.DeleteDeployedModel(t.Context(), d[0], d[1], act); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDeployments(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := t.Context()
		base := readyBase(t, db)
		dep := must(db.CreateDeployment(ctx, store.Deployment{Account: "main", ID: "dep", BaseModel: base.Name(), State: "READY", Status: store.OK(), EnableAddons: true}, act))
		_, err := db.DeleteModel(ctx, "main", "base", act)
		wantKind(t, err, rft.KindFailedPrecondition)
		one := store.DeployedModel{Account: "main", ID: "x", Model: base.Name(), Deployment: dep.Name(), State: "DEPLOYED", Default: true}
		must(db.CreateDeployedModel(ctx, one, false, act))
		one.ID = "y"
		_, err = db.CreateDeployedModel(ctx, one, false, act)
		wantKind(t, err, rft.KindAlreadyExists)
		one.Model = "accounts/main/models/other"
		must(db.CreateDeployedModel(ctx, one, true, act))
		p := must(db.ListDeployedModels(ctx, "main", store.ListOptions{Filter: []store.Term{{Field: "default", Op: "=", Value: "true"}}}))
		if p.Total != 1 || p.Items[0].ID != "y" {
			t.Errorf("after a replacing load: %+v", p.Items)
		}
		replacesNothing(t, db)
		if got := must(db.UpdateDeployment(ctx, "main", "dep", act, func(d *store.Deployment) error { d.MaxReplicas, d.UID = 3, "no"; return nil })); got.MaxReplicas != 3 || got.UID != dep.UID {
			t.Errorf("%+v", got)
		}
		if err := db.DeleteDeployment(ctx, "main", "dep", false, act); err != nil {
			t.Fatal(err)
		}
		deletedDeployment(t, db, c)
		if p := must(db.ListDeployedModels(ctx, "main", store.ListOptions{})); p.Total != 0 {
			t.Error("deployed models outlive their deployment")
		}
		if _, err := db.DeleteModel(ctx, "main", "base", act); err != nil {
			t.Error(err)
		}
	})
}

// TestMetricsAfter: what is polled for is found by update, not by walking the
// history, and no other event is among it.
func TestMetricsAfter(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, _ *clock) {
		must(db.CreateJob(t.Context(), store.Job{Account: "main", Kind: store.JobExport, Spec: json.RawMessage(`{}`)}, act))
		j := lease(t, db, store.JobExport)
		for u := int64(1); u <= 5; u++ {
			if err := db.Report(t.Context(), j.UID, j.Fence, nil, store.Event{Kind: store.EventMetrics, Update: u, Data: json.RawMessage(`{}`)},
				store.Event{Kind: store.EventWarning, Update: u, Data: json.RawMessage(`{}`)}); err != nil {
				t.Fatal(err)
			}
		}
		var got []int64
		for _, e := range must(db.MetricsAfter(t.Context(), j.UID, 2, 2)) {
			if e.Kind != store.EventMetrics {
				t.Errorf("%+v", e)
			}
			got = append(got, e.Update)
		}
		if !slices.Equal(got, []int64{3, 4}) {
			t.Errorf("updates %v", got)
		}
		history := must(db.HistoryAfter(t.Context(), j.UID, 0, 100))
		if n := len(history); n < 5 || slices.ContainsFunc(history, func(e store.Event) bool { return e.Kind == store.EventMetrics }) {
			t.Errorf("%+v", history)
		}
		if after := must(db.HistoryAfter(t.Context(), j.UID, history[len(history)-2].Seq, 100)); len(after) != 1 || after[0].Seq != history[len(history)-1].Seq {
			t.Errorf("%+v", after)
		}
	})
}

// TestHistorySkipsMetrics: a poll for what is new reads the index of the history,
// not the thousands of metrics that came since its last event.
func TestHistorySkipsMetrics(t *testing.T) {
	path := filepath.Join(t.TempDir(), "firekeep.db")
	db := must(store.Open(t.Context(), path))
	defer db.Close()
	var asked string
	must(db.HistoryAfter(store.WithTrace(t.Context(), func(q string) { asked = q }), "job", 7, 100))
	raw := must(sql.Open("sqlite", path))
	defer raw.Close()
	var id, parent, unused int
	var plan string
	if err := raw.QueryRowContext(t.Context(), "EXPLAIN QUERY PLAN "+asked, "job", 7, 100).Scan(&id, &parent, &unused, &plan); err != nil || !strings.Contains(plan, "job_events_history (job=? AND seq>?)") {
		t.Errorf("%s: %s %v", asked, plan, err)
	}
}

// TestSecondUploadEndsTheFirstValidation: the runner of the first one can no
// longer make the dataset READY with rows that were replaced, and the dataset
// does not show its end.
func TestSecondUploadEndsTheFirstValidation(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, _ *clock) {
		ctx := t.Context()
		d := must(db.CreateDataset(ctx, store.Dataset{Account: "main", ID: "d", State: store.StateUploading, Status: store.OK()}, nil, act))
		upload := func(key string) store.Job {
			t.Helper()
			v := &store.Job{Account: "main", Kind: store.JobValidation, Dataset: d.Name(), Spec: json.RawMessage(`{"uid":"` + d.UID + `"}`)}
			if err := db.UploadedDataset(ctx, d.UID, []store.Object{{Key: key, Pin: objstore.Pin{Size: 1}}}, v, store.Room{}, act); err != nil {
				t.Fatal(err)
			}
			j := lease(t, db, store.JobValidation)
			advance(t, db, j, rft.StateValidating, rft.StateRunning, rft.StateWriting)
			return j
		}
		first, second := upload("one"), upload("two")
		finish := func(j store.Job, key string) error {
			return db.FinishValidation(ctx, j.UID, j.Fence, d, []store.Object{{Key: key, Pin: objstore.Pin{Size: 1}}}, nil, act)
		}
		wantKind(t, finish(first, "one"), rft.KindAborted)
		if got := must(db.Dataset(ctx, "main", "d")); got.State != store.StateUploading || got.Status.Code != "OK" {
			t.Errorf("%+v", got)
		}
		if err := finish(second, "two"); err != nil {
			t.Fatal(err)
		}
		if _, objects, err := db.DatasetByUID(ctx, d.UID); err != nil || objects[0].Key != "two" {
			t.Errorf("%+v, %v", objects, err)
		}
	})
}

// deletedDeployment: what was deleted is gone for all but its undeletion, which
// ends after KeepDeployments; a new one of the same name takes its place.
func deletedDeployment(t *testing.T, db *store.DB, c *clock) {
	t.Helper()
	ctx := t.Context()
	_, err := db.Deployment(ctx, "main", "dep")
	wantKind(t, err, rft.KindNotFound)
	if p := must(db.ListDeployments(ctx, "main", store.ListOptions{})); p.Total != 0 {
		t.Errorf("listed: %+v", p.Items)
	}
	p := must(db.ListAllDeployments(ctx, "main", store.ListOptions{}))
	if p.Total != 1 || p.Items[0].State != "DELETED" || p.Items[0].Deleted.IsZero() {
		t.Errorf("with the deleted: %+v", p.Items)
	}
	if d := must(db.UndeleteDeployment(ctx, "main", "dep", act)); d.State != "READY" || !d.Deleted.IsZero() {
		t.Errorf("undeleted: %+v", d)
	}
	_, err = db.UndeleteDeployment(ctx, "main", "dep", act)
	wantKind(t, err, rft.KindFailedPrecondition)
	for _, hard := range []bool{false, true} {
		if err := db.DeleteDeployment(ctx, "main", "dep", hard, act); err != nil {
			t.Fatal(err)
		}
		if !hard {
			c.add(store.KeepDeployments + time.Second)
		}
		_, err = db.UndeleteDeployment(ctx, "main", "dep", act)
		wantKind(t, err, rft.KindNotFound)
		if p := must(db.ListAllDeployments(ctx, "main", store.ListOptions{})); p.Total != 0 {
			t.Errorf("hard %v: %+v", hard, p.Items)
		}
		must(db.CreateDeployment(ctx, store.Deployment{Account: "main", ID: "dep", BaseModel: "accounts/main/models/base", State: "READY", Status: store.OK(), Config: []byte("{}")}, act))
	}
	if err := db.DeleteDeployment(ctx, "main", "dep", true, act); err != nil {
		t.Fatal(err)
	}
}
