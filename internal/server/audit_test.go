package server

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/audit"
)

// newAuditFixture is a server with a log.
func newAuditFixture(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	l, err := audit.Start(t.Context(), audit.Config{DB: f.db, KEK: f.world.Control.KEK, Dir: filepath.Join(t.TempDir(), "audit")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	f.world.Control.Audit = l
	return f
}

// auditLogs lists with a query and returns the page.
func (f *fixture) auditLogs(as, account, query string) api.AuditLogList {
	f.t.Helper()
	status, _, body := f.do(as, "GET", "/v1/accounts/"+account+"/auditLogs?"+query, "")
	var list api.AuditLogList
	if err := json.Unmarshal([]byte(body), &list); status != http.StatusOK || err != nil {
		f.t.Fatalf("%s: %d %s", query, status, body)
	}
	return list
}

func TestAuditLogList(t *testing.T) {
	f := newAuditFixture(t)
	for _, name := range []string{"one", "two", "three"} {
		if status, _, body := f.do("main/admin", "POST", "/v1/accounts/main/users/admin/apiKeys", `{"apiKey":{"displayName":"`+name+`"}}`); status != http.StatusOK {
			t.Fatal(body)
		}
	}
	page := f.auditLogs("main/admin", "main", "filter="+url.QueryEscape(`event_type="CreateApiKey" AND resource:"apiKeys"`)+"&pageSize=2")
	if len(page.AuditLogs) != 2 || page.NextPageToken == "" || page.TotalSize != 0 {
		t.Fatalf("page %+v", page)
	}
	e := page.AuditLogs[0]
	if e.Method != "CreateApiKey" || e.Status.Code != "OK" || e.PrincipalKind != "user" || !e.IsAdminAction || e.ClientIP != "127.0.0.1" || e.APIKeyID == "" ||
		!strings.HasPrefix(e.Resource, "accounts/main/users/admin/apiKeys/") || e.Decision != "allow" || e.Policy == "" || e.Payload["keyId"] == "" {
		t.Errorf("entry %+v", e)
	}
	if page.AuditLogs[1].ID >= e.ID && len(page.AuditLogs[1].ID) >= len(e.ID) {
		t.Error("the newest is not first")
	}
	rest := f.auditLogs("main/admin", "main", "filter="+url.QueryEscape(`event_type="CreateApiKey" AND resource:"apiKeys"`)+"&pageSize=2&pageToken="+page.NextPageToken)
	if len(rest.AuditLogs) != 1 || rest.NextPageToken != "" {
		t.Errorf("the second page %+v", rest)
	}
	if got := f.auditLogs("main/admin", "main", ""); len(got.AuditLogs) > 10 {
		t.Errorf("%d entries without a page size", len(got.AuditLogs))
	}
	if got := f.auditLogs("main/admin", "main", "endTime=2020-01-01T00:00:00Z&startTime=2019-01-01T00:00:00Z"); len(got.AuditLogs) != 0 {
		t.Errorf("%d entries before time began", len(got.AuditLogs))
	}
	for _, c := range []struct {
		as, account, query string
		status             int
	}{
		{"main/admin", "main", "startTime=yesterday", 400},
		{"main/admin", "main", "filter=" + url.QueryEscape("nothing=1"), 400},
		{"main/admin", "main", "pageToken=" + page.NextPageToken, 400}, // of another query
		{"main/admin", "acme", "", 404},
		{"main/admin", "-", "", 404},
		{"", "main", "", 401},
	} {
		if status, _, body := f.do(c.as, "GET", "/v1/accounts/"+c.account+"/auditLogs?"+c.query, ""); status != c.status {
			t.Errorf("%+v: %d %s", c, status, body)
		}
	}
}

// TestAuditExportVerifies: what the API gives out verifies offline, against the
// key and the head that it gave out before.
func TestAuditExportVerifies(t *testing.T) {
	f := newAuditFixture(t)
	if status, _, body := f.do("main/admin", "POST", "/v1/accounts/main/users/admin/apiKeys", `{}`); status != http.StatusOK {
		t.Fatal(body)
	}
	var head api.AuditHead
	for end := time.Now().Add(20 * time.Second); head.Size == 0; {
		_, _, body := f.do("main/admin", "GET", "/v1/accounts/main/auditLogs:head", "")
		if err := json.Unmarshal([]byte(body), &head); err != nil || time.Now().After(end) {
			t.Fatalf("%s, %v", body, err)
		}
	}
	status, _, body := f.do("main/admin", "GET", "/v1/accounts/main/auditLogs:export?format=bundle", "")
	if status != http.StatusOK {
		t.Fatal(body)
	}
	path := filepath.Join(t.TempDir(), "b.jsonl")
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := audit.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	key, err := audit.ParseKey(head.Key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := audit.Verify(t.Context(), src, key, []byte(head.Head))
	if err != nil || !r.OK() || r.Size < head.Size {
		t.Errorf("%+v, %v", r, err)
	}
	for format, want := range map[string]int{"jsonl": 200, "ocsf": 200, "xml": 400} {
		status, _, body := f.do("main/admin", "GET", "/v1/accounts/main/auditLogs:export?format="+format, "")
		if status != want || want == 200 && !strings.Contains(body, "ExportAuditLogs") {
			t.Errorf("%s: %d %.200s", format, status, body)
		}
	}
}

// TestAuditFollow: a stream brings what is there and what comes.
func TestAuditFollow(t *testing.T) {
	f := newAuditFixture(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", f.http.URL+"/v1/accounts/main/auditLogs:follow", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.keys["main/admin"])
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%v, %v", resp, err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	until := func(what string) {
		t.Helper()
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "data: ") && strings.Contains(lines.Text(), what) {
				return
			}
		}
		t.Fatalf("the stream ended before %s: %v", what, lines.Err())
	}
	until("FollowAuditLogs") // its own beginning
	if status, _, body := f.do("main/admin", "POST", "/v1/accounts/main/users/admin/apiKeys", `{}`); status != http.StatusOK {
		t.Fatal(body)
	}
	until("CreateApiKey")
	for query, want := range map[string]int{"format=bundle": 400, "after=-1": 400, "after=99999": 400} {
		if status, _, body := f.do("main/admin", "GET", "/v1/accounts/main/auditLogs:follow?"+query, ""); status != want {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
}

// TestSensitiveActsFailClosed: while the log cannot be written nothing that must
// be logged happens, and reading goes on.
func TestSensitiveActsFailClosed(t *testing.T) {
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "audit")
	l, err := audit.Start(t.Context(), audit.Config{DB: f.db, KEK: f.world.Control.KEK, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	f.world.Control.Audit = l
	const keys = "/v1/accounts/main/users/admin/apiKeys"
	if status, _, body := f.do("main/admin", "POST", keys, `{}`); status != http.StatusOK {
		t.Fatal(body)
	}
	before := len(f.auditLogs("main/admin", "main", "pageSize=200").AuditLogs)
	// Moved, not removed: the log writes there at any moment.
	if err := os.Rename(filepath.Join(dir, "log", ".state"), filepath.Join(t.TempDir(), "gone")); err != nil {
		t.Fatal(err)
	}
	for i := range 2 { // the first may find out only while it waits
		if status, _, body := f.do("main/admin", "POST", keys, `{}`); status != http.StatusServiceUnavailable || strings.Contains(body, `"key"`) {
			t.Errorf("try %d: %d %s", i, status, body)
		}
	}
	for _, path := range []string{"/v1/accounts/main/datasets", "/v1/accounts/main/models/base", keys} {
		if status, _, body := f.do("main/admin", "GET", path, ""); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if after := len(f.auditLogs("main/admin", "main", "pageSize=200").AuditLogs); after > before+1 {
		t.Errorf("%d keys were made that nobody logged", after-before)
	}
}
