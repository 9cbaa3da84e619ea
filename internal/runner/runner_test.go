package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/runner"
	"github.com/firekeep/firekeep/internal/store"
)

// TestStepEndToEnd: import, validate, train, continue, export, with the real
// engine; then the home is clean.
func TestStepEndToEnd(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	base := h.base(t)
	if base.Parameters == 0 || base.ContextLength != 2048 || !base.HasChat || !strings.HasPrefix(base.Digest, "sha256:") {
		t.Fatalf("%+v", base)
	}
	d := h.dataset(t, "rows", h.write(t, "rows.jsonl", rows(8, 3, varied)))
	if c := d.Counts; c.Rows != 8 || c.Groups != 8 || c.Samples != 24 || c.SamplesPerGroup != 3 || !slices.Equal(c.EvalKeys, []string{"score"}) || d.Format != "RL" {
		t.Fatalf("%+v %s", c, d.Format)
	}
	j := h.wait(t, h.step(t, job.StepRequest{ID: "s1", Dataset: "rows", BaseModel: "tiny", OutputModel: "m1", Params: small()}).UID)
	var done job.StepResult
	if err := json.Unmarshal(j.Result, &done); err != nil || done.Updates < 4 || done.NoSignal {
		t.Fatalf("%+v, %v", done, err)
	}
	if j.Status != store.OK() || j.Progress.Percent != 100 {
		t.Errorf("%+v %+v", j.Status, j.Progress)
	}
	h.checkEvents(t, j, done.Updates)
	m, err := h.db.Model(t.Context(), "main", "m1")
	if err != nil || m.State != store.StateReady || m.FineTuningJob != j.Name() || m.Rank != 4 || m.BaseModel != base.Name() {
		t.Fatalf("%+v, %v", m, err)
	}
	config, tensors, err := h.catalog.Adapter(t.Context(), m)
	if err != nil || !strings.Contains(string(config), `"LORA"`) || len(tensors) < 1000 {
		t.Fatalf("%d, %d, %v", len(config), len(tensors), err)
	}

	// A continued LoRA inherits its parameters and its optimiser state.
	j2 := h.wait(t, h.step(t, job.StepRequest{ID: "s2", Dataset: "rows", WarmStartFrom: "m1", OutputModel: "m2"}).UID)
	var spec job.StepSpec
	if err := json.Unmarshal(j2.Spec, &spec); err != nil || spec.Train.LoraRank != 4 || spec.Train.LearningRate != 1e-2 || spec.Train.BatchSizeSamples != 6 {
		t.Errorf("%+v, %v", spec.Train, err)
	}

	if _, err := h.jobs.Export(t.Context(), "main", "tiny", "file:///x/", "ann", act); rft.KindOf(err) != rft.KindUnimplemented || !strings.Contains(err.Error(), "copy the base from") {
		t.Errorf("the export of a base: %v", err)
	}
	x, err := h.jobs.Export(t.Context(), "main", "m2", "file://"+filepath.Join(h.dir, "customer", "out"), "ann", act)
	if err != nil {
		t.Fatal(err)
	}
	h.wait(t, x.UID)
	m2, err := h.db.Model(t.Context(), "main", "m2")
	if err != nil {
		t.Fatal(err)
	}
	_, want, err := h.catalog.Adapter(t.Context(), m2)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(h.dir, "customer", "out", "adapter_model.safetensors"))
	if err != nil || string(got) != string(want) || string(got) == string(tensors) {
		t.Errorf("the exported adapter has %d bytes, %v", len(got), err)
	}
	stop()
	if found := h.fsck(t, false); len(found) > 0 {
		t.Errorf("fsck: %+v", found)
	}
}

