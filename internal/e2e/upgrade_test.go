package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
)

// previous describes testdata/home-1.tar.gz: the home of the release before
// this one, killed while step "cut-short" trained. Digests are those of the
// adapters that the old release exported.
type previous struct {
	Trained string `json:"trained"` // of model "trained", which that release made
	// Again is of a step like "cut-short" that this version runs, at kernel level go.
	// It is renewed only in a commit that says why the engine's sums changed.
	Again string `json:"again"`
}

// TestUpgrade starts this program on a home that the previous release left
// behind: everything in it opens and verifies. Its models carry no signature yet,
// so they are refused, and the step that was cut short says so; once signed they
// are exported byte for byte as before, and trained on.
func TestUpgrade(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xzf", "testdata/home-1.tar.gz", "-C", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	raw, err := os.ReadFile("testdata/home-1.json")
	if err != nil {
		t.Fatal(err)
	}
	var want previous
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	s := existing(t, filepath.Join(dir, "home"))
	s.fsck()
	s.start()
	ctx := context.Background()
	waitFor(t, time.Minute, "the step that was cut short to end", func() bool { return s.step("cut-short").State == "JOB_STATE_FAILED" })
	if m := s.step("cut-short").Status.Message; !strings.Contains(m, "firekeep model sign") {
		t.Errorf("the step that was cut short says %q", m)
	}
	s.cli("model", "sign", tinyBase)
	s.cli("model", "sign", "trained")
	again := crashSpec("again")
	again.Dataset, again.TrainingConfig.Epochs = "uploaded", 6
	if _, err := s.api.CreateStep(ctx, "main", "again", again); err != nil {
		t.Fatal(err)
	}
	s.finish("again")
	for model, digest := range map[string]string{"trained": want.Trained, "again": want.Again} {
		if got := s.adapterDigest(model); got != digest {
			t.Errorf("%s is exported with digest %s, want %s", model, got, digest)
		}
		a, err := s.api.Chat(ctx, &api.CompletionRequest{Model: "accounts/main/models/" + model, MaxTokens: new(4), Messages: []api.Message{{Role: "user", Content: api.Text("Say hello")}}})
		if err != nil || len(a.Choices) != 1 {
			t.Errorf("chat with %s: %v", model, err)
		}
	}
	next := crashSpec("next")
	next.Dataset, next.TrainingConfig.Epochs = "uploaded", 1
	next.TrainingConfig.BaseModel, next.TrainingConfig.WarmStartFrom = "", "accounts/main/models/trained"
	if _, err := s.api.CreateStep(ctx, "main", "next", next); err != nil {
		t.Fatal(err)
	}
	s.finish("next")
	s.fsck()
	if !strings.Contains(string(s.auditLogs()), "cut-short") {
		t.Error("the acts of the release before are not in the audit log")
	}
}

// existing is an instance on a home that is there already; it is not started.
func existing(t *testing.T, home string) *instance {
	t.Helper()
	s := &instance{t: t, home: home, roots: filepath.Join(filepath.Dir(home), "buckets"), log: filepath.Join(t.TempDir(), "serve.log"), port: freePort(t), api: &api.Client{}}
	if err := os.MkdirAll(s.roots, 0o700); err != nil {
		t.Fatal(err)
	}
	config := map[string]any{}
	path := filepath.Join(home, "config.json")
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &config)
	}
	config["fileRoots"] = []string{filepath.Dir(home)}
	if err == nil {
		raw, err = json.Marshal(config)
	}
	if err == nil {
		err = os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			b, _ := os.ReadFile(s.log)
			t.Logf("serve.log:\n%s", b[max(0, len(b)-6000):])
		}
	})
	return s
}
