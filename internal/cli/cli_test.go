package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/firekeep/firekeep/internal/e2e/tiny"
	"github.com/firekeep/firekeep/internal/sandbox"
)

// TestMain makes the test binary the program itself: scripts run it as
// firekeep, and the sandbox starts its first stage from it.
func TestMain(m *testing.M) {
	sandbox.Init()
	testscript.Main(m, map[string]func(){"firekeep": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		code := Run(ctx, Invocation{Args: os.Args[1:], Env: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Version: "test"})
		stop()
		os.Exit(code)
	}})
}

// buildEngine compiles the engine once for the tests of this package.
func buildEngine(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "firekeep-engine")
	build := exec.Command("go", "build", "-o", path, "../../cmd/firekeep-engine")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

// waitReady returns once the server answers, or fails.
func waitReady(base string) error {
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if r, err := http.Get(base + "/readyz"); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("%s is not ready", base)
}

func TestScripts(t *testing.T) {
	engine := buildEngine(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("ENGINE", engine)
			env.Setenv("PORT", freePort(t))
			env.Setenv("HOME", env.WorkDir)
			return tiny.Write(filepath.Join(env.WorkDir, "tiny"), tiny.Default, 1)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// ready waits for the server of this script.
			"ready": func(ts *testscript.TestScript, _ bool, _ []string) {
				ts.Check(waitReady("http://127.0.0.1:" + ts.Getenv("PORT")))
			},
			// code runs firekeep and requires an exit code: code N args...
			"code": func(ts *testscript.TestScript, _ bool, args []string) {
				err := ts.Exec("firekeep", args[1:]...)
				got := 0
				if e, ok := err.(*exec.ExitError); ok {
					got = e.ExitCode()
				}
				if fmt.Sprint(got) != args[0] {
					ts.Fatalf("exit code %d, want %s", got, args[0])
				}
			},
		},
	})
}

// TestPanicIsNotSuccess: only the exit of the parser is caught.
func TestPanicIsNotSuccess(t *testing.T) {
	defer func() {
		if recover() != "broken" {
			t.Error("a panic ended in an exit code")
		}
	}()
	Run(context.Background(), Invocation{Args: []string{"model", "list"}, Env: func(string) string { panic("broken") }, Stdout: io.Discard, Stderr: io.Discard})
}

// instance is a server inside the test's process.
type instance struct {
	base, key, home string
	log             *bytes.Buffer
	stop            func() int
}

func startServer(t *testing.T, home string) *instance {
	t.Helper()
	return startServerOn(t, home, freePort(t))
}

// startServerOn starts a server on a port, also one that an older server had.
func startServerOn(t *testing.T, home, port string) *instance {
	t.Helper()
	s := &instance{base: "http://127.0.0.1:" + port, home: home, log: &bytes.Buffer{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	in := Invocation{Args: []string{"serve", "--home", home, "--listen", "127.0.0.1:" + port, "--engine", buildEngine(t)},
		Env: func(k string) string { return map[string]string{"HOME": filepath.Dir(home)}[k] }, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: s.log, Version: "test"}
	go func() { done <- Run(ctx, in) }()
	stopped := false
	s.stop = func() int {
		if stopped {
			return 0
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() { s.stop() })
	if err := waitReady(s.base); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(home, adminKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	s.key = strings.TrimSpace(string(key))
	return s
}

// run runs a command against the server.
func (s *instance) run(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	env := map[string]string{"FIREKEEP_BASE_URL": s.base, "FIREKEEP_API_KEY": s.key}
	if code := Run(context.Background(), Invocation{Args: args, Env: func(k string) string { return env[k] }, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Version: "test"}); code != 0 {
		t.Fatalf("firekeep %s: exit code %d: %s", strings.Join(args, " "), code, errs.String())
	}
	return out.String()
}

// TestOpenAIClient lets the official client talk to a real server with a real
// engine behind it.
func TestOpenAIClient(t *testing.T) {
	python := os.Getenv("FIREKEEP_PYTHON")
	if python == "" {
		python = "../../.venv/bin/python"
	}
	if _, err := os.Stat(python); err != nil {
		if os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
			t.Skip("no Python with the openai package")
		}
		t.Fatalf("%s: set FIREKEEP_PYTHON, or FIREKEEP_WITHOUT_ORACLES=1 to leave this check out", python)
	}
	dir := t.TempDir()
	if err := tiny.Write(filepath.Join(dir, "tiny"), tiny.Default, 1); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, filepath.Join(dir, "home"))
	s.run(t, "model", "import", "tiny", filepath.Join(dir, "tiny"), "--wait")
	cmd := exec.Command(python, "testdata/openai_client.py")
	cmd.Env = append(os.Environ(), "BASE_URL="+s.base, "KEY="+s.key)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(s.log.String(), "zq-prompt-zq") || strings.Contains(s.log.String(), s.key) {
		t.Error("the log holds a prompt or the key")
	}
	if code := s.stop(); code != 0 {
		t.Errorf("serve ended with exit code %d", code)
	}
	var out bytes.Buffer
	if code := Run(context.Background(), Invocation{Args: []string{"fsck", "--home", s.home}, Env: func(string) string { return "" }, Stdout: &out, Stderr: &out}); code != 0 {
		t.Errorf("fsck: %d %s", code, out.String())
	}
}