// checkEvents: metrics of every update once and in order, each resume point told; the
// last update is the checkpoint.
func (h *home) checkEvents(t *testing.T, j store.Job, updates int64) {
	t.Helper()
	events, err := h.db.Events(t.Context(), j.UID, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var metrics, points []int64
	var states []string
	for _, e := range events {
		switch e.Kind {
		case store.EventMetrics:
			metrics = append(metrics, e.Update)
		case store.EventCheckpoint:
			points = append(points, e.Update)
		case store.EventState:
			var s struct{ State string }
			if err := json.Unmarshal(e.Data, &s); err != nil {
				t.Fatal(err)
			}
			states = append(states, strings.TrimPrefix(s.State, "JOB_STATE_"))
		}
	}
	var want []int64
	for u := int64(1); u <= updates; u++ {
		want = append(want, u)
	}
	if !slices.Equal(metrics, want) || !slices.Equal(points, want[:updates-1]) {
		t.Errorf("metrics of updates %v, resume points %v, want %v", metrics, points, want)
	}
	if got := strings.Join(states, " "); got != "PENDING CREATING RUNNING WRITING_RESULTS COMPLETED" {
		t.Errorf("states %s", got)
	}
}

// TestContinuationRule: each of the contract's parameters is refused by name
// with both values when it differs, and inherited when it is not given.
func TestContinuationRule(t *testing.T) {
	h := newHome(t)
	h.run(t)
	h.base(t)
	h.dataset(t, "rows", h.write(t, "rows.jsonl", rows(4, 2, varied)))
	h.wait(t, h.step(t, job.StepRequest{Dataset: "rows", BaseModel: "tiny", OutputModel: "m1", Params: small()}).UID)
	for _, c := range []struct {
		field, values string
		p             job.Params
	}{
		{"trainingConfig.loraRank", "8 differs from 4", job.Params{LoraRank: ptr(8)}},
		{"trainingConfig.learningRate", "0.001 differs from 0.01", job.Params{LearningRate: ptr(1e-3)}},
		{"trainingConfig.maxContextLength", "128 differs from 256", job.Params{MaxContextLength: ptr(128)}},
		{"trainingConfig.epochs", "3 differs from 2", job.Params{Epochs: ptr(3)}},
		{"trainingConfig.batchSize", "100 differs from 32768", job.Params{BatchSize: ptr(100)}},
	} {
		_, err := h.jobs.CreateStep(t.Context(), job.StepRequest{Account: "main", Dataset: "rows", WarmStartFrom: "m1", OutputModel: "m2", Params: c.p}, act)
		var e *rft.Error
		if !errors.As(err, &e) || e.Kind != rft.KindInvalidArgument || e.Field != c.field || !strings.Contains(e.Message, c.values) {
			t.Errorf("%s: %v", c.field, err)
		}
	}
	_, err := h.jobs.CreateStep(t.Context(), job.StepRequest{Account: "main", Dataset: "rows", WarmStartFrom: "m1", OutputModel: "m1"}, act)
	if rft.KindOf(err) != rft.KindAlreadyExists {
		t.Errorf("an output that exists: %v", err)
	}
	// The same values given again are no difference; learning rates compare as float32.
	p := small()
	p.LearningRate = ptr(float64(float32(1e-2)))
	if _, err := h.jobs.CreateStep(t.Context(), job.StepRequest{Account: "main", Dataset: "rows", WarmStartFrom: "m1", OutputModel: "m2", Params: p}, act); err != nil {
		t.Error(err)
	}
}

// TestChangedObjectFailsTheJob: what was registered is what is trained on.
func TestChangedObjectFailsTheJob(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	h.base(t)
	text := rows(6, 2, varied)
	h.write(t, "set/a.jsonl", text)
	url := h.write(t, "set/b.jsonl", text)
	d := h.dataset(t, "rows", strings.TrimSuffix(url, "b.jsonl"))
	if d.Counts.Objects != 2 || d.Counts.Groups != 12 {
		t.Fatalf("%+v", d.Counts)
	}
	stop()
	h.write(t, "set/b.jsonl", strings.Replace(text, "answer 3", "answer 4", 1))
	j := h.step(t, job.StepRequest{Dataset: "rows", BaseModel: "tiny", OutputModel: "m1", Params: small()})
	h.run(t)
	got := h.end(t, j.UID)
	if got.State != rft.StateFailed || got.Status.Code != "FAILED_PRECONDITION" || !strings.Contains(got.Status.Message, "b.jsonl") {
		t.Errorf("%s %+v", got.State, got.Status)
	}
	if _, err := h.db.Model(t.Context(), "main", "m1"); rft.KindOf(err) != rft.KindNotFound {
		t.Errorf("a model of a failed step: %v", err)
	}
}

// TestPrefixWithoutItsSlash: who names a directory of rows as an object is told how
// a prefix is written; what is not there at all is not there.
func TestPrefixWithoutItsSlash(t *testing.T) {
	h := newHome(t)
	h.run(t)
	dir := strings.TrimSuffix(h.write(t, "set/a.jsonl", rows(2, 2, varied)), "/a.jsonl")
	for url, want := range map[string]string{dir: `a prefix ends in "/": ` + dir + "/", dir + "-none": "does not exist"} {
		d, err := h.catalog.CreateDataset(t.Context(), catalog.NewDataset{Account: "main", ID: strings.ReplaceAll(want[:6], " ", "-") + "x", ExternalURL: url}, act)
		if err != nil {
			t.Fatal(err)
		}
		if j := h.end(t, h.validation(t, d).UID); j.State != rft.StateFailed || !strings.Contains(j.Status.Message, want) {
			t.Errorf("%s: %s %+v", url, j.State, j.Status)
		}
	}
}

// TestBadRowFailsValidation: the dataset says which row and why.
func TestBadRowFailsValidation(t *testing.T) {
	h := newHome(t)
	h.run(t)
	text := rows(3, 2, varied) + `{"samples":[{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}],"evals":{"score":"high"}},{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}],"evals":{"score":1}}]}` + "\n"
	d, err := h.catalog.CreateDataset(t.Context(), catalog.NewDataset{Account: "main", ID: "bad", ExternalURL: h.write(t, "bad.jsonl", text)}, act)
	if err != nil {
		t.Fatal(err)
	}
	j := h.end(t, h.validation(t, d).UID)
	d, err = h.db.Dataset(t.Context(), "main", "bad")
	if err != nil || j.State != rft.StateFailed || d.State != store.StateUploading || d.Status.Code != "INVALID_ARGUMENT" || !strings.Contains(d.Status.Message, "line 4") {
		t.Errorf("%s, %+v, %v", j.State, d.Status, err)
	}
	if strings.Contains(d.Status.Message, "high") {
		t.Error("the message quotes the row")
	}
	_, err = h.jobs.CreateStep(t.Context(), job.StepRequest{Account: "main", Dataset: "bad", BaseModel: "tiny", OutputModel: "m"}, act)
	if err == nil {
		t.Error("a step on a dataset that is not READY was created")
	}
}

// TestUploadedRows are sealed at rest, and train like those of a bucket.
func TestUploadedRows(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	h.base(t)
	const canary = "zebra-canary-4711"
	text := strings.ReplaceAll(rows(8, 2, varied), "question", canary)
	d, err := h.catalog.CreateDataset(t.Context(), catalog.NewDataset{Account: "main", ID: "up"}, act)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := h.catalog.Upload(t.Context(), "main", "up", strings.NewReader(text), store.Room{}, act); err != nil || n != int64(len(text)) {
		t.Fatalf("%d, %v", n, err)
	}
	h.wait(t, h.validation(t, d).UID)
	h.wait(t, h.step(t, job.StepRequest{Dataset: "up", BaseModel: "tiny", OutputModel: "m1", Params: small()}).UID)
	stop()
	if found := h.fsck(t, false); len(found) > 0 {
		t.Errorf("fsck: %+v", found)
	}
	h.db.Close()
	err = filepath.Walk(h.dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), canary) {
			t.Errorf("%s holds rows in the clear", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNoSignal: equal rewards teach nothing, and the job says so loudly.
func TestNoSignal(t *testing.T) {
	h := newHome(t)
	h.run(t)
	h.base(t)
	h.dataset(t, "flat", h.write(t, "flat.jsonl", rows(4, 2, func(int, int) float64 { return 1 })))
	j := h.wait(t, h.step(t, job.StepRequest{Dataset: "flat", BaseModel: "tiny", OutputModel: "m1", Params: small()}).UID)
	if j.Status.Code != "OK" || !strings.HasPrefix(j.Status.Message, "NO TRAINING SIGNAL") {
		t.Errorf("%+v", j.Status)
	}
	p := small()
	p.OnNoSignal = ptr("fail")
	j = h.end(t, h.step(t, job.StepRequest{Dataset: "flat", BaseModel: "tiny", OutputModel: "m2", Params: p}).UID)
	if j.State != rft.StateFailed || !strings.Contains(j.Status.Message, "no sample") {
		t.Errorf("%s %+v", j.State, j.Status)
	}
}

// TestCancelRunning: a step that trains stops, and leaves no model. Its resume
// points stay, for who resumes it, until it is deleted.
func TestCancelRunning(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	h.base(t)
	h.dataset(t, "rows", h.write(t, "rows.jsonl", rows(8, 3, varied)))
	p := small()
	p.Epochs = ptr(1000)
	marked := make(chan struct{})
	h.bucket.after.Store(atPoint(2, func() { close(marked) })) // the first has its row
	j := h.step(t, job.StepRequest{ID: "long", Dataset: "rows", BaseModel: "tiny", OutputModel: "m1", Params: p})
	<-marked
	if _, err := h.jobs.Cancel(t.Context(), "main", store.JobStep, "long", act); err != nil {
		t.Fatal(err)
	}
	if got := h.end(t, j.UID); got.State != rft.StateCancelled {
		t.Errorf("%s %+v", got.State, got.Status)
	}
	if _, err := h.db.Model(t.Context(), "main", "m1"); rft.KindOf(err) != rft.KindNotFound {
		t.Errorf("a model of a cancelled step: %v", err)
	}
	stop()
	if points, err := h.db.ResumePoints(t.Context(), j.UID); len(points) == 0 || err != nil {
		t.Errorf("a cancelled step keeps %d resume points, %v", len(points), err)
	}
	for _, f := range h.fsck(t, false) {
		if f.Kind != "orphan" {
			t.Errorf("fsck: %+v", f)
		}
	}
	if err := h.jobs.Delete(t.Context(), "main", store.JobStep, "long", act); err != nil {
		t.Fatal(err)
	}
	// The cancellation may have come between a point's files and its row.
	if left := h.sealed(t, catalog.FileManifest); len(left) > 1 {
		t.Errorf("a deleted step leaves %q", left)
	}
}

// sealed lists the files of this name that jobs have in the home bucket.
func (h *home) sealed(t *testing.T, name string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(h.dir, "bucket", "*", "jobs", "*", "*", "*", name))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestDamagedResumePoint: a step whose only resume point opens in part begins
// anew, and nothing of that point is left in what it trains from.
func TestDamagedResumePoint(t *testing.T) {
	h := newHome(t)
	h.calm(t)

	second, release := make(chan struct{}), make(chan struct{})
	h.bucket.before.Store(atPoint(2, func() { close(second); <-release }))
	j := h.step(t, job.StepRequest{Dataset: "rows", BaseModel: "tiny", OutputModel: "damaged", Params: small()})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- runner.New(h.config).Run(ctx) }()
	<-second
	cancel()
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	h.bucket.before.Store(nil)
	points, err := h.db.ResumePoints(t.Context(), j.UID)
	if err != nil || len(points) != 1 {
		t.Fatalf("%d resume points, %v", len(points), err)
	}
	flip(t, filepath.Join(h.dir, "bucket", points[0].Artifact, catalog.FileOptimizer+".sealed"))

	h.run(t)
	h.wait(t, j.UID)
	if h.adapterOf(t, "damaged") != h.adapterOf(t, "calm") {
		t.Error("a step that began anew did not begin with a new adapter")
	}
}

// TestKillAtEveryWrite: a server is killed with SIGKILL before and after its
// n-th write to the home bucket, n = 1, 2, ...; the next one goes on from the
// last resume point. The final adapter is that of an undisturbed run, and fsck
// finds at worst what it can remove.
func TestKillAtEveryWrite(t *testing.T) {
	h := newHome(t)
	h.calm(t)
	want := h.adapterOf(t, "calm")
	for _, when := range []string{"before", "after"} {
		t.Run(when, func(t *testing.T) {
			j := h.step(t, job.StepRequest{Dataset: "rows", BaseModel: "tiny", OutputModel: "killed-" + when, Params: small()})
			kills := 0
			for !h.over(t, j.UID) {
				// Five objects per resume point, ten per checkpoint with what is signed
				// about it: 8 kills within the second point, 11 behind a checkpoint.
				if h.crash(t, when, 2+3*(kills%5)) {
					kills++
				}
				for _, f := range h.fsck(t, true) {
					if !f.Harmless || !f.Repaired {
						t.Fatalf("after kill %d: %+v", kills, f)
					}
				}
			}
			got := h.wait(t, j.UID)
			if kills < 3 || got.Attempt <= kills {
				t.Errorf("%d kills, %d attempts", kills, got.Attempt)
			}
			if h.resumes(t, j.UID) == 0 {
				t.Error("no attempt went on from an update > 0")
			}
			if h.adapterOf(t, "killed-"+when) != want {
				t.Error("the adapter differs from that of an undisturbed run")
			}
			if found := h.fsck(t, false); len(found) > 0 {
				t.Errorf("fsck: %+v", found)
			}
		})
	}
}

func (h *home) over(t *testing.T, uid string) bool {
	t.Helper()
	j, err := h.db.JobByUID(t.Context(), uid)
	if err != nil {
		t.Fatal(err)
	}
	return j.State.Terminal()
}

func (h *home) adapterOf(t *testing.T, id string) string {
	t.Helper()
	m, err := h.db.Model(t.Context(), "main", id)
	if err != nil {
		t.Fatal(err)
	}
	_, tensors, err := h.catalog.Adapter(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return catalog.Digest(tensors)
}

// resumes counts attempts that went on from a resume point.
func (h *home) resumes(t *testing.T, uid string) (n int) {
	t.Helper()
	events, err := h.db.Events(t.Context(), uid, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Kind == store.EventResume && e.Update > 0 {
			n++
		}
	}
	return n
}

// crash runs a server on the home until it kills itself or has nothing left to do.
func (h *home) crash(t *testing.T, when string, write int) (killed bool) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), crashHome+"="+h.dir, crashWhen+"="+when, crashWrite+"="+strconv.Itoa(write), engineEnv+"="+enginePath)
	cmd.Stderr = t.Output()
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && !exit.Exited() {
		return true
	}
	if err != nil {
		t.Fatal(err)
	}
	return false
}
