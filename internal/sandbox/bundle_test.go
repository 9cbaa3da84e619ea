//go:build linux

package sandbox_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/sandbox"
)

// mountsBelow are the mounts of this process below dir.
func mountsBelow(t *testing.T, dir string) (points []string) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if at := strings.Fields(line)[4]; strings.HasPrefix(at, dir+"/") {
			points = append(points, at)
		}
	}
	return points
}

// spinning starts a child at LevelGVisor that works until it is killed. It is
// past its start when it returns.
func spinning(t *testing.T, l sandbox.Launcher) sandbox.Process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := l.Start(context.Background(), sandbox.Spec{Name: "test", Program: probe, Args: []string{"probe", "spin"}, Stdout: w, Level: sandbox.LevelGVisor})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestGVisorLeavesNothing: neither a folder nor a mount stays of children that
// ended, were killed, were killed at once, or never became runsc.
func TestGVisorLeavesNothing(t *testing.T) {
	l := withGVisor(t)
	t.Setenv("TMPDIR", t.TempDir())
	spec := sandbox.Spec{Name: "test", Program: probe, Args: []string{"probe", "hello"}, Level: sandbox.LevelGVisor}
	if out, exit := underGVisor(t, l, nil, "hello"); !exit.OK() {
		t.Errorf("%q, %+v", out, exit)
	}
	p := spinning(t, l)
	if left, _ := os.ReadDir(os.TempDir()); len(left) != 1 {
		t.Errorf("%d folders while a child runs: this test looks at the wrong place", len(left))
	}
	_ = p.Kill()
	p.Wait()
	for _, after := range []time.Duration{0, 20 * time.Millisecond, 80 * time.Millisecond} {
		p, err := l.Start(context.Background(), spec)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(after)
		_ = p.Kill()
		p.Wait()
	}
	none, err := sandbox.NewWith(sandbox.Options{GVisor: "/nowhere/runsc"}).Start(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	none.Wait()
	spec.Require = []string{sandbox.LayerLandlock}
	if _, err := l.Start(context.Background(), spec); err == nil {
		t.Error("a layer of the other level was given")
	}
	left, err := os.ReadDir(os.TempDir())
	if mounts := mountsBelow(t, os.TempDir()); err != nil || len(left) > 0 || len(mounts) > 0 {
		t.Errorf("left: %v, mounts %v, %v", left, mounts, err)
	}
}

// TestGVisorSweep: a server that starts removes what a killed one left, and
// nothing of a living one or of others.
func TestGVisorSweep(t *testing.T) {
	l := withGVisor(t)
	t.Setenv("TMPDIR", t.TempDir())
	killParent(t, parentLevel+"="+string(sandbox.LevelGVisor))
	if left, _ := os.ReadDir(os.TempDir()); len(left) != 1 {
		t.Fatalf("%d folders of a killed server: this test looks at the wrong place", len(left))
	}
	p := spinning(t, l)
	defer func() { _ = p.Kill(); p.Wait() }()
	want := []string{"another"}
	if os.Geteuid() == 0 {
		want = append(want, "firekeep-gvisor-foreign")
	}
	for _, name := range want {
		if err := os.Mkdir(filepath.Join(os.TempDir(), name), 0o700); err != nil {
			t.Fatal(err)
		}
		if os.Geteuid() == 0 {
			if err := os.Chown(filepath.Join(os.TempDir(), name), 65534, 65534); err != nil {
				t.Fatal(err)
			}
		}
	}
	sandbox.NewWith(sandbox.Options{GVisor: gvisorPath})
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) != len(want)+1 {
		t.Errorf("left: %v, %v; want %v and that of the child that runs", left, err, want)
	}
	for _, e := range left {
		if e.Name() != "another" && e.Name() != "firekeep-gvisor-foreign" {
			if _, err := os.Stat(filepath.Join(os.TempDir(), e.Name(), "config.json")); err != nil {
				t.Errorf("the folder of a living child was emptied: %v", err)
			}
		}
	}
}
