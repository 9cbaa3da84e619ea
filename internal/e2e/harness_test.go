// Package e2e runs the real programs: bin-like builds of firekeep and its
// engine, a real server on a temporary home, real children in their sandbox.
package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/e2e/tiny"
)

const tinyBase = "accounts/fireworks/models/tiny"

// program is the firekeep binary of this test run.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "firekeep-e2e-")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"firekeep", "firekeep-engine"} {
		build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, name), "../../cmd/"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build %s: %v\n%s", name, err, out)
			os.Exit(1)
		}
	}
	program = filepath.Join(dir, "firekeep")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// instance is a server on a home that outlives kills.
type instance struct {
	t      *testing.T
	home   string
	roots  string // folder of file:// buckets
	port   int
	cmd    *exec.Cmd
	log    string
	api    *api.Client
	env    []string       // of serve, beside the test's own
	config map[string]any // HOME/config.json
	dir    string         // where serve runs, "" = here
	cores  bool           // serve may dump its memory there
}

// newInstance starts a server on a fresh home, after the options were applied.
func newInstance(t *testing.T, options ...func(*instance)) *instance {
	t.Helper()
	dir := t.TempDir()
	s := &instance{t: t, home: filepath.Join(dir, "home"), roots: filepath.Join(dir, "buckets"), log: filepath.Join(dir, "serve.log"),
		config: map[string]any{"fileRoots": []string{dir}}}
	for _, o := range options {
		o(s)
	}
	for _, d := range []string{s.home, s.roots} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	config, _ := json.Marshal(s.config)
	if err := os.WriteFile(filepath.Join(s.home, "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	s.port = freePort(t)
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			b, _ := os.ReadFile(s.log)
			t.Logf("serve.log:\n%s", b[max(0, len(b)-6000):])
		}
	})
	s.start()
	return s
}

// start runs serve and waits until it is ready.
func (s *instance) start() {
	s.t.Helper()
	out, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	s.cmd = exec.Command(program, "serve", "--home", s.home, "--listen", fmt.Sprintf("127.0.0.1:%d", s.port))
	s.cmd.Stdout, s.cmd.Stderr = out, out
	s.cmd.Env = append(os.Environ(), s.env...)
	s.cmd.Dir = s.dir
	if s.cores {
		defer allowCores(s.t)()
	}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	base := fmt.Sprintf("http://127.0.0.1:%d", s.port)
	waitFor(s.t, 60*time.Second, "serve to be ready", func() bool {
		r, err := http.Get(base + "/readyz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	key, err := os.ReadFile(filepath.Join(s.home, "admin.key"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.api = &api.Client{BaseURL: base, Key: strings.TrimSpace(string(key)), HTTP: &http.Client{Timeout: time.Minute}, UserAgent: "e2e"}
}

// kill ends serve like a power cut.
func (s *instance) kill() {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGKILL)
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// children are the engine processes below serve.
func (s *instance) children() (pids []int) {
	out, _ := exec.Command("ps", "-eo", "pid=,ppid=").Output()
	parents := map[int][]int{}
	for line := range strings.Lines(string(out)) {
		var pid, ppid int
		if n, _ := fmt.Sscan(line, &pid, &ppid); n == 2 {
			parents[ppid] = append(parents[ppid], pid)
		}
	}
	return parents[s.cmd.Process.Pid]
}

// cli runs a command against this server and returns what it printed.
func (s *instance) cli(args ...string) string {
	s.t.Helper()
	out, err := s.try(args...)
	if err != nil {
		s.t.Fatalf("firekeep %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func (s *instance) try(args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "FIREKEEP_BASE_URL="+s.api.BaseURL, "FIREKEEP_API_KEY="+s.api.Key)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%w: %s", err, stderr.String())
	}
	return stdout.String(), nil
}

// fsck must find nothing. It verifies a home at rest, so a running server is
// killed first and started again.
func (s *instance) fsck() {
	s.t.Helper()
	if s.cmd != nil {
		s.kill()
		defer s.start()
	}
	if out, err := s.try("fsck", "--home", s.home, "--json"); err != nil {
		s.t.Errorf("fsck: %v\n%s", err, out)
	}
}

func (s *instance) importTiny() {
	s.t.Helper()
	dir := filepath.Join(filepath.Dir(s.home), "tiny")
	if err := tiny.Write(dir, tiny.Default, 1); err != nil {
		s.t.Fatal(err)
	}
	s.cli("model", "import", tinyBase, dir, "--wait")
}

// dataset registers rows that lie in a file:// bucket.
func (s *instance) dataset(id string, rows ...string) {
	s.t.Helper()
	path := filepath.Join(s.roots, id+".jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(rows, "\n")+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.cli("dataset", "create", id, "--from", "file://"+path, "--wait")
}

// adapterDigest exports a model and hashes its adapter file.
func (s *instance) adapterDigest(model string) string {
	s.t.Helper()
	dir := filepath.Join(s.roots, "export-"+model)
	s.cli("model", "export", model, "--to", "file://"+dir+"/", "--wait")
	b, err := os.ReadFile(filepath.Join(dir, "adapter_model.safetensors"))
	if err != nil {
		s.t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (s *instance) step(id string) *api.RlorTrainerJob {
	s.t.Helper()
	j, err := s.api.GetStep(context.Background(), "main", id)
	if err != nil {
		s.t.Fatal(err)
	}
	return j
}

// finish waits until a step ends and requires COMPLETED.
func (s *instance) finish(id string) {
	s.t.Helper()
	waitFor(s.t, 3*time.Minute, "step "+id+" to end", func() bool {
		j, err := s.api.GetStep(context.Background(), "main", id)
		if err != nil {
			return false
		}
		switch j.State {
		case "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED":
			s.t.Fatalf("step %s is %s: %s", id, j.State, j.Status.Message)
		}
		return j.State == "JOB_STATE_COMPLETED"
	})
}

// waitFor polls a condition of another process; the bound only ends a hang.
func waitFor(t *testing.T, bound time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(bound); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", bound, what)
		}
	}
}

// rows makes scored groups whose rewards differ.
func rows(groups, samples int, text string) []string {
	var out []string
	for g := range groups {
		var list []any
		for i := range samples {
			list = append(list, map[string]any{
				"messages": []any{
					map[string]any{"role": "user", "content": fmt.Sprintf("Say %s %d", text, g)},
					map[string]any{"role": "assistant", "content": strings.Repeat(text+" ", 1+(g+i)%3)},
				},
				"evals": map[string]any{"score": float64((g + i) % samples)},
			})
		}
		b, _ := json.Marshal(map[string]any{"samples": list})
		out = append(out, string(b))
	}
	return out
}

// allowCores lets processes that are started from now on leave core files as far
// as the host allows, until the returned function is called.
func allowCores(t *testing.T) (restore func()) {
	t.Helper()
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{Cur: was.Max, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	return func() { _ = syscall.Setrlimit(syscall.RLIMIT_CORE, &was) }
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
