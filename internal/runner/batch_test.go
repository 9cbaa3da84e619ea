package runner_test

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

const batchCanary = "zebra-canary-in-a-prompt"

// requests are n rows of a batch; bad rows ask for what chat refuses.
func requests(n int, bad ...int) string {
	var b strings.Builder
	for i := range n {
		body := `"temperature":1`
		if slices.Contains(bad, i) {
			body = `"temperature":9`
		}
		fmt.Fprintf(&b, `{"custom_id":"%s-%d","body":{"messages":[{"role":"user","content":"%s %d"}],%s}}`+"\n", batchCanary, i, batchCanary, i, body)
	}
	return b.String()
}

// batch creates a job over a dataset that is READY.
func (h *home) batch(t *testing.T, id string, d store.Dataset, m store.Model, to string) store.Job {
	t.Helper()
	r := job.BatchRequest{Account: "main", ID: id, Dataset: d, Model: m, Defaults: map[string]json.RawMessage{"max_tokens": json.RawMessage("3")}}
	if to != "" {
		var err error
		if r.OutputURL, err = objstore.ParseURL(to); err != nil {
			t.Fatal(err)
		}
	}
	j, err := h.jobs.CreateBatch(t.Context(), r, act)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// upload seals rows as a dataset and waits for its validation.
func (h *home) upload(t *testing.T, id, text string) store.Dataset {
	t.Helper()
	d, err := h.catalog.CreateDataset(t.Context(), catalog.NewDataset{Account: "main", ID: id}, act)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.catalog.Upload(t.Context(), "main", id, strings.NewReader(text), store.Room{}, act); err != nil {
		t.Fatal(err)
	}
	h.wait(t, h.validation(t, d).UID)
	if d, err = h.db.Dataset(t.Context(), "main", id); err != nil {
		t.Fatal(err)
	}
	return d
}

// answered is what the dataset of answers holds, a text per object.
func (h *home) answered(t *testing.T, j store.Job) (d store.Dataset, texts []string) {
	t.Helper()
	d, err := h.db.Dataset(t.Context(), "main", filepath.Base(j.OutputDataset))
	if err != nil || d.State != store.StateReady || d.Format != store.FormatAnswers {
		t.Fatalf("%+v, %v", d, err)
	}
	_, objects, err := h.db.DatasetByUID(t.Context(), d.UID)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		var raw []byte
		if d.ExternalURL == "" {
			r, _, e := h.catalog.Rows(t.Context(), []store.Object{o})
			if e != nil {
				t.Fatal(e)
			}
			raw, err = io.ReadAll(r)
		} else {
			raw, err = os.ReadFile("/" + o.Key)
		}
		if err != nil || int64(len(raw)) != o.Pin.Size {
			t.Fatalf("%s: %d bytes, %v", o.Key, len(raw), err)
		}
		texts = append(texts, string(raw))
	}
	return d, texts
}

// checkAnswers: every row once, in the order of the rows, the bad ones with errors.
func checkAnswers(t *testing.T, text string, n int, bad ...int) {
	t.Helper()
	var good, failed []string
	for line := range strings.Lines(text) {
		var a struct {
			CustomID string `json:"custom_id"`
			Response *struct {
				ID      string
				Choices []struct{ Message struct{ Content string } }
				Usage   struct {
					PromptTokens     int `json:"prompt_tokens"`
					CompletionTokens int `json:"completion_tokens"`
				}
			}
			Error *struct {
				Code, Param string
				Line        int
			}
		}
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatal(err)
		}
		if a.Error == nil {
			if r := a.Response; r == nil || len(r.Choices) != 1 || r.Usage.PromptTokens == 0 || r.Usage.CompletionTokens == 0 || r.Usage.CompletionTokens > 3 {
				t.Fatalf("%s", line)
			}
			good = append(good, a.CustomID)
			continue
		}
		if a.Response != nil || a.Error.Code != "bad_request" || a.Error.Param != "temperature" || a.CustomID != fmt.Sprintf("%s-%d", batchCanary, a.Error.Line-1) {
			t.Fatalf("%s", line)
		}
		failed = append(failed, a.CustomID)
	}
	var wantGood, wantFailed []string
	for i := range n {
		id := fmt.Sprintf("%s-%d", batchCanary, i)
		if slices.Contains(bad, i) {
			wantFailed = append(wantFailed, id)
		} else {
			wantGood = append(wantGood, id)
		}
	}
	if !slices.Equal(good, wantGood) || !slices.Equal(failed, wantFailed) {
		t.Errorf("answers %d and errors %v; want %d and %v, each once and in order", len(good), failed, len(wantGood), wantFailed)
	}
}

