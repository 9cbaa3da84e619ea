//go:build linux

package sandbox_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/sandbox"
)

// probe is the program that tries to escape; probePath is where it lies.
// preparer is the program that prepares it, as in the product; the tests of other
// packages let their own executable do that.
var (
	probe     *sandbox.Program
	preparer  *sandbox.Program
	probePath = os.Getenv("FIREKEEP_TEST_PROBE")
)

func TestMain(m *testing.M) {
	sandbox.Init()
	if len(os.Args) == 2 && os.Args[1] == parentMode {
		parent()
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if probePath == "" {
		dir, err := buildProbe()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
	}
	var err error
	probe, err = sandbox.OpenProgram(probePath)
	if err == nil {
		preparer, err = sandbox.OpenProgram(filepath.Join(filepath.Dir(probePath), "stage"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// product is the launcher as the product has it.
func product() sandbox.Launcher { return sandbox.NewWith(sandbox.Options{Stage: preparer}) }

// buildProbe compiles the probe and the stage to a place that every user may read.
func buildProbe() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "firekeep-sandbox"); err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return dir, err
	}
	probePath = filepath.Join(dir, "probe")
	for path, source := range map[string]string{probePath: "./testdata/probe", filepath.Join(dir, "stage"): "../../cmd/firekeep-stage"} {
		build := exec.Command("go", "build", "-o", path, source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return dir, fmt.Errorf("%w\n%s", err, out)
		}
	}
	return dir, nil
}

// try runs one act of the probe under the host's launcher.
func try(t *testing.T, s sandbox.Spec, act ...string) (string, sandbox.Exit) {
	t.Helper()
	return tryWith(t, product(), s, act...)
}

// tryWith runs one act and returns what the probe printed, on both outputs.
func tryWith(t *testing.T, l sandbox.Launcher, s sandbox.Spec, act ...string) (string, sandbox.Exit) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s.Name, s.Program, s.Args, s.Stdout, s.Stderr = "test", probe, append([]string{"probe"}, act...), w, w
	p, err := l.Start(context.Background(), s)
	w.Close()
	if err != nil {
		t.Fatalf("start: %v (%v)", err, cause(err))
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out)), p.Wait()
}

func cause(err error) error {
	u, ok := err.(interface{ Unwrap() error })
	if !ok {
		return nil
	}
	return u.Unwrap()
}
