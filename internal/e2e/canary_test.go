package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/e2e/canary"
)

// What is planted. Each word is nowhere else in the program or its tests' models.
const (
	plantedPrompt = "zanzibarquartz"
	plantedAnswer = "vermillionyucca"
	plantedReward = 0.7361928451
	plantedSecret = "kumquatsecretaccesskeyofthebucket"
)

// TestCanary plants words in prompts, answers, rewards and secrets, lets
// everything happen that happens to data (creation, training, failure,
// cancellation, crashes of engine and server, sampling, export) and then looks
// for them in every byte that Firekeep wrote or sent, bucket excepted. Then it
// plants them in copies of the same places, where the same search must find them.
func TestCanary(t *testing.T) {
	traces := newCollector(t)
	cores := t.TempDir()
	s := newInstance(t, func(s *instance) {
		s.env = []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + traces.URL, "OTEL_BSP_SCHEDULE_DELAY=50", "GOTRACEBACK=crash"}
		s.config["logLevel"] = "debug"
		s.config["s3"] = map[string]any{"endpoint": refusing(t), "pathStyle": true, "allowLoopback": true}
		s.dir = cores
		s.cores = true
	})
	s.importTiny()
	key := live(t, s)
	forms := plantedForms(key)
	sinks := map[string][]byte{"metrics": s.get("/metrics"), "audit API": s.auditLogs()}
	crashWithCores(t, s)
	sinks["traces"] = traces.bytes()
	// The server was killed: the journal still holds what was written last.
	for name, b := range filesOf(t, filepath.Dir(s.home), s.roots) {
		sinks[name] = b
	}
	for name, b := range filesOf(t, cores, "") {
		sinks["core "+name] = b
	}
	s.fsck()
	requireSinks(t, sinks)
	for name, b := range sinks {
		own := forms
		if strings.HasSuffix(name, "home/admin.key") { // the place of that key
			own = plantedForms("")
		}
		if found := canary.Search(b, own); len(found) > 0 {
			t.Errorf("%s (%d bytes) holds %v", name, len(b), found)
		}
		positiveControl(t, name, b, forms)
	}
	coreControl(t, forms)
}

// plantedForms are all forms of all that was planted, and of an API key.
func plantedForms(key string) []canary.Form {
	var tokens []uint32
	for _, b := range []byte(plantedPrompt) {
		tokens = append(tokens, 3+uint32(b)) // the tiny model has one token per byte, after three special ones
	}
	forms := slices.Concat(canary.Text("the prompt", plantedPrompt), canary.Text("the answer", plantedAnswer), canary.Text("the secret", plantedSecret),
		canary.Tokens("the prompt", tokens), canary.Number("the reward", plantedReward))
	if key != "" {
		forms = append(forms, canary.Text("the API key", key[max(0, len(key)-30):])...)
	}
	return forms
}

