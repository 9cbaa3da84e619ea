package server

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// TestDPOMetricsFile: the metrics of a preference job travel by a URL that needs no
// key, as long as the key that asked for it may read them.
func TestDPOMetricsFile(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	_, err := f.db.CreateJob(ctx, store.Job{Account: "main", ID: "j", Kind: store.JobDPO, Spec: json.RawMessage(`{}`)}, store.Act{})
	must(t, err)
	j, ok, err := f.db.LeaseJob(ctx, "r", []store.JobKind{store.JobDPO}, time.Minute)
	must(t, err)
	if !ok {
		t.Fatal("nothing to lease")
	}
	for update := range int64(3) {
		must(t, f.db.Report(ctx, j.UID, j.Fence, nil, store.Event{Kind: store.EventMetrics, Update: update + 1, Data: json.RawMessage(`{"loss":0.5,"pairMargin":1}`)}))
	}
	ask := func(as string) string {
		t.Helper()
		status, _, text := f.do(as, "GET", "/v1/accounts/main/dpoJobs/j:getMetricsFileEndpoint", "")
		var out struct{ SignedURL string }
		if status != 200 || json.Unmarshal([]byte(text), &out) != nil || !strings.HasPrefix(out.SignedURL, f.http.URL+"/v1/jobFiles/") {
			t.Fatal(status, text)
		}
		return out.SignedURL
	}
	key := f.key("main", "carl", time.Now().Add(time.Hour))
	f.keys["short"] = key
	url := ask("short")
	status, text := raw(t, "GET", url, "")
	lines := strings.Split(strings.TrimSpace(text), "\n")
	var last struct {
		Update     int64
		PairMargin float64
	}
	if status != 200 || len(lines) != 3 || json.Unmarshal([]byte(lines[2]), &last) != nil || last.Update != 3 || last.PairMargin != 1 {
		t.Errorf("%d %s", status, text)
	}
	if status, _ := raw(t, "GET", url[:len(url)-2], ""); status != 403 {
		t.Errorf("a URL that nobody signed: %d", status)
	}
	f.srv.control.Clock = func() time.Time { return time.Now().Add(16 * time.Minute) }
	if status, _ := raw(t, "GET", url, ""); status != 403 {
		t.Errorf("a URL that is too old: %d", status)
	}
	f.srv.control.Clock = nil
	id, err := seal.ParseAPIKey(key)
	must(t, err)
	must(t, f.db.DeleteAPIKey(ctx, "main", "carl", id, store.Act{}))
	if status, _ := raw(t, "GET", url, ""); status != 401 {
		t.Errorf("a URL of a revoked key: %d", status)
	}
	url = ask("main/admin")
	_, _, err = f.db.DeleteJob(ctx, "main", store.JobDPO, "j", store.Act{})
	must(t, err)
	if status, _ := raw(t, "GET", url, ""); status != 404 {
		t.Errorf("a URL of a deleted job: %d", status)
	}
}

// TestStepLogAndCheckpoints: what happened to a step, and what it can go on from.
func TestStepLogAndCheckpoints(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	_, err := f.db.CreateJob(ctx, store.Job{Account: "main", ID: "j", Kind: store.JobStep, Spec: json.RawMessage(`{}`)}, store.Act{})
	must(t, err)
	j, ok, err := f.db.LeaseJob(ctx, "r", []store.JobKind{store.JobStep}, time.Minute)
	must(t, err)
	if !ok {
		t.Fatal("nothing to lease")
	}
	must(t, f.db.Report(ctx, j.UID, j.Fence, nil, store.Event{Kind: store.EventMetrics, Update: 1, Data: json.RawMessage(`{"loss":0.25,"rewardMean":0.5}`)},
		store.Event{Kind: store.EventWarning, Data: json.RawMessage(`{"message":"look here"}`)}))
	_, err = f.db.AddResumePoint(ctx, j.UID, j.Fence, store.ResumePoint{Update: 1, Mark: json.RawMessage(`{}`), Artifact: "p"}, 2)
	must(t, err)

	status, _, text := f.do("main/carl", "GET", "/v1/accounts/main/rlorTrainerJobs/j/publicLogs", "")
	var out struct{ SignedURL string }
	if status != 200 || json.Unmarshal([]byte(text), &out) != nil {
		t.Fatal(status, text)
	}
	status, text = raw(t, "GET", out.SignedURL, "")
	for _, want := range []string{"state JOB_STATE_PENDING\n", "metrics update 1: loss 0.25000, reward 0.5000", "warning look here\n", "checkpoint update 1\n"} {
		if status != 200 || !strings.Contains(text, want) {
			t.Errorf("%d %s, want %q", status, text, want)
		}
	}
	status, _, text = f.do("main/carl", "GET", "/v1/accounts/main/rlorTrainerJobs/j/checkpoints", "")
	if status != 200 || strings.Count(text, "CHECKPOINT_TYPE_TRAINING_LORA") != 1 || !strings.Contains(text, `"nextPageToken":""`) {
		t.Errorf("%d %s", status, text)
	}
	if status, _, _ := f.do("main/ina", "GET", "/v1/accounts/main/rlorTrainerJobs/j/publicLogs", ""); status != 403 {
		t.Errorf("logs for who may not train: %d", status)
	}
}

