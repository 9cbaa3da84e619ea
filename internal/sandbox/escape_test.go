//go:build linux

package sandbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/sandbox/escapetest"
)

var update = flag.Bool("update", false, "write docs/escape-suite.md")

// tried is what became of one attempt.
type tried struct {
	Name    string
	Inside  string // the sandbox whole
	Behind  string // without the filter; "" = not tried
	Outside string // no sandbox at all
}

// refused reports whether the attempt did not get through.
func refused(verdict string) bool { return verdict != escapetest.Passed }

// endedByFilter is the verdict about a child that the filter ended.
const endedByFilter = "ended by the filter"

// TestEscape makes every attempt of escapetest as this user: inside, where it
// must fail; inside without the filter, where it must fail too unless the filter
// is its only wall; and outside, where it must succeed unless the host cannot
// do it, so that the failures mean something.
func TestEscape(t *testing.T) {
	root := os.Geteuid() == 0
	all := attempts(t)
	proven := 0
	for _, got := range all {
		a, _ := escapetest.Find(got.Name)
		if !refused(got.Inside) {
			t.Errorf("ESCAPED: %s (%s)", a.Name, a.What)
		}
		if got.Behind != "" && !refused(got.Behind) {
			t.Errorf("%s (%s) has no second wall: it passes without the filter", a.Name, a.What)
		}
		switch {
		case !refused(got.Outside):
			proven++
		case escapetest.Lacking(got.Outside):
		case a.Root && !root && (got.Outside == "EPERM" || got.Outside == "EACCES"):
		default:
			t.Errorf("%s does not pass outside either: %s", a.Name, got.Outside)
		}
	}
	least := 60
	if len(all) < least || proven < least {
		t.Errorf("%d attempts, %d of them pass outside; want at least %d", len(all), proven, least)
	}
	t.Logf("%d attempts, %d pass outside, 0 inside", len(all), proven)
	if path := os.Getenv("FIREKEEP_TEST_RESULTS"); path != "" {
		b, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// attempts makes all of them once and keeps the answer: TestEscapeTable needs it
// again.
func attempts(t *testing.T) []tried {
	t.Helper()
	if escapes != nil {
		return escapes
	}
	s := newStage(t)
	whole, behind := product(), sandbox.Without(preparer, sandbox.LayerSeccomp)
	all := escapetest.All()
	got := make([]tried, len(all))
	t.Run("attempts", func(t *testing.T) { // returns when the last one has
		for i, a := range all {
			t.Run(a.Name, func(t *testing.T) {
				t.Parallel()
				got[i] = tried{Name: a.Name, Inside: s.inside(t, whole, a.Name), Outside: s.outside(t, a.Name)}
				if !a.FilterOnly && os.Geteuid() == 0 {
					got[i].Behind = s.inside(t, behind, a.Name)
				}
			})
		}
	})
	escapes = got
	return escapes
}

var escapes []tried

// inside makes one attempt in the sandbox.
func (s *stage) inside(t *testing.T, l sandbox.Launcher, name string) string {
	t.Helper()
	props := s.props(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := l.Start(context.Background(), sandbox.Spec{
		Name: "escape", Program: probe, Args: []string{"probe", "escape", name, s.json}, Env: []string{"HOME=/"}, Stdout: w, Stderr: w, Files: props,
		Limits: sandbox.Limits{MemoryBytes: escapetest.LimitMemory, Threads: escapetest.LimitThreads, OpenFiles: escapetest.LimitFiles, FileBytes: escapetest.LimitFile},
	})
	w.Close()
	if err != nil {
		t.Fatalf("start: %v (%v)", err, cause(err))
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return verdict(string(out), p.Wait())
}

// verdict is what the child said, or how it ended.
func verdict(out string, exit sandbox.Exit) string {
	switch {
	case exit.OK():
		return strings.TrimSpace(out)
	case exit.Signal == "bad system call":
		return endedByFilter
	case exit.OOM:
		return "ended at its memory limit"
	case exit.Signal != "":
		return "ended: " + exit.Signal
	}
	return fmt.Sprintf("ended with code %d", exit.Code)
}

// outside makes the same attempt, by the same program, in no sandbox.
func (s *stage) outside(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.Command(probePath, "escape", name, s.json)
	cmd.Env = []string{"HOME=/", "SECRET=" + escapetest.Treasure}
	cmd.ExtraFiles = s.props(t)
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	if err != nil {
		return fmt.Sprint("ended: ", err)
	}
	return strings.TrimSpace(out.String())
}

// TestEscapeAsNobody runs the suite as an ordinary user and compares the table
// in docs with the attempts that there are. go test -run TestEscape -update
// writes it.
func TestEscapeAsNobody(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("TestEscape ran as an ordinary user already")
	}
	path := filepath.Join(openTemp(t), "results")
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestEscape$", "-test.v")
	cmd.Env = []string{"FIREKEEP_TEST_PROBE=" + probePath, "TMPDIR=/tmp", "FIREKEEP_TEST_RESULTS=" + path}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("PASS")) {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var nobody []tried
	if err := json.Unmarshal(b, &nobody); err != nil {
		t.Fatal(err)
	}
	root := attempts(t)
	const doc = "../../docs/escape-suite.md"
	if *update {
		if err := os.WriteFile(doc, escapeTable(root, nobody), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range escapetest.All() {
		if !bytes.Contains(text, []byte("| "+a.Name+" | "+a.What+" |")) {
			t.Errorf("docs/escape-suite.md lacks %q; run the test with -update", a.Name)
		}
	}
}

// escapeTable is docs/escape-suite.md.
func escapeTable(root, nobody []tried) []byte {
	var b bytes.Buffer
	b.WriteString("# Escape suite\n\n" +
		"Written by `go test ./internal/sandbox -run TestEscape -update`. Each attempt was made by a hostile program in the place of the engine,\n" +
		"with root and with an ordinary user (65534) as the one who runs Firekeep: **inside** the sandbox, **behind** the filter (the sandbox without\n" +
		"seccomp: what the second wall answers; `-` where the filter is the only wall), and **outside**, without a sandbox, where it must pass unless the\n" +
		"host cannot do it. A child that makes a call no engine makes is ended by the filter, which its parent reports.\n")
	passed := map[string]int{}
	group := ""
	for i, a := range escapetest.All() {
		if a.Group != group {
			group = a.Group
			fmt.Fprintf(&b, "\n## %s%s\n\n| attempt | what it does | inside, by root | by a user | behind the filter | outside, root | user |\n|---|---|---|---|---|---|---|\n", strings.ToUpper(group[:1]), group[1:])
		}
		behind := root[i].Behind
		if a.FilterOnly {
			behind = "-"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", a.Name, a.What, root[i].Inside, nobody[i].Inside, behind, outsideCell(root[i].Outside), outsideCell(nobody[i].Outside))
		for user, got := range map[string]tried{"root": root[i], "user": nobody[i]} {
			if !refused(got.Outside) {
				passed[user]++
			}
			if !refused(got.Inside) {
				passed["inside"]++
			}
		}
	}
	fmt.Fprintf(&b, "\n%d attempts, each as root and as a user: **%d got through**. Outside, %d pass for root and %d for a user; the others need what this host's\nkernel was built without (marked *), or root.\n",
		len(root), passed["inside"], passed["root"], passed["user"])
	return b.Bytes()
}

func outsideCell(verdict string) string {
	if escapetest.Lacking(verdict) {
		return verdict + " *"
	}
	return verdict
}

// TestEscapeNames keeps names unique: they are how an attempt is found.
func TestEscapeNames(t *testing.T) {
	var names []string
	for _, a := range escapetest.All() {
		if slices.Contains(names, a.Name) || a.What == "" || a.Group == "" || strings.Contains(a.What, "|") {
			t.Errorf("%q", a.Name)
		}
		names = append(names, a.Name)
	}
}