// leak looks for the canary in every file of the home but those of the customer.
func (h *home) leak(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(h.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == filepath.Join(h.dir, "customer") {
			return fs.SkipDir
		}
		if e.IsDir() {
			return nil
		}
		if raw, err := os.ReadFile(path); err == nil && strings.Contains(string(raw), batchCanary) {
			t.Errorf("%s holds a prompt or a custom_id in the clear", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestBatch: uploaded requests are answered into sealed files, those of a bucket
// into the bucket, and nothing of either lies anywhere else.
func TestBatch(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	m := h.base(t)
	const n = 70 // more than a window
	text := requests(n, 3, 69)

	sealed := h.wait(t, h.batch(t, "sealed", h.upload(t, "up", text), m, "").UID)
	d, texts := h.answered(t, sealed)
	if len(texts) != 2 || !d.Uploaded || d.Counts.Rows != n {
		t.Fatalf("%d objects of %+v", len(texts), d)
	}
	checkAnswers(t, strings.Join(texts, ""), n, 3, 69)
	files, err := h.db.UploadFiles(t.Context(), d.UID)
	if err != nil || len(files) != 2 || files[0].Name != "errors.jsonl" || files[1].Name != "results.jsonl" {
		t.Errorf("%+v, %v", files, err)
	}
	if p := sealed.Progress; p.Percent != 100 || p.Requests == nil || p.Requests.Total != n || p.Requests.Answered != n-2 || p.Requests.Failed != 2 || p.Requests.InputTokens == 0 || p.Requests.OutputTokens == 0 {
		t.Errorf("%+v %+v", p, p.Requests)
	}

	rows := h.dataset(t, "there", h.write(t, "in/requests.jsonl", text))
	out := filepath.Join(h.dir, "customer", "in") + "/"
	placed := h.wait(t, h.batch(t, "placed", rows, m, "file://"+out).UID)
	d, texts = h.answered(t, placed)
	if len(texts) != 2 || d.Uploaded || !strings.HasPrefix(d.ExternalURL, "file://"+out+"placed-output/") {
		t.Fatalf("%d objects of %+v", len(texts), d)
	}
	checkAnswers(t, strings.Join(texts, ""), n, 3, 69)
	if _, err := os.Stat(strings.TrimPrefix(d.ExternalURL, "file://") + "manifest.json"); err != nil {
		t.Error(err)
	}

	// Answers are no rows to learn from, and take no uploads.
	if _, err := h.jobs.CreateStep(t.Context(), job.StepRequest{Account: "main", Dataset: d.ID, BaseModel: "tiny", OutputModel: "x"}, act); rft.KindOf(err) != rft.KindInvalidArgument {
		t.Errorf("a step on answers: %v", err)
	}
	stop()
	h.config.Router.Close()
	h.leak(t)
	if found := h.fsck(t, false); len(found) > 0 {
		t.Errorf("fsck: %+v", found)
	}
}

// TestBatchOutputReserved: the name of the answers is taken from the beginning,
// nobody else can fill it, and it is free when the job is gone.
func TestBatchOutputReserved(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	m := h.base(t)
	d := h.upload(t, "up", requests(2))
	stop()
	j := h.batch(t, "b", d, m, "")
	if _, err := h.catalog.Upload(t.Context(), "main", "b-output", strings.NewReader(requests(1)), store.Room{}, act); rft.KindOf(err) != rft.KindFailedPrecondition {
		t.Errorf("an upload of answers: %v", err)
	}
	for _, id := range []string{"up", "b-output"} {
		if err := h.catalog.DeleteDataset(t.Context(), "main", id, act); rft.KindOf(err) != rft.KindFailedPrecondition {
			t.Errorf("deleting %s, which a live job needs: %v", id, err)
		}
	}
	if _, err := h.jobs.CreateBatch(t.Context(), job.BatchRequest{Account: "main", ID: "c", Output: "b-output", Dataset: d, Model: m}, act); rft.KindOf(err) != rft.KindAlreadyExists {
		t.Errorf("two jobs with one output: %v", err)
	}
	if err := h.jobs.Delete(t.Context(), "main", store.JobBatch, j.ID, act); err != nil {
		t.Fatal(err)
	}
	if _, err := h.db.Dataset(t.Context(), "main", "b-output"); rft.KindOf(err) != rft.KindNotFound {
		t.Errorf("the output of a deleted job: %v", err)
	}
}

// sealedParts: finished parts hold the answers where rows are sealed, and none
// where rows belong to a bucket, not even sealed.
func (h *home) sealedParts(t *testing.T, j store.Job, content bool) {
	t.Helper()
	points, err := h.db.ResumePoints(t.Context(), j.UID)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range points {
		a, err := h.catalog.Vault().Open(t.Context(), p.Artifact, p.Digest)
		if err != nil || a.Has("results.jsonl") != content {
			t.Errorf("%s: answers sealed at home: %v, want %v; %v", p.Artifact, err == nil && a.Has("results.jsonl"), content, err)
		}
	}
}

// TestBatchSurvivesKill: killed at write after write to the home bucket, the job
// ends with every row answered once, and what was not finished was never seen.
func TestBatchSurvivesKill(t *testing.T) {
	const n = 300 // two parts
	for _, place := range []string{"sealed", "bucket"} {
		t.Run(place, func(t *testing.T) {
			h := newHome(t)
			stop := h.run(t)
			m := h.base(t)
			d, to := store.Dataset{}, ""
			if place == "sealed" {
				d = h.upload(t, "up", requests(n, 7))
			} else {
				d = h.dataset(t, "up", h.write(t, "in/requests.jsonl", requests(n, 7)))
				to = "file://" + filepath.Join(h.dir, "customer", "in") + "/"
			}
			stop()
			h.config.Router.Close()
			j := h.batch(t, "b", d, m, to)
			kills := 0
			for ; !h.over(t, j.UID) && kills < 20; kills++ {
				if !h.crash(t, "after", 2+2*kills) {
					break
				}
				if out, err := h.db.Dataset(t.Context(), "main", "b-output"); err != nil || out.State == store.StateReady && !h.over(t, j.UID) {
					t.Fatalf("after kill %d: %+v, %v", kills, out, err)
				}
				h.sealedParts(t, j, to == "")
				for _, f := range h.fsck(t, true) {
					if !f.Harmless || !f.Repaired {
						t.Fatalf("after kill %d: %+v", kills, f)
					}
				}
			}
			got := h.wait(t, j.UID)
			if kills < 2 || got.Attempt <= kills {
				t.Errorf("%d kills, %d attempts", kills, got.Attempt)
			}
			_, texts := h.answered(t, got)
			checkAnswers(t, strings.Join(texts, ""), n, 7)
			if to != "" { // what attempts repeated were the same bytes, under the same names
				names, err := filepath.Glob(filepath.Join(h.dir, "customer", "in", "b-output", "*", "*.jsonl"))
				if err != nil || len(names) != len(texts) {
					t.Errorf("%d objects of answers, %d files: %v", len(texts), len(names), names)
				}
			}
			h.leak(t)
			if found := h.fsck(t, false); len(found) > 0 {
				t.Errorf("fsck: %+v", found)
			}
		})
	}
}
