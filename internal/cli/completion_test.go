package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// offered are the words that a shell would offer.
func offered(p somebody, env map[string]string, words ...string) []string {
	_, out, _ := p.run(env, "", append([]string{completeWord}, words...)...)
	var got []string
	for _, line := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
		word, _, _ := strings.Cut(line, "\t")
		if word != "" {
			got = append(got, word)
		}
	}
	return got
}

// TestCompletion: commands, flags, words of enums and what is on the server, from
// the grammar. A word that a shell would not take as one is not offered.
func TestCompletion(t *testing.T) {
	names := []string{"accounts/main/datasets/rows-1", "accounts/main/datasets/rows-2", "accounts/main/datasets/other", "accounts/main/datasets/rows-$(reboot)", "accounts/main/datasets/rows-;x", "accounts/main/datasets/rows-\x1b[2J"}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Fireworks-Account-Id", "main")
		var sets []map[string]string
		if strings.HasSuffix(r.URL.Path, "/datasets") {
			for _, n := range names {
				sets = append(sets, map[string]string{"name": n})
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"datasets": sets})
	}))
	defer s.Close()
	p, env := somebody{t.TempDir()}, map[string]string{"FIREKEEP_BASE_URL": s.URL, "FIREKEEP_API_KEY": "fk_x"}
	for _, c := range []struct {
		words string
		want  []string
	}{
		{"mod", []string{"model"}},
		{"step lo", []string{"logs"}},
		{"rlorj lo", []string{"logs"}},
		{"step create --lora-r", []string{"--lora-rank"}},
		{"step create --json --lora-r", []string{"--lora-rank"}},
		{"dpo create --method ", []string{"DPO", "ORPO"}},
		{"dpo create --method=O", []string{"--method=ORPO"}},
		{"dpo create --method = O", []string{"ORPO"}}, // as bash takes it apart
		{"dataset get rows", []string{"rows-1", "rows-2"}},
		{"dataset get rows-1 ", nil},
		{"step create -d o", []string{"other"}},
		{"step create --dataset=ro", []string{"--dataset=rows-1", "--dataset=rows-2"}},
		{"completion ", []string{"bash", "zsh", "fish"}},
		{"no-such-noun ", nil},
		{"dataset create n", nil},
	} {
		if got := offered(p, env, strings.Split(c.words, " ")...); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.words, got, c.want)
		}
	}
	if got := offered(p, map[string]string{"FIREKEEP_BASE_URL": "http://127.0.0.1:1", "FIREKEEP_API_KEY": "fk_x"}, "dataset", "get", ""); got != nil {
		t.Errorf("without a server: %q", got)
	}
}

// TestOtherOrder: verb before noun, and nouns in plural.
func TestOtherOrder(t *testing.T) {
	p := somebody{t.TempDir()}
	for _, c := range []struct{ in, want string }{
		{"list models", "model list"},
		{"create dataset", "dataset create"},
		{"deployments list", "deployment list"},
		{"get rlor-trainer-job", "step get"},
		{"--json rlorj list", "step list"},
		{"--home x -p y list rlor-trainer-jobs", "step list"},
		{"api-key create", "key create"},
		{"list identity-providers", "identity-provider list"},
	} {
		if code, out, _ := p.run(nil, "", append(strings.Fields(c.in), "--help")...); code != 0 || !strings.Contains(out, "Usage: firekeep "+c.want) {
			t.Errorf("firekeep %s: %d %q", c.in, code, out)
		}
	}
}
