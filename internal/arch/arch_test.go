// Package arch holds no code: its tests keep the floors of ARCHITECTURE.md.
package arch

import (
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/firekeep/firekeep/"

// floors maps a package tree to its floor. A package may import lower floors
// and its own tree, nothing else of ours.
var floors = map[string]int{
	"api": 0, "internal/rft": 0, "internal/seal": 0, "internal/engine": 0,
	"internal/wire": 1, "internal/objstore": 1, "internal/kms": 1,
	"internal/store": 2, "internal/sandbox": 2, "internal/child": 2,
	"internal/audit": 3, "internal/broker": 3, "internal/custody": 3,
	"internal/authz": 4, "internal/identity": 4, "internal/provenance": 4,
	"internal/catalog": 5,
	"internal/job":     6, "internal/serving": 6,
	"internal/control": 7,
	"internal/server":  8, "internal/runner": 8, "internal/backup": 8,
	"internal/cli": 9,
	"cmd/firekeep": 10, "cmd/firekeep-engine": 10, "cmd/firekeep-stage": 10,
	"internal/arch": 11, "internal/e2e": 11, "bench": 11, "scripts": 11,
}

// engineFloors orders the rooms of the numeric island. They may also import
// package engine itself.
var engineFloors = map[string]int{
	"kernel": 1, "tensorfile": 2, "token": 2, "rows": 3, "model": 4, "optim": 5, "rl": 5, "sample": 6, "train": 6,
}

// forbidden lists single links that no floor forbids, with the reason.
var forbidden = []struct{ from, to, reason string }{
	{"internal/engine", "net", "the engine computes; it reaches nothing"},
	{"internal/engine", "os/exec", "the engine starts no program"},
	{"internal/engine", "os", "the engine gets bytes and descriptors, never a path"},
	{"internal/rft", "os", "nouns are pure"},
	{"internal/rft", "time", "nouns have no clock"},
	{"internal/server", "internal/store", "a skin holds no logic: it calls control"},
	{"internal/cli", "database/sql", "the CLI speaks the HTTP API"},
	{"internal/catalog", "internal/broker", "the catalog keeps records; the runner runs children"},
	{"internal/control", "internal/sandbox", "operations queue jobs; the runner starts children"},
}

// engineMayNotLink is what cmd/firekeep-engine must not even contain.
var engineMayNotLink = map[string]string{
	"net": "no network", "net/http": "no network", "crypto/tls": "no network", "os/exec": "starts no program",
	"database/sql": "no database", "plugin": "loads no code", "encoding/gob": "decodes no foreign types",
	"internal/objstore": "holds no credential", "internal/store": "no database", "internal/seal": "holds no key", "internal/kms": "holds no key", "internal/custody": "holds no key",
	"internal/identity": "holds no credential", "internal/broker": "is the other side of the wall",
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func tree(pkg string) (string, int, bool) {
	for p := strings.TrimPrefix(pkg, module); p != "."; p = path.Dir(p) {
		if f, ok := floors[p]; ok {
			return p, f, true
		}
	}
	return "", 0, false
}

func within(pkg, dir string) bool {
	pkg = strings.TrimPrefix(pkg, module)
	return pkg == dir || strings.HasPrefix(pkg, dir+"/")
}

func TestFloors(t *testing.T) {
	for _, line := range goList(t, "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...") {
		fields := strings.Fields(line)
		from, ff, ok := tree(fields[0])
		if !ok {
			t.Errorf("%s stands on no floor; add it to floors", fields[0])
			continue
		}
		for _, imp := range fields[1:] {
			if to, ft, ok := tree(imp); ok && to != from && ft >= ff {
				t.Errorf("%s (floor %d) imports %s (floor %d)", fields[0], ff, imp, ft)
			}
			for _, f := range forbidden {
				if within(fields[0], f.from) && (imp == f.to || imp == module+f.to) {
					t.Errorf("%s imports %s: %s", fields[0], imp, f.reason)
				}
			}
		}
	}
}

func TestEngineRooms(t *testing.T) {
	prefix := module + "internal/engine/"
	room := func(pkg string) (string, bool) {
		rest, ok := strings.CutPrefix(pkg, prefix)
		name, _, _ := strings.Cut(rest, "/")
		return name, ok
	}
	for _, line := range goList(t, "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./internal/engine/...") {
		fields := strings.Fields(line)
		from, ok := room(fields[0])
		if !ok {
			continue
		}
		ff, known := engineFloors[from]
		if !known {
			t.Errorf("room %s stands on no floor of the engine", from)
		}
		for _, imp := range fields[1:] {
			if to, ok := room(imp); ok && to != from && engineFloors[to] >= ff {
				t.Errorf("engine room %s imports %s", from, to)
			}
		}
	}
}

// TestStageIsSmall: whatever the stage links, every child waits for.
func TestStageIsSmall(t *testing.T) {
	may := []string{"cmd/firekeep-stage", "internal/rft", "internal/sandbox", "internal/sandbox/seccomp"}
	n := 0
	for _, dep := range goList(t, "-deps", "./cmd/firekeep-stage") {
		own, ours := strings.CutPrefix(dep, module)
		foreign := strings.Contains(dep, ".") && strings.Contains(dep, "/") && !strings.HasPrefix(dep, "golang.org/x/") && !strings.HasPrefix(dep, "crypto/") && !strings.HasPrefix(dep, "vendor/")
		if ours && !slices.Contains(may, own) || !ours && foreign || dep == "net/http" || dep == "crypto/tls" {
			t.Errorf("cmd/firekeep-stage links %s: every start of a child initialises it", dep)
		}
		if ours {
			n++
		}
	}
	if n != len(may) {
		t.Errorf("cmd/firekeep-stage links %d packages of ours, want %d: this test looks at the wrong program", n, len(may))
	}
}

func TestEngineHasNoReach(t *testing.T) {
	deps := goList(t, "-deps", "./cmd/firekeep-engine")
	for _, dep := range deps {
		if reason, bad := engineMayNotLink[strings.TrimPrefix(dep, module)]; bad {
			t.Errorf("cmd/firekeep-engine links %s: it %s", dep, reason)
		}
	}
	if !slices.Contains(deps, module+"internal/engine/train") {
		t.Error("cmd/firekeep-engine does not link the trainer: this test looks at the wrong program")
	}
}

// TestProductLinksNoTestCode: doubles and testing helpers stay out of the binary.
func TestProductLinksNoTestCode(t *testing.T) {
	for _, dep := range goList(t, "-deps", "./cmd/firekeep") {
		switch {
		case dep == "testing", strings.HasSuffix(dep, "test") && strings.HasPrefix(dep, module):
			t.Errorf("cmd/firekeep links %s", dep)
		}
	}
}