// live lets everything happen once and returns an API key that was made.
func live(t *testing.T, s *instance) (key string) {
	t.Helper()
	ctx := context.Background()
	data := plantedRows(24, 4)
	s.dataset("canary", data...)
	s.cli("dataset", "create", "uploaded", "--upload", writeRows(t, s, "uploaded.jsonl", data), "--wait")
	made, err := s.api.CreateAPIKey(ctx, "main", "admin", &api.APIKey{DisplayName: "planted"})
	if err != nil || made.Key == "" {
		t.Fatalf("%+v, %v", made, err)
	}
	if _, err := s.api.CreateConnection(ctx, "main", "planted", &api.Connection{URL: "s3://planted/rows/",
		Secret: map[string]any{"access_key_id": "AKPLANTED", "secret_access_key": plantedSecret}}); err != nil {
		t.Fatal(err)
	}
	if out, err := s.try("dataset", "create", "foreign", "--from", "s3://planted/rows/x.jsonl", "--wait"); err == nil {
		t.Errorf("rows came from a bucket that refuses: %s", out)
	}
	step := func(id, dataset string, resume int) {
		if _, err := s.api.CreateStep(ctx, "main", id, &api.RlorTrainerJob{Dataset: dataset,
			TrainingConfig: &api.TrainingConfig{BaseModel: tinyBase, OutputModel: id, Epochs: resume, LoraRank: 4, BatchSizeSamples: new(8)}, Firekeep: &api.StepExtension{ResumeEvery: new(1)}}); err != nil {
			t.Fatal(err)
		}
	}
	step("trained", "canary", 1)
	s.finish("trained")
	step("from-upload", "uploaded", 1)
	s.finish("from-upload")
	for _, stream := range []bool{false, true} {
		r := &api.CompletionRequest{Model: "accounts/main/models/trained", MaxTokens: new(8), Messages: []api.Message{{Role: "user", Content: api.Text("Say " + plantedPrompt)}}}
		if stream {
			err = s.api.ChatStream(ctx, r, func(*api.Completion) error { return nil })
		} else {
			_, err = s.api.Chat(ctx, r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s.cli("model", "export", "trained", "--to", "file://"+filepath.Join(s.roots, "export")+"/", "--wait")
	batches(t, s)
	failing(t, s)
	step("cancelled", "canary", 8)
	updates(t, s, "cancelled", 2)
	if err := s.api.CancelStep(ctx, "main", "cancelled"); err != nil {
		t.Fatal(err)
	}
	step("crashed", "canary", 8)
	updates(t, s, "crashed", 2)
	s.kill()
	s.start()
	s.finish("crashed")
	return made.Key
}

// batches answers planted requests with the adapter, of a bucket and uploaded, some
// of them wrong where the word is. What is answered is planted too: the adapter was
// taught the word, and a row's id comes back with its answer.
func batches(t *testing.T, s *instance) {
	t.Helper()
	row := func(id, role, rest string) string {
		return fmt.Sprintf(`{"custom_id":"%s-%s","body":{"messages":[{"role":%q,"content":"Say %s"}]%s}}`, plantedPrompt, id, role, plantedPrompt, rest)
	}
	data := []string{row("good", "user", `,"temperature":0`), row("role", plantedPrompt, ""), row("temperature", "user", `,"temperature":9`), row("model", "user", `,"model":"`+plantedPrompt+`"`)}
	s.dataset("requests", data...)
	s.cli("dataset", "create", "uploaded-requests", "--upload", writeRows(t, s, "uploaded-requests.jsonl", data), "--format", "BATCH", "--wait")
	for _, input := range []string{"requests", "uploaded-requests"} {
		if _, err := s.api.CreateBatchJob(context.Background(), "main", "of-"+input, &api.BatchInferenceJob{InputDatasetID: input, Model: "trained",
			InferenceParameters: &api.InferenceParameters{MaxTokens: new(8)}}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, time.Minute, "the batch of "+input, func() bool {
			j, err := s.api.GetBatchJob(context.Background(), "main", "of-"+input)
			if err != nil || j.State == "JOB_STATE_FAILED" {
				t.Fatalf("%+v, %v", j, err)
			}
			if j.State == "JOB_STATE_COMPLETED" && j.JobProgress.FailedRequests != 3 {
				t.Errorf("%s: %+v", input, j.JobProgress)
			}
			return j.State == "JOB_STATE_COMPLETED"
		})
	}
	// The search would find them where they may be: beside the customer's rows.
	for name, b := range filesOf(t, s.roots, "") {
		if strings.Contains(name, "of-requests-output") && strings.HasSuffix(name, ".jsonl") && len(canary.Search(b, plantedForms(""))) == 0 {
			t.Errorf("%s holds no planted word", name)
		}
	}
}

// updates waits until a step has done n updates.
func updates(t *testing.T, s *instance, id string, n api.Int64) {
	t.Helper()
	waitFor(t, time.Minute, "updates of "+id, func() bool {
		j := s.step(id)
		return j.State == "JOB_STATE_COMPLETED" || j.Firekeep != nil && j.Firekeep.Update >= n
	})
}

// failing sends rows and requests that are wrong, each with a planted word where
// it is wrong: no error may repeat it.
func failing(t *testing.T, s *instance) {
	t.Helper()
	for i, row := range []string{
		`{"samples":[{"messages":[{"role":"user","content":"` + plantedPrompt + `"},{"role":"assistant","content":"x"}],"evals":{"score":"` + plantedPrompt + `"}}]}`,
		`{"samples":[{"messages":[{"role":"` + plantedPrompt + `","content":"x"}],"evals":{"score":1}}]}`,
		`{"samples":` + plantedPrompt,
		plantedPrompt,
	} {
		id := fmt.Sprintf("bad-%d", i)
		out, err := s.try("dataset", "create", id, "--from", "file://"+writeRows(t, s, id+".jsonl", []string{row}), "--wait")
		if err == nil || strings.Contains(strings.ToLower(err.Error()+out), plantedPrompt) {
			t.Errorf("bad row %d: %v %s", i, err, out)
		}
	}
	for _, body := range []string{
		`{"model":"accounts/main/models/trained","messages":[{"role":"` + plantedPrompt + `","content":"x"}]}`,
		`{"model":"accounts/main/models/trained","messages":[{"role":"user","content":"` + plantedPrompt + `"}],"max_tokens":-1}`,
		`{"model":"accounts/main/models/trained","messages":` + plantedPrompt,
		`{"model":"accounts/main/models/absent","messages":[{"role":"user","content":"` + plantedPrompt + `"}]}`,
	} {
		r, err := http.NewRequest(http.MethodPost, s.api.BaseURL+"/inference/v1/chat/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+s.api.Key)
		r.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			t.Errorf("%.60s is answered", body)
		}
	}
}

// crashWithCores makes engine and server dump their memory while a step holds
// the rows, if the host and Firekeep let them.
func crashWithCores(t *testing.T, s *instance) {
	t.Helper()
	if _, err := s.api.CreateStep(context.Background(), "main", "dumped", &api.RlorTrainerJob{Dataset: "canary",
		TrainingConfig: &api.TrainingConfig{BaseModel: tinyBase, OutputModel: "dumped", Epochs: 8, LoraRank: 4, BatchSizeSamples: new(8)}}); err != nil {
		t.Fatal(err)
	}
	updates(t, s, "dumped", 2)
	for _, pid := range s.children() {
		_ = syscall.Kill(pid, syscall.SIGQUIT) // the runtime prints its stacks, then aborts
		_ = syscall.Kill(pid, syscall.SIGABRT)
	}
	_ = s.cmd.Process.Signal(syscall.SIGABRT)
	_ = s.cmd.Wait()
	s.cmd = nil
}

// coreControl lets a process that holds the words dump its memory and looks
// there, where the host makes core files at all.
func coreControl(t *testing.T, forms []canary.Form) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", `ulimit -c unlimited; kept="$WORD"; kill -ABRT $$`)
	cmd.Dir, cmd.Env = dir, []string{"WORD=" + plantedPrompt, "PATH=/usr/bin:/bin"}
	_ = cmd.Run()
	files := filesOf(t, dir, "")
	if len(files) == 0 {
		t.Log("this host writes no core files into the working directory: that none holds content is not shown")
		return
	}
	for name, b := range files {
		if len(canary.Search(b, forms)) == 0 {
			t.Errorf("%s: the search finds nothing in a core file that holds the word", name)
		}
	}
}

// positiveControl plants each form in the middle of a copy of the sink.
func positiveControl(t *testing.T, name string, b []byte, forms []canary.Form) {
	t.Helper()
	if len(b) > 1<<20 {
		b = b[:1<<20]
	}
	for _, f := range forms {
		planted := slices.Concat(b[:len(b)/2], f.Bytes, b[len(b)/2:])
		if !slices.Contains(canary.Search(planted, []canary.Form{f}), f.Name) {
			t.Errorf("%s: %s was planted and is not found", name, f.Name)
		}
	}
}

// requireSinks fails when a place is missing that must have been searched, or
// does not hold what it is known to hold.
func requireSinks(t *testing.T, sinks map[string][]byte) {
	t.Helper()
	for part, holds := range map[string]string{
		"home/firekeep.db": "trained", "home/firekeep.db-wal": "dumped", "serve.log": "job started", "metrics": "firekeep_http_requests_total",
		"traces": "firekeep", "audit API": "CreateDataset", "home/audit/": "", "home/bucket/": "", "home/models/": "",
	} {
		met := false
		for name, b := range sinks {
			met = met || strings.Contains(name, part) && strings.Contains(string(b), holds)
		}
		if !met {
			t.Errorf("no sink %s with %q was searched: %d sinks", part, holds, len(sinks))
		}
	}
}

// filesOf reads every file below dir but for those below skip.
func filesOf(t *testing.T, dir, skip string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if skip != "" && path == skip {
			return fs.SkipDir
		}
		if d.Type().IsRegular() {
			out[strings.TrimPrefix(path, dir+"/")], err = os.ReadFile(path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// plantedRows are scored groups of four with every planted word. The planted reward
// is neither the least nor the greatest: metrics name these.
func plantedRows(groups, samples int) []string {
	var out []string
	for g := range groups {
		var list []any
		for i := range samples {
			list = append(list, map[string]any{
				"messages": []any{map[string]any{"role": "user", "content": fmt.Sprintf("Say %s %d", plantedPrompt, g)},
					map[string]any{"role": "assistant", "content": strings.Repeat(plantedAnswer+" ", 1+(g+i)%3)}},
				"evals": map[string]any{"score": []float64{0.25, plantedReward, 0.5, 1}[(g+i)%4]},
			})
		}
		b, _ := json.Marshal(map[string]any{"samples": list})
		out = append(out, string(b))
	}
	return out
}

// refusing is the endpoint of an object store that refuses everything.
func refusing(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(s.Close)
	return s.URL
}

// collector keeps what is sent to it as traces.
type collector struct {
	*httptest.Server
	mu  sync.Mutex
	all []byte
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all = append(append(c.all, r.URL.String()...), b...)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.all)
}

// auditLogs reads the audit log through the API, page by page.
func (s *instance) auditLogs() []byte {
	s.t.Helper()
	var all []byte
	for token := ""; ; {
		status, page := s.fetch("/v1/accounts/main/auditLogs?pageSize=200&pageToken=" + token)
		if status != http.StatusOK {
			s.t.Fatalf("the audit log: %d %s", status, page)
		}
		all = append(all, page...)
		var next struct{ NextPageToken string }
		if err := json.Unmarshal(page, &next); err != nil {
			s.t.Fatal(err)
		}
		if token = next.NextPageToken; token == "" {
			return all
		}
	}
}

func (s *instance) get(path string) []byte {
	s.t.Helper()
	status, b := s.fetch(path)
	if status != http.StatusOK {
		s.t.Fatalf("GET %s: %d", path, status)
	}
	return b
}

func (s *instance) fetch(path string) (status int, body []byte) {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.api.BaseURL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.api.Key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatalf("GET %s: %v", path, err)
	}
	return answer.StatusCode, b
}
