package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// raw sends a request without a key to a whole URL.
func raw(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(b)
}

// signedURL asks for the URL of an endpoint and checks that it leads back here.
func (f *fixture) signedURL(as, method, path, body, file string) string {
	f.t.Helper()
	status, _, text := f.do(as, method, path, body)
	var out struct {
		URLs map[string]string `json:"filenameToSignedUrls"`
	}
	if status != 200 || json.Unmarshal([]byte(text), &out) != nil || len(out.URLs) != 1 || !strings.HasPrefix(out.URLs[file], f.http.URL+"/v1/transfers/") {
		f.t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	return out.URLs[file]
}

// TestTransfers: files travel by URLs that need no key and do one thing.
func TestTransfers(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	const a, file, rows = "/v1/accounts/main", "in memory.jsonl", `{"samples":[]}`
	announce := fmt.Sprintf(`{"filenameToSize":{%q:"%d"}}`, file, len(rows))
	create := func(id, dataset string) {
		if status, _, text := f.do("main/carl", "POST", a+"/datasets", fmt.Sprintf(`{"datasetId":%q,"dataset":%s}`, id, dataset)); status != 200 {
			t.Fatal(status, text)
		}
	}
	create("d", "{}")
	create("b", `{"externalUrl":"s3://bucket/rows.jsonl"}`)

	for body, contains := range map[string]string{
		`{}`: "1 to 256 files", `{"filenameToSize":{"a/b":"1"}}`: "without directories", `{"filenameToSize":{"..":"1"}}`: "without directories", `{"filenameToSize":{"a":"0"}}`: "1 byte", `{"filenameToSize":{"a":"999999999999"}}`: "150 MiB",
		`{"filenameToSize":{"":"1"}}`: "file names", `{"filenameToSize":{"a":"x"}}`: "filenameToSize",
	} {
		if status, _, text := f.do("main/carl", "POST", a+"/datasets/d:getUploadEndpoint", body); status != 400 || !strings.Contains(text, contains) {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
	if status, _, text := f.do("main/carl", "POST", a+"/datasets/b:getUploadEndpoint", announce); status != 400 || !strings.Contains(text, "bucket") {
		t.Errorf("an upload to a bucket dataset: %d %s", status, text)
	}
	if status, _, text := f.do("main/carl", "GET", a+"/datasets/d:getDownloadEndpoint", ""); status != 400 || !strings.Contains(text, "no rows") {
		t.Errorf("a download of nothing: %d %s", status, text)
	}

	put := f.signedURL("main/carl", "POST", a+"/datasets/d:getUploadEndpoint", announce, file)
	for name, c := range map[string]struct {
		method, url, body string
		status            int
	}{
		"longer": {"PUT", put, rows + "x", 400}, "shorter": {"PUT", put, rows[1:], 400}, "read": {"GET", put, "", 403},
		"altered": {"PUT", put[:len(put)-4] + "AAAA", rows, 403}, "cut": {"PUT", put[:len(put)-4], rows, 403}, "nothing": {"PUT", f.http.URL + "/v1/transfers/x", rows, 403},
		"endless": {"PUT", f.http.URL + "/v1/transfers/" + strings.Repeat("A", 4000), rows, 403},
	} {
		if status, text := raw(t, c.method, c.url, c.body); status != c.status {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if d, err := f.db.Dataset(ctx, "main", "d"); err != nil || d.Uploaded {
		t.Fatalf("a refused file was taken: %+v %v", d, err)
	}
	// Chunked, without a length ahead: the announced size is what counts.
	for body, want := range map[string]int{rows[1:]: 400, rows + "x": 400, rows: 200} {
		req, err := http.NewRequest("PUT", put, io.MultiReader(strings.NewReader(body)))
		must(t, err)
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%q in chunks: %d, want %d", body, resp.StatusCode, want)
		}
	}
	if status, text := raw(t, "PUT", put, rows); status != 200 || text != "" {
		t.Errorf("once more: %d %s", status, text)
	}
	p, err := f.db.ListJobs(ctx, "main", store.JobValidation, store.ListOptions{})
	must(t, err)
	if len(p.Items) != 3 { // of b, and of d twice
		t.Errorf("%d validations are queued", len(p.Items))
	}

	// What lies in a bucket never comes through here.
	status, text := raw(t, "GET", f.signedURL("main/carl", "GET", a+"/datasets/b:getDownloadEndpoint", "", "b.jsonl"), "")
	if status != 200 || text != "" {
		t.Errorf("the download of a bucket dataset: %d %q", status, text)
	}

	// The URL is as good as the key that asked for it.
	id, err := seal.ParseAPIKey(f.keys["main/carl"])
	must(t, err)
	must(t, f.db.DeleteAPIKey(ctx, "main", "carl", id, store.Act{}))
	if status, text := raw(t, "PUT", put, rows); status != 401 {
		t.Errorf("with a key that was revoked: %d %s", status, text)
	}
	if logs := f.logs.String(); strings.Contains(logs, put[len(put)-40:]) || strings.Contains(logs, "samples") {
		t.Error("the log holds a signed URL, or rows")
	}
}

// TestTransfersExpire: a URL is of no use later, nor for a dataset made anew.
func TestTransfersExpire(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	const a = "/v1/accounts/main"
	if status, _, text := f.do("main/carl", "POST", a+"/datasets", `{"datasetId":"d"}`); status != 200 {
		t.Fatal(status, text)
	}
	url := func() string {
		return f.signedURL("main/carl", "POST", a+"/datasets/d:getUploadEndpoint", `{"filenameToSize":{"f":"1"}}`, "f")
	}
	now := time.Now()
	f.world.Control.Clock = func() time.Time { return now }
	put := url()
	now = now.Add(2 * time.Hour)
	if status, _ := raw(t, "PUT", put, "x"); status != 403 {
		t.Errorf("two hours later: %d", status)
	}
	put = url()
	_, _, err := f.db.DeleteDataset(ctx, "main", "d", store.Act{})
	must(t, err)
	if status, text := raw(t, "PUT", put, "x"); status != 404 {
		t.Errorf("a deleted dataset: %d %s", status, text)
	}
	if status, _, text := f.do("main/carl", "POST", a+"/datasets", `{"datasetId":"d"}`); status != 200 {
		t.Fatal(status, text)
	}
	if status, text := raw(t, "PUT", put, "x"); status != 404 {
		t.Errorf("a dataset made anew: %d %s", status, text)
	}
}

// TestSeveralFiles: the files of an upload are announced together; the last of
// them queues the validation, in the order of names, and a new announcement makes
// the URLs of the one before useless.
func TestSeveralFiles(t *testing.T) {
	f := newFixture(t)
	const a = "/v1/accounts/main/datasets"
	if status, _, text := f.do("main/carl", "POST", a, `{"datasetId":"d"}`); status != 200 {
		t.Fatal(status, text)
	}
	announce := func(files string) map[string]string {
		t.Helper()
		status, _, text := f.do("main/carl", "POST", a+"/d:getUploadEndpoint", `{"filenameToSize":`+files+`}`)
		var out struct {
			URLs map[string]string `json:"filenameToSignedUrls"`
		}
		if status != 200 || json.Unmarshal([]byte(text), &out) != nil {
			t.Fatal(status, text)
		}
		return out.URLs
	}
	validations := func() int {
		p, err := f.db.ListJobs(t.Context(), "main", store.JobValidation, store.ListOptions{})
		must(t, err)
		n := 0
		for _, j := range p.Items {
			if !j.State.Terminal() {
				n++
			}
		}
		return n
	}
	first := announce(`{"b":"2","a":"1"}`)
	if again := announce(`{"a":"1","b":"2"}`); len(again) != 2 {
		t.Errorf("announced twice: %v", again)
	}
	if status, text := raw(t, "PUT", first["b"], "bb"); status != 200 {
		t.Errorf("the same announcement once more: %d %s", status, text)
	}
	if n := validations(); n != 0 {
		t.Errorf("%d validations before the last file", n)
	}
	second := announce(`{"a":"1","c":"3"}`)
	if status, text := raw(t, "PUT", first["a"], "a"); status != 400 || !strings.Contains(text, "announced anew") {
		t.Errorf("a file of a replaced announcement: %d %s", status, text)
	}
	for _, c := range []struct{ file, body string }{{"c", "ccc"}, {"a", "a"}} {
		if status, text := raw(t, "PUT", second[c.file], c.body); status != 200 {
			t.Errorf("%s: %d %s", c.file, status, text)
		}
	}
	d, err := f.db.Dataset(t.Context(), "main", "d")
	must(t, err)
	_, objects, err := f.db.DatasetByUID(t.Context(), d.UID)
	must(t, err)
	if len(objects) != 2 || objects[0].Pin.Size != 1 || objects[1].Pin.Size != 3 || !d.Uploaded || validations() != 1 {
		t.Errorf("%+v, uploaded %v, %d validations", objects, d.Uploaded, validations())
	}
	for _, file := range f.world.Files() {
		b, err := os.ReadFile(file)
		must(t, err)
		if bytes.Contains(b, []byte("ccc")) {
			t.Errorf("%s holds the rows in the clear", file)
		}
	}
}

// TestDownloadsAskThePolicy: an adapter leaves by URL where it may leave at all.
func TestDownloadsAskThePolicy(t *testing.T) {
	f := newFixture(t)
	_, err := f.db.CreateModel(t.Context(), store.Model{Account: "main", ID: "lora", Kind: store.KindAdapter, State: store.StateReady, Status: store.OK(), BaseModel: "accounts/main/models/base"}, nil, store.Act{})
	must(t, err)
	const path = "/v1/accounts/main/models/lora:getDownloadEndpoint"
	for policy, want := range map[string]string{`{"destinations":["s3://ours/"]}`: "does not allow exports", `{"destinations":["s3://ours/"],"requireApproval":true}`: "does not allow exports"} {
		if status, _, text := f.do("main/admin", "PUT", "/v1/accounts/main/modelPolicy", policy); status != 200 {
			t.Fatal(status, text)
		}
		if status, _, text := f.do("main/admin", "GET", path, ""); status < 400 || !strings.Contains(text, want) {
			t.Errorf("under %s: %d %s", policy, status, text)
		}
	}
	if status, _, _ := f.do("main/carl", "GET", path, ""); status != 403 {
		t.Errorf("a contributor: %d", status)
	}
}

// TestImportFromABucket: a model that waits for its files takes them from where they
// lie, by the account's connections and no other credentials.
func TestImportFromABucket(t *testing.T) {
	f := newFixture(t)
	const a = "/v1/accounts/main/models"
	for _, id := range []string{"m", "n", "o"} {
		if s, _, text := f.do("main/ann", "POST", a, `{"modelId":"`+id+`"}`); s != 200 {
			t.Fatal(s, text)
		}
	}
	for _, c := range []struct {
		id, body string
		status   int
		contains string
	}{
		{"m", `{}`, 400, "name one of them"},
		{"m", `{"awsS3Source":{"s3Bucket":"b-1"},"azureBlobSource":{}}`, 400, "name one of them"},
		{"m", `{"awsS3Source":{"s3Bucket":"b-1","accessSecret":"planted"}}`, 400, "awsS3Source.accessSecret: an import reads with the credentials of the account's connections"},
		{"m", `{"aws_s3_source":{"s3_bucket":"b-1","role_arn":"planted"}}`, 400, "awsS3Source.roleArn: "},
		{"m", `{"azureBlobSource":{"storageAccount":"acc","container":"c","sasTokenSecret":"planted"}}`, 400, "azureBlobSource.sasTokenSecret: "},
		{"m", `{"awsS3Source":{"s3Bucket":"../x"}}`, 400, "awsS3Source: "},
		{"base", `{"awsS3Source":{"s3Bucket":"b-1"}}`, 400, "takes no import"},
		{"none", `{"awsS3Source":{"s3Bucket":"b-1"}}`, 404, "models/none"},
		{"m", `{"awsS3Source":{"s3Bucket":"b-1","s3Path":"models/x"}}`, 200, `"kind":"import"`},
		{"m", `{"awsS3Source":{"s3Bucket":"b-1","s3Path":"elsewhere"}}`, 400, "is imported from s3://b-1/models/x/"},
		{"n", `{"awsS3Source":{"s3Bucket":"b-1","s3Path":"/x.gguf"}}`, 200, `"target":"accounts/main/models/n"`},
		{"o", `{"azureBlobSource":{"storageAccount":"acc","container":"cont","path":"m"}}`, 200, `"done":false`},
	} {
		if s, _, text := f.do("main/ann", "POST", a+"/"+c.id+":import", c.body); s != c.status || !strings.Contains(text, c.contains) || strings.Contains(text, "planted") {
			t.Errorf("%s %s: %d %s", c.id, c.body, s, text)
		}
	}
	for id, want := range map[string]string{"m": "s3://b-1/models/x/", "n": "s3://b-1/x.gguf", "o": "https://acc.blob.core.windows.net/cont/m/"} {
		jobs, err := f.db.ListJobs(t.Context(), "main", store.JobImport, store.ListOptions{Filter: []store.Term{{Field: "output_model", Op: "=", Value: "accounts/main/models/" + id}}})
		must(t, err)
		m, err := f.db.Model(t.Context(), "main", id)
		must(t, err)
		if len(jobs.Items) != 1 || !strings.Contains(string(jobs.Items[0].Spec), want) || m.ImportedFrom != want {
			t.Errorf("%s: %+v", id, jobs.Items)
		}
	}
	if s, _, text := f.do("main/ann", "POST", a+"/m:getUploadEndpoint", `{"filenameToSize":{"x.gguf":"3"}}`); s != 400 {
		t.Errorf("an upload for a model that is imported: %d %s", s, text)
	}
	if strings.Contains(f.logs.String(), "planted") {
		t.Error("a credential is in the log")
	}
}

// TestUploadsShareTheRoom: of files that come at the same instant, and each of which
// would fit, as many are stored as the account has room for.
func TestUploadsShareTheRoom(t *testing.T) {
	f := newFixture(t)
	u, err := f.db.AccountUsage(t.Context(), "main")
	must(t, err)
	const a, n = "/v1/accounts/main", 8
	text := strings.Repeat("x", 1000)
	var urls []string
	for i := range n {
		id := fmt.Sprintf("d%d", i)
		as[api.Dataset](t, f, "main/admin", "POST", a+"/datasets", fmt.Sprintf(`{"datasetId":%q}`, id))
		urls = append(urls, f.signedURL("main/admin", "POST", a+"/datasets/"+id+":getUploadEndpoint", `{"filenameToSize":{"f":"1000"}}`, "f"))
	}
	_, err = f.db.SetQuota(t.Context(), "main", authz.QuotaStorage, func(q store.Quota) store.Quota { q.Value = u.Bytes + 2500; return q }, store.Act{})
	must(t, err)
	var stored atomic.Int64
	var all sync.WaitGroup
	for _, url := range urls {
		all.Go(func() {
			switch status, answer := raw(t, "PUT", url, text); {
			case status == 200:
				stored.Add(1)
			case status != 429 || !strings.Contains(answer, authz.QuotaStorage):
				t.Errorf("%d %s", status, answer)
			}
		})
	}
	all.Wait()
	if stored.Load() != 2 {
		t.Errorf("%d files have the room of two", stored.Load())
	}
}
