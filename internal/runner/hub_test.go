package runner_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/e2e/tiny"
	"github.com/firekeep/firekeep/internal/rft"
)

// TestImportFromHub: hf:// reads the files of one commit, and only those that a
// model needs.
func TestImportFromHub(t *testing.T) {
	h := newHome(t)
	dir := filepath.Join(h.dir, "customer", "tiny")
	if err := tiny.Write(dir, tiny.Default, 1); err != nil {
		t.Fatal(err)
	}
	const commit = "0123456789abcdef0123456789abcdef01234567"
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch file, ok := strings.CutPrefix(r.URL.Path, "/org/tiny/resolve/"+commit+"/"); {
		case r.URL.Path == "/api/models/org/tiny":
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Error(err)
			}
			list := []map[string]string{{"rfilename": "pytorch_model.bin"}, {"rfilename": "onnx/model.onnx"}, {"rfilename": "../../etc/passwd"}, {"rfilename": ".gitattributes"}}
			for _, e := range entries {
				list = append(list, map[string]string{"rfilename": e.Name()})
			}
			json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": list})
		case ok && !strings.Contains(file, "/") && !strings.HasSuffix(file, ".bin"):
			http.ServeFile(w, r, filepath.Join(dir, file))
		case r.URL.Path == "/api/models/org/none":
			http.NotFound(w, r)
		default:
			t.Errorf("the hub was asked for %s", r.URL.Path)
			http.Error(w, "no", http.StatusForbidden)
		}
	}))
	t.Cleanup(hub.Close)
	h.config.HubURL = hub.URL + "/"
	h.run(t)
	m, j, err := h.catalog.ImportModel(t.Context(), catalog.NewImport{Account: "main", ID: "from-hub", Source: "hf://org/tiny"}, act)
	if err != nil {
		t.Fatal(err)
	}
	h.wait(t, j.UID)
	if m, err = h.db.Model(t.Context(), "main", m.ID); err != nil || !strings.Contains(string(m.Config), `"org/tiny"`) {
		t.Errorf("%s, %v", m.Config, err)
	}
	_, j, err = h.catalog.ImportModel(t.Context(), catalog.NewImport{Account: "main", ID: "none", Source: "hf://org/none"}, act)
	if err != nil {
		t.Fatal(err)
	}
	if got := h.end(t, j.UID); got.State != rft.StateFailed || got.Status.Code != "NOT_FOUND" {
		t.Errorf("%s %+v", got.State, got.Status)
	}
	for _, bad := range []string{"hf://org", "hf://org/a/b", "hf://org/..", "hf://org/a?x", "http://x/y", "gopher://x/y"} {
		if _, _, err := h.catalog.ImportModel(t.Context(), catalog.NewImport{Account: "main", ID: "bad", Source: bad}, act); rft.KindOf(err) != rft.KindInvalidArgument {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
