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

var probe *sandbox.Program

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(run(m))
}

// run builds the program that tries to escape.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "firekeep-sandbox")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "probe")
	build := exec.Command("go", "build", "-o", bin, "./testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	if probe, err = sandbox.OpenProgram(bin); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// try runs one act of the probe and returns what it printed.
func try(t *testing.T, s sandbox.Spec, act ...string) (string, sandbox.Exit) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s.Name, s.Program, s.Args, s.Stdout = "test", probe, append([]string{"probe"}, act...), w
	p, err := sandbox.New().Start(context.Background(), s)
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

func TestHello(t *testing.T) {
	out, exit := try(t, sandbox.Spec{}, "hello")
	if out != "ok hello" || !exit.OK() {
		t.Fatalf("%q, %+v", out, exit)
	}
}
