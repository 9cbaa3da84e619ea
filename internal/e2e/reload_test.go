package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
)

// said is an answer with the checkpoint that it names.
type said struct{ checkpoint, answer string }

// completion asks a model over HTTP. The answer is its token ids and log-probs, so
// two checkpoints do not give the same one by chance.
func (s *instance) completion(model string, stream bool) (said, error) {
	body, _ := json.Marshal(map[string]any{"model": model, "prompt": "hello", "max_tokens": 12, "temperature": 0, "logprobs": 1, "ignore_eos": true, "stream": stream})
	q, err := http.NewRequest("POST", s.api.BaseURL+"/v1/completions", bytes.NewReader(body))
	if err != nil {
		return said{}, err
	}
	q.Header.Set("Authorization", "Bearer "+s.api.Key)
	r, err := s.api.HTTP.Do(q)
	if err != nil {
		return said{}, err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(r.Body)
		return said{}, fmt.Errorf("%s: %s", r.Status, b)
	}
	out := said{checkpoint: r.Header.Get("Firekeep-Checkpoint")}
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		text, event := strings.CutPrefix(lines.Text(), "data: ")
		if stream != event || text == "[DONE]" {
			continue
		}
		var c api.Completion
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			return out, err
		}
		if c.SystemFingerprint != out.checkpoint {
			return out, fmt.Errorf("the header names %q, the body %q", out.checkpoint, c.SystemFingerprint)
		}
		if len(c.Choices) == 0 || c.Choices[0].Logprobs == nil {
			continue
		}
		l := c.Choices[0].Logprobs.Legacy
		for i, id := range l.TokenIDs {
			out.answer += fmt.Sprintf("[%d %.17g]", id, *l.TokenLogprobs[i])
		}
	}
	return out, lines.Err()
}

// TestReload: while clients ask a deployment, plain and streaming, the checkpoint
// of a later step takes the place of an earlier one. No request fails, and every
// answer is the one that the checkpoint it names gives alone.
func TestReload(t *testing.T) {
	s := newInstance(t)
	s.importTiny()
	s.dataset("reload", rows(12, 4, "hello")...)
	ctx := context.Background()
	for i, id := range []string{"one", "two"} {
		j := crashSpec(id)
		j.Dataset, j.TrainingConfig.Epochs, j.TrainingConfig.LearningRate = "reload", 1, 1e-3*float64(1+9*i)
		if _, err := s.api.CreateStep(ctx, "main", id, j); err != nil {
			t.Fatal(err)
		}
		s.finish(id)
	}
	alone := map[string]string{}
	names := map[string]string{}
	for _, model := range []string{tinyBase, "accounts/main/models/one", "accounts/main/models/two"} {
		a, err := s.completion(model, false)
		if err != nil || !strings.HasPrefix(a.checkpoint, "sha256:") || a.answer == "" || alone[a.checkpoint] != "" {
			t.Fatalf("%s: %+v, %v", model, a, err)
		}
		alone[a.checkpoint], names[model] = a.answer, a.checkpoint
	}
	if _, err := s.api.CreateDeployment(ctx, "main", "live", &api.Deployment{BaseModel: tinyBase, EnableHotReload: true}); err != nil {
		t.Fatal(err)
	}
	const live = "accounts/main/deployments/live"
	if a, err := s.completion(live, true); err != nil || a.checkpoint != names[tinyBase] || a.answer != alone[a.checkpoint] {
		t.Errorf("without an addon: %+v, %v", a, err)
	}
	deploy := func(model string) {
		t.Helper()
		body := strings.NewReader(fmt.Sprintf(`{"model":"accounts/main/models/%s","deployment":%q}`, model, live))
		q, _ := http.NewRequest("POST", s.api.BaseURL+"/v1/accounts/main/deployedModels?replaceMergedAddon=true", body)
		q.Header.Set("Authorization", "Bearer "+s.api.Key)
		r, err := s.api.HTTP.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if b, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", r.Status, b)
		}
	}
	deploy("one")
	var clients sync.WaitGroup
	var done atomic.Bool
	var answered [2]atomic.Int64
	for client := range 8 {
		clients.Go(func() {
			for !done.Load() && !t.Failed() {
				a, err := s.completion(live, client%2 == 0)
				switch {
				case err != nil:
					t.Errorf("a request failed: %v", err)
				case alone[a.checkpoint] == "" || a.answer != alone[a.checkpoint]:
					t.Errorf("not the answer of %s", a.checkpoint)
				case a.checkpoint == names["accounts/main/models/one"]:
					answered[0].Add(1)
				case a.checkpoint == names["accounts/main/models/two"]:
					answered[1].Add(1)
				default:
					t.Errorf("answered by %s", a.checkpoint)
				}
			}
		})
	}
	enough := func(i int) func() bool {
		from := answered[i].Load()
		return func() bool { return answered[i].Load() >= from+20 || t.Failed() }
	}
	for i, model := range []string{"one", "two", "one"} {
		if i > 0 {
			deploy(model)
		}
		waitFor(t, time.Minute, "answers of "+model, enough(i%2))
	}
	done.Store(true)
	clients.Wait()
	if m := string(s.get("/metrics")); !strings.Contains(m, `firekeep_adapter_loads_total{canary="proven"} 2`) || !strings.Contains(m, `firekeep_adapter_loads_total{canary="refused"} 0`) {
		t.Errorf("not two proven loads in the metrics")
	}
	t.Logf("%d and %d answers", answered[0].Load(), answered[1].Load())
}