// TestHistories: supervised and preference jobs tell how they went as steps do, and
// not to who may not train.
func TestHistories(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	for path, kind := range map[string]store.JobKind{"rlorTrainerJobs": store.JobStep, "supervisedFineTuningJobs": store.JobSFT, "dpoJobs": store.JobDPO} {
		_, err := f.db.CreateJob(ctx, store.Job{Account: "main", ID: "j", Kind: kind, Spec: json.RawMessage(`{}`)}, store.Act{})
		must(t, err)
		j, ok, err := f.db.LeaseJob(ctx, "r", []store.JobKind{kind}, time.Minute)
		must(t, err)
		if !ok {
			t.Fatal("nothing to lease")
		}
		for update := range int64(3) {
			must(t, f.db.Report(ctx, j.UID, j.Fence, nil, store.Event{Kind: store.EventMetrics, Update: update + 1, Data: json.RawMessage(`{"loss":0.25}`)},
				store.Event{Kind: store.EventWarning, Data: json.RawMessage(`{"message":"look here"}`)}))
		}
		at := "/v1/accounts/main/" + path + "/j"
		ask := func(what string, out any) {
			t.Helper()
			if status, _, text := f.do("main/carl", "GET", at+what, ""); status != 200 || json.Unmarshal([]byte(text), out) != nil {
				t.Fatal(what, status, text)
			}
		}
		var metrics struct {
			Metrics       []struct{ Update int64 }
			NextPageToken string
		}
		ask("/metrics?after=1&pageSize=1", &metrics)
		if len(metrics.Metrics) != 1 || metrics.Metrics[0].Update != 2 || metrics.NextPageToken != "2" {
			t.Errorf("%s: %+v", path, metrics)
		}
		type history struct {
			Events []struct {
				Seq  int64
				Type string
			}
			NextPageToken string
		}
		var first, rest, after history
		ask("/events?pageSize=3", &first)
		ask("/events?pageToken="+first.NextPageToken, &rest)
		ask("/events?after="+first.NextPageToken, &after)
		if len(first.Events) != 3 || len(rest.Events) == 0 || rest.NextPageToken != "" || len(after.Events) != len(rest.Events) || rest.Events[0].Seq <= first.Events[2].Seq {
			t.Errorf("%s: %+v, then %+v", path, first, rest)
		}
		for _, e := range append(first.Events, rest.Events...) {
			if e.Type == store.EventMetrics {
				t.Errorf("%s: metrics among the events", path)
			}
		}
		var log struct{ SignedURL string }
		ask("/publicLogs", &log)
		if status, text := raw(t, "GET", log.SignedURL, ""); status != 200 || !strings.Contains(text, "metrics update 2: loss 0.25000") || !strings.Contains(text, "warning look here") {
			t.Errorf("%s: %d %s", path, status, text)
		}
		for _, what := range []string{"/metrics", "/events", "/publicLogs", "/checkpoints"} {
			if status, _, _ := f.do("main/ina", "GET", at+what, ""); status != 403 {
				t.Errorf("%s%s for who may not train: %d", path, what, status)
			}
		}
	}
}

