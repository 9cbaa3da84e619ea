package e2e

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/e2e/tiny"
)

// TestKeyRevocation disables the key of an account while it serves and trains:
// its children end, and nothing of it opens until the key is enabled. The base
// is the account's own, so its weights are sealed too.
func TestKeyRevocation(t *testing.T) {
	s := newInstance(t)
	dir := filepath.Join(filepath.Dir(s.home), "tiny")
	if err := tiny.Write(dir, tiny.Default, 1); err != nil {
		t.Fatal(err)
	}
	s.cli("model", "import", "own", dir, "--wait")
	s.dataset("d", rows(8, 4, "hello")...)
	s.dataset("long", rows(200, 4, "hello")...)
	s.cli("step", "create", "--dataset", "d", "--model", "own", "--output", "own-v1", "--wait")
	s.sealedAtRest()

	if err := s.say("own-v1"); err != nil {
		t.Fatal(err)
	}
	for _, pid := range s.children() {
		if maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid)); err == nil && !strings.Contains(string(maps), "/memfd:firekeep-weights") {
			t.Errorf("the sampling child maps its weights from elsewhere:\n%s", maps)
		}
	}
	epochs := 500
	if _, err := s.api.CreateStep(context.Background(), "main", "running", &api.RlorTrainerJob{Dataset: "long",
		TrainingConfig: &api.TrainingConfig{BaseModel: "accounts/main/models/own", OutputModel: "own-v2", Epochs: epochs}}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, time.Minute, "the step to run", func() bool { return s.step("running").State == "JOB_STATE_RUNNING" })

	out := s.cli("kek", "disable")
	if !strings.Contains(out, "DISABLED") || !strings.Contains(out, "FAILED_PRECONDITION") {
		t.Errorf("kek disable says\n%s", out)
	}
	if left := s.children(); len(left) > 0 {
		t.Errorf("children %v still run when disable has answered", left)
	}
	waitFor(t, time.Minute, "the step to fail", func() bool { return s.step("running").State == "JOB_STATE_FAILED" })
	names := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "the key of accounts/main (local") {
			t.Errorf("%s: %v; want an error that names the key", what, err)
		}
	}
	names("running step", errors.New(s.step("running").Status.Message))
	names("chat", s.say("own-v1"))
	names("chat with the base", s.say("own"))
	for what, args := range map[string][]string{
		"step":   {"step", "create", "--dataset", "d", "--model", "own", "--output", "own-v3", "--wait"},
		"export": {"model", "export", "own-v1", "--to", "file://" + s.roots + "/out/", "--wait"},
		"import": {"model", "import", "again", dir, "--wait"},
	} {
		_, err := s.try(args...)
		names(what, err)
	}
	s.kill()
	found, err := s.try("fsck", "--home", s.home, "--json")
	if err == nil || !strings.Contains(err.Error(), "exit status 7") || !strings.Contains(found, `"unchecked": true`) || strings.Contains(found, "orphan") {
		t.Errorf("fsck: %v\n%s", err, found)
	}
	s.start()
	names("chat after a restart", s.say("own-v1"))

	s.cli("kek", "enable")
	if err := s.say("own-v1"); err != nil {
		t.Errorf("chat after enable: %v", err)
	}
	before := s.files(".sealed")
	envelopes := s.files(".key")
	s.cli("kek", "rotate")
	if now := s.files(".sealed"); !equal(before, now) {
		t.Error("rotating changed content")
	}
	for name, sum := range s.files(".key") {
		if envelopes[name] == sum {
			t.Errorf("%s was not written anew", name)
		}
	}
	s.adapterDigest("own-v1")
	s.fsck()

	// Deleting a model ends the children that have it in memory.
	if err := s.say("own-v1"); err != nil {
		t.Fatal(err)
	}
	s.cli("model", "delete", "own-v1")
	s.cli("model", "delete", "own")
	if left := s.children(); len(left) > 0 {
		t.Errorf("children %v outlive the base they map", left)
	}
}

// say asks a model for a few tokens.
func (s *instance) say(model string) error {
	_, err := s.api.Chat(context.Background(), &api.CompletionRequest{Model: "accounts/main/models/" + model,
		Messages: []api.Message{{Role: "user", Content: api.Text("hello")}}, MaxTokens: new(4)})
	return err
}

// sealedAtRest requires that the home holds no plain weights.
func (s *instance) sealedAtRest() {
	s.t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.home, "models"))
	if err != nil || len(entries) > 0 {
		s.t.Errorf("the directory of published weights holds %v (%v)", entries, err)
	}
	sealed := 0
	for name := range s.files("") {
		if strings.HasSuffix(name, "manifest.json") || strings.HasSuffix(name, ".key") {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil || !strings.HasPrefix(string(b), "FKSEAL2\n") {
			s.t.Errorf("%s is not sealed (%v)", name, err)
		}
		sealed++
	}
	if sealed < 5 { // weights, index, and the three files of a checkpoint
		s.t.Errorf("only %d sealed files", sealed)
	}
}

// files are the digests of the home bucket's files with this ending.
func (s *instance) files(suffix string) map[string][32]byte {
	s.t.Helper()
	out := map[string][32]byte{}
	err := filepath.WalkDir(filepath.Join(s.home, "bucket"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, suffix) {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = sha256.Sum256(b)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func equal(a, b map[string][32]byte) bool {
	for k := range a {
		if a[k] != b[k] {
			return false
		}
	}
	return len(a) == len(b) && len(a) > 0
}
