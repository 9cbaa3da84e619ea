package server

import (
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/store"
)

// TestBatchJobs: what is refused names the field; a job is made, listed, found by
// its fields and deleted; its answers' name is taken meanwhile.
func TestBatchJobs(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	_, err := f.db.CreateModel(ctx, store.Model{Account: "main", ID: "sampler", Kind: store.KindBase, State: store.StateReady, Status: store.OK(), Digest: "sha256:1"}, nil, store.Act{})
	must(t, err)
	for id, format := range map[string]string{"ask": store.FormatBatch, "learn": "RL"} {
		_, err := f.db.CreateDataset(ctx, store.Dataset{Account: "main", ID: id, State: store.StateReady, Status: store.OK(), Format: format, Uploaded: true,
			Counts: store.Counts{Rows: 3}}, nil, store.Act{})
		must(t, err)
	}
	f.keys["narrow"] = f.scopedKey("main", "admin", `{"actions":["batchInferenceJobs.*"]}`)
	const a, ok = "/v1/accounts/main/batchInferenceJobs", `"inputDatasetId":"ask","model":"sampler"`
	for _, c := range []struct {
		as, method, path, body string
		status                 int
		contains               string
	}{
		{"main/admin", "GET", a, "", 200, `"batchInferenceJobs":[]`},
		{"main/admin", "POST", a, `{"model":"sampler"}`, 400, "inputDatasetId: is required"},
		{"main/admin", "POST", a, `{"inputDatasetId":"ask"}`, 400, "model: is required"},
		{"main/admin", "POST", a, `{` + ok + `,"continuedFromJobName":"x"}`, 501, "continuedFromJobName"},
		{"main/admin", "POST", a, `{` + ok + `,"precision":"FP8"}`, 400, "precision"},
		{"main/admin", "POST", a, `{"inputDatasetId":"learn","model":"sampler"}`, 400, "custom_id"},
		{"main/admin", "POST", a, `{"inputDatasetId":"none","model":"sampler"}`, 404, "datasets/none not found"},
		{"main/admin", "POST", a, `{"inputDatasetId":"ask","model":"none"}`, 404, "models/none not found"},
		{"main/admin", "POST", a, `{` + ok + `,"inferenceParameters":{"temperature":9}}`, 400, "inferenceParameters: temperature"},
		{"main/admin", "POST", a, `{` + ok + `,"inferenceParameters":{"extraBody":"[1]"}}`, 400, "inferenceParameters.extraBody"},
		{"main/admin", "POST", a, `{` + ok + `,"inferenceParameters":{"extraBody":"{\"messages\":[]}"}}`, 400, "messages belongs into the bodies"},
		{"main/admin", "POST", a, `{` + ok + `,"outputDatasetId":"accounts/acme/datasets/x"}`, 403, "not in account"},
		{"main/admin", "POST", a + "?batchInferenceJobId=S!", `{` + ok + `}`, 400, "batchInferenceJobId"},
		{"main/ina", "POST", a, `{` + ok + `}`, 403, `"code":7`},
		{"narrow", "GET", a, "", 200, `"batchInferenceJobs":[]`},
		{"narrow", "POST", a, `{` + ok + `}`, 403, `"code":7`}, // it may make jobs, and not chat
		{"acme/admin", "POST", a, `{` + ok + `}`, 404, "accounts/main not found"},

		{"main/carl", "POST", a + "?batchInferenceJobId=b1", `{` + ok + `,"inferenceParameters":{"maxTokens":5,"topP":0.5,"extraBody":"{\"stop\":[\"x\"]}"}}`, 200, `"outputDatasetId":"accounts/main/datasets/b1-output"`},
		{"main/carl", "POST", a + "?batchInferenceJobId=b1", `{` + ok + `,"outputDatasetId":"other"}`, 409, "b1"},
		{"main/carl", "POST", a + "?batchInferenceJobId=b2", `{` + ok + `,"outputDatasetId":"b1-output"}`, 409, "b1-output"},
		{"main/carl", "GET", a + "/b1", "", 200, `"maxTokens":5,"topP":0.5,"extraBody":"{\"stop\":[\"x\"]}"`},
		{"main/carl", "GET", a + "/b1", "", 200, `"totalInputRequests":3`},
		{"main/carl", "GET", a + `?filter=input_dataset_id%3D"accounts/main/datasets/ask"`, "", 200, `"totalSize":1`},
		{"main/carl", "GET", a + `?filter=outputDatasetId%3D"nothing"`, "", 200, `"totalSize":0`},
		{"main/carl", "GET", "/v1/accounts/main/datasets/b1-output", "", 200, `"state":"UPLOADING"`},
		{"main/carl", "POST", "/v1/accounts/main/datasets/b1-output:getUploadEndpoint", `{"filenameToSize":{"f":"1"}}`, 400, "a batch inference job writes it"},
		{"main/admin", "DELETE", "/v1/accounts/main/datasets/ask", "", 400, "in use by"},
		{"main/admin", "DELETE", "/v1/accounts/main/models/sampler", "", 400, "in use by"},
		{"acme/admin", "DELETE", a + "/b1", "", 404, "not found"},
		{"main/carl", "DELETE", a + "/b1", "", 200, `{}`},
		{"main/carl", "GET", a + "/b1", "", 404, "batchInferenceJobs/b1 not found"},
		{"main/carl", "GET", "/v1/accounts/main/datasets/b1-output", "", 404, "not found"},
	} {
		f.expect(t, c.as, c.method, c.path, c.body, c.status, c.contains)
	}
}

func (f *fixture) expect(t *testing.T, as, method, path, body string, want int, contains string) {
	t.Helper()
	status, _, text := f.do(as, method, path, body)
	if status != want || !strings.Contains(text, contains) {
		t.Errorf("%s %s %s as %s: %d %s; want %d with %q", method, path, body, as, status, text, want, contains)
	}
}