// TestPromoteRefuses: what is no finished LoRA of a job of the account becomes no
// model, and the answer says why.
func TestPromoteRefuses(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	_, err := f.db.CreateJob(ctx, store.Job{UID: "u", Account: "main", ID: "j", Kind: store.JobStep, Spec: json.RawMessage(`{}`), OutputModel: "accounts/main/models/m"}, store.Act{})
	must(t, err)
	for _, c := range []struct {
		path, body string
		status     int
		contains   string
	}{
		{"checkpoints/u:promote", `{"outputModel":"o","baseModel":"base"}`, 400, "trainerJobId"},
		{"checkpoints/u:promote", `{"outputModel":"o","baseModel":"base","trainerJobId":"accounts/acme/rlorTrainerJobs/j"}`, 400, "trainerJobId"},
		{"checkpoints/u:promote", `{"output_model":"o","base_model":"base","trainer_job_id":"accounts/main/rlorTrainerJobs/none","async_promotion":true}`, 404, "rlorTrainerJobs/none"},
		{"checkpoints/v:promote", `{"outputModel":"o","baseModel":"base","trainerJobId":"j"}`, 404, "checkpoints/v"},
		{"checkpoints/u-1:promote", `{"outputModel":"o","baseModel":"base","trainerJobId":"j"}`, 400, "state of training"},
		{"checkpoints/u:promote", `{"outputModel":"o","baseModel":"base","trainerJobId":"j"}`, 400, "not READY, or was deleted"},
		{"rlorTrainerJobs/j/checkpoints/u:promote", `{"outputModel":"o","baseModel":"base"}`, 400, "not READY, or was deleted"},
		{"dpoJobs/j/checkpoints/u:promote", `{"outputModel":"o","baseModel":"base"}`, 404, "dpoJobs/j"},
	} {
		if status, _, text := f.do("main/ann", "POST", "/v1/accounts/main/"+c.path, c.body); status != c.status || !strings.Contains(text, c.contains) {
			t.Errorf("%s %s: %d %s", c.path, c.body, status, text)
		}
	}
	big := store.Model{UID: "big", Account: "main", ID: "big", Kind: store.KindBase, State: store.StateReady, Size: 10}
	_, err = f.db.AddModel(ctx, big, nil, store.Act{})
	must(t, err)
	as[api.Quota](t, f, "operator", "PATCH", "/v1/accounts/main/quotas/storage-bytes", `{"maxValue":10}`)
	if status, _, text := f.do("main/ann", "POST", "/v1/accounts/main/rlorTrainerJobs/j/checkpoints/u:promote", `{"outputModel":"o","baseModel":"base"}`); status != 429 || !strings.Contains(text, "storage-bytes") {
		t.Errorf("with a full store: %d %s", status, text)
	}
}

// TestWhatJobsDoNotDo: fields that ask for what no job of this server does are
// refused by name, and a key for another service is neither kept nor logged.
func TestWhatJobsDoNotDo(t *testing.T) {
	f := newFixture(t)
	const wandb = `"wandbConfig":{"enabled":true,"apiKey":"planted-key","project":"p"}`
	for _, c := range []struct {
		collection, body string
		status           int
		contains         string
	}{
		{"rlorTrainerJobs", wandb, 501, "wandbConfig: this server sends nothing"},
		{"supervisedFineTuningJobs", wandb, 501, "metricsUrl"},
		{"dpoJobs", wandb, 501, "metricsUrl"},
		{"dpoJobs", `"wandbConfig":{"apiKey":"planted-key"}`, 404, "datasets/none"}, // not asked for
		{"supervisedFineTuningJobs", `"earlyStop":true`, 400, "earlyStop: "},
		{"supervisedFineTuningJobs", `"mtpEnabled":true`, 400, "mtpEnabled: "},
		{"rlorTrainerJobs", `"serviceMode":true`, 501, "serviceMode: "},
		{"rlorTrainerJobs", `"evalAutoCarveout":true`, 400, "evaluationDataset"},
		{"rlorTrainerJobs", `"awsS3Config":{"credentialsSecret":"accounts/main/secrets/planted"}`, 400, "awsS3Config.credentialsSecret: a job reads with the credentials of the account's connections"},
		{"supervisedFineTuningJobs", `"aws_s3_config":{"iam_role_arn":"arn:planted"}`, 400, "awsS3Config.iamRoleArn: "},
		{"dpoJobs", `"azureBlobStorageConfig":{"tenantId":"planted"}`, 400, "azureBlobStorageConfig.tenantId: "},
		{"rlorTrainerJobs", `"firekeep":{"metricsUrl":"s3://elsewhere/x/"}`, 400, "firekeep.metricsUrl: no connection"},
	} {
		base := `"trainingConfig":{"baseModel":"base","outputModel":"o"}`
		if c.collection == "supervisedFineTuningJobs" {
			base = `"baseModel":"base","outputModel":"o"`
		}
		status, _, text := f.do("main/carl", "POST", "/v1/accounts/main/"+c.collection, `{"dataset":"none",`+base+`,`+c.body+`}`)
		if status != c.status || !strings.Contains(text, c.contains) || strings.Contains(text, "planted") {
			t.Errorf("%s %s: %d %s", c.collection, c.body, status, text)
		}
	}
	if strings.Contains(f.logs.String(), "planted") {
		t.Error("the key of another service is in the log")
	}
}
