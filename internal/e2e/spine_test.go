package e2e

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/api"
)

// canary stands in prompts and answers of the data set; it may be nowhere else.
const canary = "zanzibarquartz"

// TestCanary runs the whole flow on rows that carry a planted word and then
// looks for it in every file that Firekeep wrote.
func TestCanary(t *testing.T) {
	s := newInstance(t)
	s.importTiny()
	s.dataset("canary", rows(8, 4, canary)...)
	ctx := context.Background()
	if _, err := s.api.CreateStep(ctx, "main", "canary", &api.RlorTrainerJob{
		Dataset: "canary", TrainingConfig: &api.TrainingConfig{BaseModel: tinyBase, OutputModel: "canary-v1"},
	}); err != nil {
		t.Fatal(err)
	}
	s.finish("canary")
	answer, err := s.api.Chat(ctx, &api.CompletionRequest{
		Model: "accounts/main/models/canary-v1", Messages: []api.Message{{Role: "user", Content: api.Text("Say " + canary)}}, MaxTokens: new(8),
	})
	if err != nil || len(answer.Choices) != 1 {
		t.Fatalf("chat with the checkpoint: %v, %+v", err, answer)
	}
	// A bad row: its text must not come back in the error either.
	if out, err := s.try("dataset", "create", "bad", "--from", writeBad(t, s), "--wait"); err == nil || strings.Contains(err.Error()+out, canary) {
		t.Errorf("bad dataset: %v %s", err, out)
	}
	metrics := s.get("/metrics")
	if bytes.Contains(metrics, []byte(canary)) {
		t.Error("/metrics holds the canary")
	}
	s.kill()
	s.fsck()
	searchCanary(t, s)
}

func writeBad(t *testing.T, s *instance) string {
	path := filepath.Join(s.roots, "bad.jsonl")
	row := `{"samples":[{"messages":[{"role":"user","content":"` + canary + `"},{"role":"assistant","content":"x"}],"evals":{"score":"` + canary + `"}}]}` + "\n"
	if err := os.WriteFile(path, []byte(row), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file://" + path
}

func searchCanary(t *testing.T, s *instance) {
	t.Helper()
	files := 0
	dir := filepath.Dir(s.home)
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == s.roots {
			if path == s.roots {
				return fs.SkipDir
			}
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for _, form := range []string{canary, strings.ToUpper(canary), "emFuemliYXJxdWFydHo"} { // plain and base64
			if bytes.Contains(b, []byte(form)) {
				t.Errorf("%s holds the canary", strings.TrimPrefix(path, dir))
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if files < 5 {
		t.Errorf("only %d files searched: this test looks in the wrong place", files)
	}
}

func (s *instance) get(path string) []byte {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.api.BaseURL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.api.Key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s: %d, %v", path, answer.StatusCode, err)
	}
	return b
}
