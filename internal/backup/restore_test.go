package backup

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/rft"
)

func TestManifestRefused(t *testing.T) {
	for name, files := range map[string][]File{
		"no database":       {{Name: "config.json"}},
		"out of the home":   {{Name: database}, {Name: "bucket/../../etc/passwd"}},
		"absolute":          {{Name: database}, {Name: "/bucket/x"}},
		"a key":             {{Name: database}, {Name: "keyring.json"}},
		"a key in a tree":   {{Name: database}, {Name: "keys/x"}},
		"not clean":         {{Name: database}, {Name: "bucket//x"}},
		"twice":             {{Name: database}, {Name: "bucket/x"}, {Name: "bucket/x"}},
		"negative":          {{Name: database}, {Name: "bucket/x", Size: -1}},
		"endless":           {{Name: database}, {Name: "bucket/" + strings.Repeat("x", 2000)}},
		"the journal alone": {{Name: database}, {Name: database + "-wal"}},
	} {
		raw, err := json.Marshal(Manifest{Format: format, Files: files})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseManifest(raw); rft.KindOf(err) != rft.KindDataLoss {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseManifest([]byte(`{"format":"firekeep-backup/2"}`)); rft.KindOf(err) != rft.KindUnimplemented {
		t.Errorf("a later format: %v", err)
	}
}

// FuzzManifest: whatever a manifest says, the names that pass stay below the home.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"format":"firekeep-backup/1","files":[{"name":"firekeep.db","size":1,"sha256":"00"},{"name":"bucket/a/b","size":1}]}`))
	f.Add([]byte(`{"format":"firekeep-backup/1","files":[{"name":"firekeep.db"},{"name":"bucket/..\\..\\x"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parseManifest(raw)
		if err != nil {
			return
		}
		for _, x := range m.Files {
			if rel, err := filepath.Rel("/home", filepath.Join("/home", filepath.FromSlash(x.Name))); err != nil || strings.HasPrefix(rel, "..") || rel == "." {
				t.Errorf("%q leads out", x.Name)
			}
		}
	})
}
