package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDownloadStaysInside: a server's file names cannot leave the directory, its
// URLs are asked without the key, and a file that ends early is no file.
func TestDownloadStaysInside(t *testing.T) {
	var sent []string
	files := map[string]string{}
	body, length := "rows", ""
	mux := http.NewServeMux()
	mux.HandleFunc("/verifyApiKey", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Fireworks-Account-Id", "main") })
	mux.HandleFunc("/v1/accounts/main/datasets/d:getDownloadEndpoint", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"filenameToSignedUrls": files})
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		sent = append(sent, r.Header.Get("Authorization"))
		if length != "" {
			w.Header().Set("Content-Length", length)
		}
		_, _ = w.Write([]byte(body))
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	p, env := somebody{t.TempDir()}, map[string]string{"FIREKEEP_BASE_URL": s.URL, "FIREKEEP_API_KEY": "fk_x"}
	to := filepath.Join(p.home, "to")
	for _, name := range []string{"../out", "/etc/x", "a/../../out", "..", "a\x1b[2J", ""} {
		files = map[string]string{name: s.URL + "/file"}
		if code, _, errs := p.run(env, "", "dataset", "download", "d", to); code != 11 || strings.ContainsRune(errs, 0x1b) {
			t.Errorf("%q: exit code %d: %q", name, code, errs)
		}
	}
	if len(sent) > 0 {
		t.Errorf("a file was read: %q", sent)
	}
	files = map[string]string{"rows.jsonl": s.URL + "/file"}
	if code, _, errs := p.run(env, "", "dataset", "download", "d", to); code != 0 {
		t.Error(errs)
	}
	if b, _ := os.ReadFile(filepath.Join(to, "rows.jsonl")); string(b) != body {
		t.Errorf("got %q", b)
	}
	for _, key := range sent {
		if key != "" {
			t.Errorf("a signed URL was asked with %q", key)
		}
	}
	length, files = "100", map[string]string{"more.jsonl": s.URL + "/file"}
	if code, _, _ := p.run(env, "", "dataset", "download", "d", to); code == 0 {
		t.Error("a file that ended early was taken")
	}
	if left, _ := filepath.Glob(filepath.Join(to, "*more*")); left != nil {
		t.Errorf("left %q", left)
	}
	if left, _ := filepath.Glob(filepath.Join(to, ".*")); left != nil {
		t.Errorf("left %q", left)
	}
}
