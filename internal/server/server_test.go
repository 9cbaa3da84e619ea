package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/control/controltest"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
)

// fixture is a server over a real store, a real home bucket and a router that
// could start children but is not asked to.
type fixture struct {
	t     *testing.T
	world *controltest.World
	srv   *Server
	http  *httptest.Server
	db    *store.DB
	logs  *bytes.Buffer
	keys  map[string]string // "account/user" -> key
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	logs := &bytes.Buffer{}
	log := slog.New(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w := controltest.New(t, log)
	f := &fixture{t: t, world: w, db: w.DB, logs: logs, keys: w.Keys}
	f.srv = New(Options{Log: log, Ready: w.DB.Ping, Version: "test", Control: w.Control})
	f.http = httptest.NewServer(f.srv)
	t.Cleanup(f.http.Close)
	return f
}

func (f *fixture) key(account, user string, expires time.Time) string {
	f.t.Helper()
	return f.world.Key(account, user, expires)
}

func (f *fixture) scopedKey(account, user, scope string) string {
	f.t.Helper()
	return f.world.ScopedKey(account, user, time.Now().Add(time.Hour), scope)
}

// do sends a request as a user ("" = without a key).
func (f *fixture) do(as, method, path, body string, header ...string) (int, http.Header, string) {
	f.t.Helper()
	req, err := http.NewRequest(method, f.http.URL+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if as != "" {
		req.Header.Set("Authorization", "Bearer "+f.keys[as])
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func TestHTTP(t *testing.T) {
	f := newFixture(t)
	const a = "/v1/accounts/main"
	for _, c := range []struct {
		as, method, path, body string
		status                 int
		contains               string
	}{
		{"", "GET", "/healthz", "", 200, `"ok"`},
		{"", "GET", "/readyz", "", 200, `"ready"`},
		{"", "GET", "/metrics", "", 401, `"code":16`},
		{"main/admin", "GET", "/metrics", "", 200, "firekeep_http_requests_total"},
		{"main/ina", "GET", "/metrics", "", 403, `"code":7`},

		{"", "GET", a, "", 401, `"details":[]`},
		{"main/admin", "GET", a, "", 200, `"name":"accounts/main"`},
		{"main/admin", "GET", "/inference" + a, "", 200, `"name":"accounts/main"`},
		{"main/admin", "GET", "/v1/accounts?pageSize=2", "", 200, `"totalSize":1`},
		{"acme/admin", "GET", a, "", 404, "accounts/main not found"},
		{"acme/admin", "GET", a + "/models/base", "", 404, `"code":5`},
		{"acme/admin", "DELETE", a + "/datasets/nothing", "", 404, "not found"},
		{"main/admin", "GET", "/v1/nonsense", "", 404, "not found"},
		{"main/admin", "PATCH", a, "", 405, "use DELETE or GET"},
		{"main/admin", "GET", "/v1/models/a:b", "", 404, `"error":{`},
		{"main/admin", "GET", a + "/billing/summary", "", 501, `"code":12`},
		{"main/admin", "POST", a + "/rlorTrainerJobs/x:resume", "", 404, "rlorTrainerJobs/x not found"},

		{"main/admin", "GET", a + "/models", "", 200, `"models":[{"name":"accounts/main/models/base"`},
		{"main/admin", "GET", a + "/models?filter=kind=HF_PEFT_ADDON", "", 200, `"models":[]`},
		{"main/admin", "GET", a + "/models?filter=supports_serverless%3Dtrue+AND+name%3D%22accounts/main/models/base%22", "", 200, `"totalSize":1`},
		{"main/admin", "GET", a + "/models?filter=supportsServerless%3Dfalse", "", 200, `"totalSize":0`},
		{"main/admin", "GET", a + `/models?filter=kind+is`, "", 400, "filter"},
		{"main/admin", "GET", a + "/models?orderBy=colour", "", 400, "orderBy"},
		{"main/admin", "GET", a + "/models?pageSize=-1", "", 400, "pageSize"},
		{"main/admin", "GET", a + "/models?pageToken=AAAAAAAAAAAAAAAA", "", 400, "pageToken"},
		{"main/admin", "GET", a + "/models/accounts%2Fmain%2Fmodels%2Fbase", "", 200, `"kind":"HF_BASE_MODEL"`},
		{"main/admin", "GET", a + "/models/accounts%2Facme%2Fmodels%2Fbase", "", 404, "not found"},
		{"main/admin", "GET", a + "/models/base?readMask=state", "", 200, `{"name":"accounts/main/models/base","state":"READY"}`},
		{"main/admin", "POST", a + "/models", `{"model_id":"mine","model":{"kind":"EMBEDDING_MODEL"}}`, 400, "model.kind"},
		{"main/admin", "POST", a + "/models", `{"model_id":"mine","model":{"kind":"HF_PEFT_ADDON"}}`, 400, "peftDetails.baseModel"},
		{"main/admin", "POST", a + "/models", `{"model_id":"mine"}`, 200, `"state":"UPLOADING"`},
		{"main/admin", "GET", a + "/models/mine:validateUpload", "", 400, "waits for 0 of 0 files"},
		{"main/admin", "POST", a + "/models/mine:getUploadEndpoint", `{"filename_to_size":{"config.json":"2"}}`, 200, `/v1/transfers/`},
		{"main/admin", "GET", a + "/models/mine:validateUpload", "", 400, "waits for 1 of 1 files"},
		{"main/admin", "POST", a + "/models/base:getUploadEndpoint", `{"filenameToSize":{"config.json":"2"}}`, 400, "takes no upload"},
		{"main/admin", "GET", a + "/models/base:getDownloadEndpoint", "", 501, "only adapters"},
		{"main/admin", "POST", a + "/models/base:prepare", `{"precision":"BF16"}`, 200, "{}"},
		{"main/admin", "POST", a + "/models/mine:prepare", ``, 400, "not READY"},
		{"main/admin", "DELETE", a + "/models/mine", "", 200, "{}"},
		{"main/admin", "POST", a + "/models", `{"modelId":"m","model":{"firekeep":{"source":"file:///etc/passwd"}}}`, 403, "fileRoots"},
		{"main/admin", "POST", a + "/models", `{"modelId":"m","model":{"firekeep":{"source":"file:///data/home/admin.key"}}}`, 403, "own directory"},
		{"main/admin", "POST", a + "/models", `{"modelId":"M!","model":{"firekeep":{"source":"file:///data/m/"}}}`, 400, "modelId"},
		{"main/carl", "POST", a + "/models", `{"modelId":"m"}`, 403, "contributor"},
		{"acme/admin", "POST", "/v1/accounts/fireworks/models", `{"modelId":"m"}`, 404, "not found"},
		{"main/admin", "POST", "/v1/accounts/fireworks/models", `{"modelId":"m","model":{"firekeep":{"source":"file:///data/m/"}}}`, 200, `"public":true`},

		{"main/admin", "POST", a + "/datasets", `{"datasetId":"d1","dataset":{"externalUrl":"s3://bucket/rows.jsonl"}}`, 200, `"state":"UPLOADING"`},
		{"main/admin", "POST", a + "/datasets", `{"dataset_id":"d1","dataset":{"external_url":"s3://bucket/rows.jsonl"}}`, 409, `"code":6`},
		{"main/admin", "POST", a + "/datasets", `{"datasetId":"d2","dataset":{"externalUrl":"ftp://x"}}`, 400, "externalUrl"},
		{"main/admin", "POST", a + "/datasets", `{"datasetId":"d2","dataset":{"exampleCount":"many"}}`, 400, "dataset.exampleCount"},
		{"main/admin", "POST", a + "/datasets", `{"datasetId":7}`, 400, "datasetId: want a string"},
		{"main/admin", "POST", a + "/datasets", `{"datasetId":`, 400, "not valid JSON"},
		{"main/admin", "GET", a + "/datasets/d1", "", 200, `"externalUrl":"s3://bucket/rows.jsonl"`},
		{"main/admin", "GET", a + "/datasets", "", 200, `"nextPageToken":""`},
		{"main/admin", "POST", a + "/datasets/d1:upload", "x", 400, "multipart"},
		{"main/ina", "GET", a + "/datasets", "", 403, "inference-user"},

		{"main/admin", "POST", a + "/rlorTrainerJobs", `{}`, 400, "dataset: is required"},
		{"main/admin", "POST", a + "/rlorTrainerJobs", `{"dataset":"d1","trainingConfig":{"baseModel":"base"}}`, 400, "not READY"},
		{"main/admin", "POST", a + "/rlorTrainerJobs", `{"dataset":"d1","training_config":{"base_model":"base","warm_start_from":"x"}}`, 400, "exclude each other"},
		{"main/admin", "POST", a + "/rlorTrainerJobs", `{"dataset":"d1","trainingConfig":{"baseModel":"base"},"rewardWeights":["score=x"]}`, 400, "rewardWeights[0]"},
		{"main/admin", "POST", a + "/rlorTrainerJobs", `{"dataset":"d1","trainingConfig":{"baseModel":"base"},"keepAlive":true}`, 400, "not READY"},
		{"main/admin", "POST", a + "/rlorTrainerJobs?rlorTrainerJobId=loop", `{"trainingConfig":{"baseModel":"base"},"keep_alive":true}`, 200, `"state":"JOB_STATE_RUNNING"`},
		{"main/admin", "GET", a + "/rlorTrainerJobs/loop", "", 200, `"keepAlive":true`},
		{"main/admin", "POST", a + "/rlorTrainerJobs/loop:executeTrainStep", `{}`, 400, "dataset: is required"},
		{"main/admin", "POST", a + "/rlorTrainerJobs/loop:executeTrainStep", `{"dataset":"d1"}`, 400, "outputModel: is required"},
		{"main/admin", "POST", a + "/rlorTrainerJobs/loop:executeTrainStep", `{"name":"accounts/main/rlorTrainerJobs/loop","dataset":"d1","output_model":"m"}`, 400, "not READY"},
		{"main/admin", "POST", a + "/rlorTrainerJobs/loop:executeTrainStep", `{"dataset":"d1","outputModel":"accounts/acme/models/m"}`, 403, "accounts/acme"},
		{"main/carl", "POST", a + "/rlorTrainerJobs/loop:executeTrainStep", `{"dataset":"d1","outputModel":"m"}`, 403, "contributor"},
		{"acme/admin", "POST", a + "/rlorTrainerJobs/loop:executeTrainStep", `{"dataset":"d1","outputModel":"m"}`, 404, "not found"},
		{"main/admin", "POST", a + "/rlorTrainerJobs/loop:resume", "", 400, "cannot resume job in state: JOB_STATE_RUNNING"},
		{"main/admin", "POST", a + "/rlorTrainerJobs/loop:cancel", "", 200, `{}`},
		{"main/admin", "POST", a + "/rlorTrainerJobs/loop:executeTrainStep", `{"dataset":"d1","outputModel":"m"}`, 400, ""},
		{"main/admin", "POST", a + "/rlorTrainerJobs/loop:resume", "", 200, `"state":"JOB_STATE_RUNNING"`},
		{"main/admin", "DELETE", a + "/rlorTrainerJobs/loop", "", 200, `{}`},
		{"main/admin", "GET", a + "/rlorTrainerJobs/loop", "", 404, "not found"},

		{"main/admin", "GET", a + "/supervisedFineTuningJobs", "", 200, `"supervisedFineTuningJobs":[]`},
		{"main/admin", "POST", a + "/supervisedFineTuningJobs", `{}`, 400, "dataset: is required"},
		{"main/admin", "POST", a + "/supervisedFineTuningJobs", `{"dataset":"d1","baseModel":"base","learningRate":3}`, 400, "learningRate"},
		{"main/admin", "POST", a + "/supervisedFineTuningJobs?supervisedFineTuningJobId=S!", `{"dataset":"d1","baseModel":"base"}`, 400, "supervisedFineTuningJobId"},
		{"main/admin", "POST", a + "/supervisedFineTuningJobs", `{"dataset":"d1","baseModel":"base","firekeep":{"lossMethod":"GRPO"}}`, 400, "supervised"},
		{"main/admin", "POST", a + "/supervisedFineTuningJobs", `{"dataset":"d1","base_model":"base","output_model":"m"}`, 400, "not READY"},
		{"main/admin", "GET", a + "/supervisedFineTuningJobs/x", "", 404, "supervisedFineTuningJobs/x not found"},
		{"main/admin", "POST", a + "/supervisedFineTuningJobs/x:resume", "", 404, "not found"},
		{"main/admin", "GET", a + "/dpoJobs", "", 200, `"dpoJobs":[]`},
		{"main/admin", "POST", a + "/dpoJobs", `{"dataset":"d1","trainingConfig":{"baseModel":"base"},"lossConfig":{"method":"GRPO"}}`, 400, "use DPO or ORPO"},
		{"main/admin", "POST", a + "/dpoJobs", `{"dataset":"d1","trainingConfig":{"baseModel":"base"},"lossConfig":{"dpo":{"beta":0.5}}}`, 400, "lossConfig.dpo.beta"},
		{"main/admin", "POST", a + "/dpoJobs", `{"dataset":"d1","trainingConfig":{"baseModel":"base"},"loss_config":{"method":"ORPO","dpo":{"beta":0.2}}}`, 400, "belongs to DPO"},
		{"main/admin", "GET", a + "/dpoJobs/x:getMetricsFileEndpoint", "", 404, "not found"},
		{"", "GET", "/v1/jobFiles/AAAA", "", 403, "not valid"},
		{"main/admin", "GET", a + "/rlorTrainerJobs/none", "", 404, "not found"},
		{"main/admin", "DELETE", a + "/rlorTrainerJobs/none", "", 404, "not found"},
		{"main/admin", "GET", a + "/rlorTrainerJobs/none/metrics?after=x", "", 400, "after"},

		{"main/admin", "POST", a + "/users/ann/apiKeys", `{"apiKey":{}}`, 200, `"key":"fk_`},
		{"main/ann", "POST", a + "/users/admin/apiKeys", `{"apiKey":{}}`, 403, "user"},
		{"main/ann", "POST", a + "/users/ann/apiKeys", `{}`, 200, `"secure":true`},
		{"main/ann", "POST", a + "/users/ann/apiKeys", `{"apiKey":{"expireTime":"2001-01-01T00:00:00Z"}}`, 400, "expireTime"},
		{"main/admin", "POST", a + "/users?userId=bob", `{"role":"emperor"}`, 400, "role"},
		{"main/admin", "POST", a + "/users?userId=bob", `{"role":"user"}`, 200, `accounts/main/users/bob`},

		{"main/admin", "POST", a + "/connections", `{"connectionId":"c","connection":{"url":"s3://bucket/p/","secret":{"access_key_id":"AK","secret_access_key":"planted-secret"}}}`, 200, `"state":"READY"`},
		{"main/admin", "GET", a + "/connections/c", "", 200, `"url":"s3://bucket/p/"`},
		{"main/admin", "POST", a + "/connections", `{"connectionId":"c2","connection":{"url":"s3://bucket/p/","secret":{"access_key_id":"AK"}}}`, 400, "secret_access_key"},
		{"main/ann", "POST", a + "/connections", `{}`, 403, "user"},

		{"main/admin", "POST", a + "/deployments?deploymentId=dep", `{"baseModel":"base","acceleratorType":"NVIDIA_H100_80GB","autoscalingPolicy":{"scaleToZeroWindow":"300s"}}`, 200, `"acceleratorType":"NVIDIA_H100_80GB"`},
		{"main/admin", "GET", a + "/deployments/dep", "", 200, `"scaleToZeroWindow":"300s"`},
		{"main/admin", "POST", a + "/deployments", `{"baseModel":"absent"}`, 404, "not found"},
		{"main/admin", "POST", a + "/deployedModels", `{"model":"base","deployment":"dep"}`, 200, `"state":"DEPLOYED"`},
		{"main/admin", "GET", a + `/deployedModels?filter=model%3D%22accounts/main/models/base%22`, "", 200, `"totalSize":1`},

		{"main/admin", "PATCH", a + "/deployments/dep", `{"base_model":"base","min_replica_count":1,"autoscaling_policy":{"scale_down_window":"60s"}}`, 200, `"scaleDownWindow":"60s"`},
		{"main/admin", "GET", a + "/deployments/dep", "", 200, `"scaleToZeroWindow":"300s"`},
		{"main/admin", "PATCH", a + "/deployments/dep?updateMask=display_name", `{"displayName":"new","minReplicaCount":7}`, 200, `"minReplicaCount":1,`},
		{"main/admin", "PATCH", a + "/deployments/dep", `{"baseModel":"other"}`, 400, "baseModel: cannot change"},
		{"main/admin", "PATCH", a + "/deployments/dep", `{"autoscalingPolicy":{"scaleToZeroWindow":"1s"}}`, 400, "scaleToZeroWindow"},
		{"main/admin", "PATCH", a + "/deployments/dep:scale", ``, 200, `{}`},
		{"main/admin", "GET", a + "/deployments/dep?readMask=replicaStats,replica_count", "", 200, `"readyReplicaCount":0`},
		{"main/admin", "PATCH", a + "/deployments/dep:scale", `{"replicaCount":2}`, 200, `{}`},
		{"main/admin", "GET", a + "/deployments/dep", "", 200, `"readyReplicaCount":2`},
		{"main/admin", "PATCH", a + "/deployments/dep:scale", `{"replicaCount":-1}`, 400, `replicaCount`},
		{"main/admin", "POST", a + "/deployments?deploymentId=dry&validateOnly=true", `{"baseModel":"base"}`, 200, `accounts/main/deployments/dry`},
		{"main/admin", "GET", a + "/deployments/dry", "", 404, "not found"},
		{"main/admin", "POST", a + "/deployments?deploymentId=brief", `{"baseModel":"base"}`, 200, `brief`},
		{"main/admin", "DELETE", a + "/deployments/brief", "", 200, `{}`},
		{"main/admin", "GET", a + "/deployments/brief", "", 404, "not found"},
		{"main/admin", "GET", a + "/deployments", "", 200, `"totalSize":1`},
		{"main/admin", "GET", a + "/deployments?showDeleted=true&filter=state%3DDELETED", "", 200, `"totalSize":1`},
		{"main/admin", "POST", a + "/deployments/brief:undelete", `{}`, 200, `"state":"READY"`},
		{"main/admin", "POST", a + "/deployments/brief:undelete", `{}`, 400, "not deleted"},
		{"main/admin", "DELETE", a + "/deployments/brief?hard=true&ignoreChecks=true", "", 200, `{}`},
		{"main/admin", "POST", a + "/deployments/brief:undelete", `{}`, 404, "not found"},

		{"main/admin", "PATCH", a + "/datasets/d1", `{"display_name":"One"}`, 200, `"displayName":"One"`},
		{"main/admin", "PATCH", a + "/datasets/d1", `{"externalUrl":"s3://other/rows.jsonl"}`, 400, "externalUrl: cannot change"},
		{"main/admin", "PATCH", a + "/models/base", `{"description":"Small","kind":"HF_BASE_MODEL"}`, 200, `"description":"Small"`},
		{"main/admin", "PATCH", a + "/models/base", `{"kind":"HF_PEFT_ADDON"}`, 400, "kind: cannot change"},
		{"main/carl", "PATCH", a + "/models/base", `{}`, 403, "contributor"},

		{"main/admin", "POST", a + "/secrets", `{"name":"accounts/main/secrets/wolf","keyName":"WOLFRAM_ALPHA_API_KEY","value":"planted-value"}`, 200, `"keyName":"WOLFRAM_ALPHA_API_KEY"`},
		{"main/admin", "POST", a + "/secrets", `{"name":"accounts/main/secrets/wolf","keyName":"K","value":"x"}`, 409, `"code":6`},
		{"main/admin", "POST", a + "/secrets", `{"name":"accounts/acme/secrets/wolf","keyName":"K"}`, 400, "another account"},
		{"main/admin", "PATCH", a + "/secrets/wolf", `{"key_name":"OTHER","value":"planted-second"}`, 200, `"keyName":"OTHER"`},
		{"main/admin", "PATCH", a + "/secrets/wolf", `{"keyName":""}`, 400, "keyName"},
		{"main/admin", "GET", a + "/secrets", "", 200, `"totalSize":1`},
		{"main/ann", "GET", a + "/secrets", "", 403, `"code":7`},
		{"main/admin", "DELETE", a + "/secrets/wolf", "", 200, `{}`},
		{"main/admin", "GET", a + "/secrets/wolf", "", 404, "not found"},

		{"main/admin", "GET", a + "/deploymentShapes/-/versions?filter=latest_validated%3Dtrue", "", 200, `"deploymentShapeVersions":[]`},
		{"main/admin", "GET", "/v1/accounts/-/deploymentShapes/-/versions", "", 200, `"deploymentShapeVersions":[]`},
		{"main/admin", "POST", a + "/deploymentShapeVersions:match", `{}`, 200, `"deploymentShapeVersions":[]`},
		{"main/admin", "GET", a + "/deploymentShapes/s", "", 404, "not found"},

		{"", "POST", "/v1/chat/completions", `{}`, 401, `"error":{"code":"UNAUTHORIZED"`},
		{"main/admin", "POST", "/v1/chat/completions", `{"model":"none","messages":[{"role":"user","content":"x"}]}`, 404, `"code":"NOT_FOUND"`},
		{"acme/admin", "POST", "/chat/completions", `{"model":"base"}`, 404, "path not found; inference is under"},
		{"acme/admin", "POST", "/inference/v1/chat/completions", `{"model":"accounts/main/models/base","messages":[{"role":"user","content":"x"}]}`, 404, "Model not found, inaccessible, and/or not deployed"},
		{"main/admin", "POST", "/v1/chat/completions", `{"model":"base"}`, 400, `"invalid_request_error"`},
		{"main/admin", "POST", "/v1/chat/completions", `{"model":"base","messages":[{"role":"user","content":"x"}],"logprobs":true,"top_logprobs":20}`, 400, "top_logprobs must be between 0 and 5: 20"},
		{"main/admin", "POST", "/v1/chat/completions", `{"model":"base","messages":[{"role":"user","content":"x"}],"temperature":3}`, 400, "temperature"},
		{"main/admin", "POST", "/v1/chat/completions", `{"model":"base","messages":[{"role":"user","content":"x"}],"n":"two"}`, 400, "n: has the wrong type"},
		{"main/admin", "POST", "/v1/chat/completions", `{"model":"base","messages":[{"role":"wizard","content":"x"}]}`, 400, "messages[0].role"},
		{"main/admin", "POST", "/v1/chat/completions", `{"model":"base","messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, 400, "images"},
		{"main/admin", "POST", "/v1/chat/completions", `{"model":"base","messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_object"}}`, 400, "response_format"},
		{"main/admin", "POST", "/v1/chat/completions", `{"model":"base","messages":[{"role":"user","content":"x"}],"frequency_penalty":3}`, 400, "frequency_penalty must be between -2 and 2: 3"},
		{"main/admin", "POST", "/v1/chat/completions", `{"model":"base","messages":[{"role":"user","content":"x"}],"tool_choice":"required"}`, 400, `"param":"tool_choice"`},
		{"main/admin", "POST", "/v1/chat/completions", `{"model":"base","messages":[{"role":"user","content":"x"}],"logit_bias":{"hello":1}}`, 400, "logit_bias"},
		{"main/admin", "POST", "/v1/chat/completions", `{"model":"base","messages":[{"role":"user","content":"x"}],"metadata":{"a":1}}`, 400, "metadata"},
		{"main/admin", "POST", "/v1/responses", `{}`, 501, `"error"`},
		{"main/admin", "POST", "/v1/messages", `{}`, 501, `"error"`},
		{"main/admin", "POST", "/v1/completions", `{"model":"base"}`, 400, "prompt: is required"},
		{"main/admin", "POST", "/v1/completions", `{"model":"base","prompt":["a","b"],"n":100}`, 400, "more than 128"},
		{"main/admin", "GET", "/v1/models", "", 200, `"object":"list"`},
		{"main/admin", "GET", "/v1/models?readMask=x", "", 200, `"object":"list"`},
		{"main/admin", "GET", a + "/users/admin/apiKeys?readMask=x", "", 200, `[{}]`},
		{"main/admin", "GET", "/inference/v1/models/accounts/main/models/base", "", 200, `"context_length":64`},
		{"main/admin", "POST", "/v1/embeddings", `{}`, 501, `"error"`},
	} {
		status, h, body := f.do(c.as, c.method, c.path, c.body)
		if status != c.status || !strings.Contains(body, c.contains) {
			t.Errorf("%s %s %s as %q: %d %s\nwant %d and %q", c.method, c.path, c.body, c.as, status, body, c.status, c.contains)
		}
		if h.Get("X-Request-Id") == "" {
			t.Errorf("%s %s: no X-Request-Id", c.method, c.path)
		}
	}
}

func TestVerifyKey(t *testing.T) {
	f := newFixture(t)
	status, h, body := f.do("main/ina", "GET", "/verifyApiKey", "")
	if status != 200 || body != "" || h.Get("X-Fireworks-Account-Id") != "main" {
		t.Errorf("%d %q %v", status, body, h)
	}
	f.keys["expired"] = f.key("main", "ann", time.Now().Add(-time.Second))
	f.keys["other"] = seal.NewAPIKey().Text.Reveal()
	for _, as := range []string{"", "expired", "other"} {
		if status, _, _ := f.do(as, "GET", "/verifyApiKey", ""); status != 401 {
			t.Errorf("%s: %d", as, status)
		}
	}
	if status, _, _ := f.do("", "GET", "/verifyApiKey", "", "X-Api-Key", f.keys["main/ann"]); status != 200 {
		t.Errorf("X-Api-Key: %d", status)
	}
}

func TestRetryAdvice(t *testing.T) {
	f := newFixture(t)
	f.do("main/admin", "POST", "/v1/accounts/main/datasets", `{"datasetId":"d"}`)
	if status, h, _ := f.do("main/admin", "POST", "/v1/accounts/main/datasets", `{"datasetId":"d"}`); status != 409 || h.Get("X-Should-Retry") != "false" {
		t.Errorf("%d %q", status, h.Get("X-Should-Retry"))
	}
	w := httptest.NewRecorder()
	limited := &request{s: f.srv, w: &answer{ResponseWriter: w}, r: httptest.NewRequest("POST", "/v1/chat/completions", nil), shape: inference, id: "i"}
	limited.writeError(rft.Wrap(rft.KindResourceExhausted, &serving.Busy{After: 7 * time.Second}, "busy"))
	if w.Code != 429 || w.Header().Get("Retry-After") != "7" || !strings.Contains(w.Body.String(), `"type":"rate_limit_error","code":"rate_limit_exceeded","message":"busy"`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	for advice, err := range map[string]error{
		"":      rft.Wrap(rft.KindResourceExhausted, &serving.Busy{After: time.Second}, "busy"),
		"false": rft.Errorf(rft.KindResourceExhausted, "too little memory"),
	} {
		w := httptest.NewRecorder()
		(&request{s: f.srv, w: &answer{ResponseWriter: w}, r: httptest.NewRequest("GET", "/", nil), log: f.srv.log}).writeError(err)
		if w.Code != 429 || w.Header().Get("X-Should-Retry") != advice || (w.Header().Get("Retry-After") == "") != (advice == "false") {
			t.Errorf("%v: %d %v", err, w.Code, w.Header())
		}
	}
}

// TestSlowAnswer: while an answer is computed the client sees spaces and stays;
// the JSON behind them is whole, and a late failure cuts the connection.
func TestSlowAnswer(t *testing.T) {
	f := newFixture(t)
	f.srv.quiet = time.Millisecond
	spaces := make(chan struct{}) // closed by the client when it has seen one
	fail := false
	f.srv.table = newTable([]route{{"GET", "/healthz", inference, func(rq *request) error {
		awake := rq.keepAwake(rq.ctx())
		<-spaces
		if !awake() {
			t.Error("nothing was written")
		}
		if fail {
			panic(http.ErrAbortHandler)
		}
		rq.writeJSON(http.StatusOK, map[string]int{"n": 1})
		return nil
	}}})
	get := func() (string, error) {
		resp, err := http.Get(f.http.URL + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		first := make([]byte, 1)
		if _, err := io.ReadFull(resp.Body, first); err != nil || first[0] != ' ' || resp.StatusCode != 200 {
			t.Fatalf("%q, %d, %v", first, resp.StatusCode, err)
		}
		close(spaces)
		rest, err := io.ReadAll(resp.Body)
		return string(first) + string(rest), err
	}
	body, err := get()
	var v struct{ N int }
	if err != nil || json.Unmarshal([]byte(body), &v) != nil || v.N != 1 {
		t.Errorf("%q, %v", body, err)
	}
	spaces, fail = make(chan struct{}), true
	if body, err := get(); err == nil {
		t.Errorf("a failed answer ended as if it were whole: %q", body)
	}
}

// TestSlowStream: a stream that has nothing to say shows a comment, with which its
// status is decided; one that speaks shows none.
func TestSlowStream(t *testing.T) {
	f := newFixture(t)
	f.srv.quiet = time.Millisecond
	seen := make(chan struct{}) // closed by the client when it has seen a comment
	f.srv.table = newTable([]route{{"GET", "/healthz", inference, func(rq *request) error {
		o := &events{rq: rq, rc: http.NewResponseController(rq.w), last: time.Now()}
		stop := rq.beat(rq.ctx(), o.awake)
		<-seen
		stop()
		return o.send(map[string]int{"n": 1})
	}}})
	resp, err := http.Get(f.http.URL + "/healthz")
	must(t, err)
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	line, err := in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, ": ") || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%q, %v, %v", line, err, resp.Header)
	}
	close(seen)
	rest, err := io.ReadAll(in)
	must(t, err)
	text := strings.ReplaceAll("\n"+string(rest), "\n"+line+"\n", "\n")
	if strings.TrimSpace(text) != `data: {"n":1}` {
		t.Errorf("%q", rest)
	}
	f.srv.quiet = time.Hour
	o := &events{rq: &request{s: f.srv}, last: time.Now()}
	if err := o.awake(); err != nil || o.begun {
		t.Errorf("a comment right behind an event: %v", err)
	}
}

func TestPages(t *testing.T) {
	f := newFixture(t)
	for _, id := range []string{"a", "b", "c"} {
		f.do("main/admin", "POST", "/v1/accounts/main/datasets", `{"datasetId":"`+id+`"}`)
	}
	var seen []string
	for token, pages := "", 0; pages < 5; pages++ {
		_, _, body := f.do("main/admin", "GET", "/v1/accounts/main/datasets?pageSize=2&pageToken="+token, "")
		var l struct {
			Datasets      []struct{ Name string }
			NextPageToken string
			TotalSize     int
		}
		if err := json.Unmarshal([]byte(body), &l); err != nil || l.TotalSize != 3 {
			t.Fatalf("%v %s", err, body)
		}
		for _, d := range l.Datasets {
			seen = append(seen, d.Name[len(d.Name)-1:])
		}
		if token = l.NextPageToken; token == "" {
			break
		}
		if status, _, _ := f.do("main/admin", "GET", "/v1/accounts/main/datasets?pageSize=1&pageToken="+token, ""); status != 400 {
			t.Errorf("a token of another query: %d", status)
		}
	}
	if strings.Join(seen, "") != "abc" {
		t.Errorf("pages hold %v", seen)
	}
}

// TestSecretsStayOut plants secrets in every place a request has and looks for
// them in logs, answers and the metrics.
func TestSecretsStayOut(t *testing.T) {
	f := newFixture(t)
	const planted = "zq-planted-zq"
	key := f.keys["main/admin"]
	f.do("main/admin", "POST", "/v1/accounts/main/connections", `{"connectionId":"c","connection":{"url":"s3://bucket/p/","secret":{"access_key_id":"`+planted+`","secret_access_key":"`+planted+`"}}}`)
	f.do("main/admin", "POST", "/v1/accounts/main/connections", `{"connection":{"url":"s3://bucket/p/","secret":{"access_key_id":"`+planted+`"}}}`)
	f.do("main/admin", "POST", "/v1/accounts/main/connections", `{"connection":{"url":7,"secret":"`+planted+`"}}`)
	f.do("main/admin", "POST", "/v1/chat/completions", `{"model":"none","messages":[{"role":"user","content":"`+planted+`"}]}`)
	f.do("main/admin", "POST", "/v1/chat/completions", `{"model":"base","messages":[{"role":"user","content":{"`+planted+`":1}}]}`)
	f.do("main/admin", "POST", "/v1/completions", `{"model":"base","prompt":{"`+planted+`":1}}`)
	f.do("", "GET", "/v1/accounts", "", "Authorization", "Bearer "+planted)
	f.do("", "GET", "/v1/accounts?key="+planted, "", "X-Api-Key", key+planted)
	_, _, metrics := f.do("main/admin", "GET", "/metrics", "")
	_, _, conn := f.do("main/admin", "GET", "/v1/accounts/main/connections/c", "")
	for where, text := range map[string]string{"logs": f.logs.String(), "metrics": metrics, "connection": conn} {
		if text == "" {
			t.Errorf("%s are empty", where)
		}
		if strings.Contains(text, planted) || strings.Contains(text, key) {
			t.Errorf("%s hold a secret", where)
		}
	}
}

func TestUpload(t *testing.T) {
	f := newFixture(t)
	f.do("main/admin", "POST", "/v1/accounts/main/datasets", `{"datasetId":"up","dataset":{"userUploaded":{}}}`)
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, _ := w.CreateFormFile("other", "x")
	part.Write([]byte("ignored"))
	w.Close()
	if status, _, text := f.do("main/admin", "POST", "/v1/accounts/main/datasets/up:upload", body.String(), "Content-Type", w.FormDataContentType()); status != 400 || !strings.Contains(text, "named file") {
		t.Errorf("%d %s", status, text)
	}
}

func TestPanicHasNoContent(t *testing.T) {
	f := newFixture(t)
	f.srv.table = newTable([]route{{"GET", "/healthz", controlPlane, func(*request) error { panic("row content") }}})
	status, _, body := f.do("", "GET", "/healthz", "")
	if status != 500 || strings.Contains(body, "row content") || strings.Contains(f.logs.String(), "row content") {
		t.Errorf("%d %s", status, body)
	}
}
