package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/e2e/tiny"
)

// growing is a buffer that is read while it is written.
type growing struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (g *growing) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.Write(p)
}

func (g *growing) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.String()
}

// until waits for a text.
func (g *growing) until(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(g.String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q in %s", text, g.String())
		}
	}
}

// TestLogsOutlastTheServer: who follows a step sees each update once and the end,
// though the server stopped and started again meanwhile; so does who waits for it.
func TestLogsOutlastTheServer(t *testing.T) {
	dir := t.TempDir()
	if err := tiny.Write(filepath.Join(dir, "tiny"), tiny.Default, 1); err != nil {
		t.Fatal(err)
	}
	row := `{"samples":[{"messages":[{"role":"user","content":"say a"},{"role":"assistant","content":"a"}],"evals":{"score":1}},{"messages":[{"role":"user","content":"say a"},{"role":"assistant","content":"b"}],"evals":{"score":0}}]}` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "rows.jsonl"), []byte(strings.Repeat(row, 20)), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	s := startServerOn(t, filepath.Join(dir, "home"), port)
	s.run(t, "model", "import", "tiny", filepath.Join(dir, "tiny"), "--wait")
	s.run(t, "dataset", "create", "rows", "--upload", filepath.Join(dir, "rows.jsonl"))
	const updates = 20 * 20
	s.run(t, "step", "create", "--id", "s", "-d", "rows", "-m", "tiny", "-o", "m", "--batch-size-samples", "2", "--epochs", "20", "--resume-every", "10")

	var log, errs, waited growing
	follow := func(out, errs *growing, args ...string) chan int {
		done := make(chan int, 1)
		env := map[string]string{"FIREKEEP_BASE_URL": s.base, "FIREKEEP_API_KEY": s.key}
		go func() {
			done <- Run(context.Background(), Invocation{Args: args, Env: func(k string) string { return env[k] }, Stdin: strings.NewReader(""), Stdout: out, Stderr: errs, Version: "test"})
		}()
		return done
	}
	logs, wait := follow(&log, &errs, "step", "logs", "-f", "s"), follow(&growing{}, &waited, "step", "wait", "s")
	log.until(t, "update 1:")
	waited.until(t, "update 1 ")
	s.stop()
	errs.until(t, "the server does not answer")
	s = startServerOn(t, filepath.Join(dir, "home"), port)
	if code := <-logs; code != 0 {
		t.Fatalf("logs -f ended with %d: %s", code, errs.String())
	}
	if code := <-wait; code != 0 {
		t.Fatalf("wait ended with %d: %s", code, waited.String())
	}
	seen := map[string]int{}
	for _, m := range regexp.MustCompile(`metrics update (\d+):`).FindAllStringSubmatch(log.String(), -1) {
		seen[m[1]]++
	}
	for u := 1; u <= updates; u++ {
		if n := seen[fmt.Sprint(u)]; n != 1 {
			t.Errorf("update %d was shown %d times", u, n)
		}
	}
	if !strings.Contains(log.String(), "state COMPLETED") {
		t.Errorf("no end in %s", log.String())
	}
	if got := s.run(t, "step", "logs", "s"); strings.Count(got, "metrics update") != updates {
		t.Errorf("logs without -f: %s", got)
	}
}
