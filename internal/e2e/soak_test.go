package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
)

// TestSoak trains and samples at the same time on one server, for
// FIREKEEP_SOAK (a Go duration; `make soak` takes 30 minutes) or some seconds:
// steps follow each other, clients chat with the base and two checkpoints, some
// hang up, bursts overrun the queue. Every answer is the one that its seed gives
// on an idle server, a full queue says when to come again, and the memory of the
// server and of its sampling child stays flat.
func TestSoak(t *testing.T) {
	length := 20 * time.Second
	if s := os.Getenv("FIREKEEP_SOAK"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	} else if testing.Short() {
		t.Skip("takes half a minute")
	}
	s := newInstance(t, func(s *instance) {
		s.config["cacheBytes"], s.config["maxSequences"], s.config["maxSamplingRequests"] = 4<<20, 8, 24
	})
	s.importTiny()
	s.dataset("crash", rows(8, 4, "soak")...)
	for i, name := range []string{"one", "two"} {
		spec := crashSpec(name)
		seed := api.Int64(i + 1)
		spec.Firekeep.Seed = &seed
		spec.TrainingConfig.LearningRate = 0.05
		if _, err := s.api.CreateStep(t.Context(), "main", name, spec); err != nil {
			t.Fatal(err)
		}
		s.finish(name)
	}
	k := &soak{instance: s, chats: soakChats()}
	for _, c := range k.chats {
		status, _, answer := k.chat(t.Context(), c)
		if status != http.StatusOK {
			t.Fatalf("chat with %s on an idle server: %d", c.model, status)
		}
		k.want = append(k.want, answer)
	}
	for i := range k.want {
		if slices.Contains(k.want[:i], k.want[i]) {
			t.Fatalf("two chats have the same answer: the test would not notice a mix-up")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var work sync.WaitGroup
	work.Go(func() { k.train(ctx) })
	work.Go(func() { k.burst(ctx) })
	for i := range 12 {
		work.Go(func() { k.client(ctx, uint64(i)) })
	}
	series := k.memory(ctx)
	work.Wait()
	t.Logf("%d steps, %d answers, %d hung up, %d refused for a while", k.steps.Load(), k.answers.Load(), k.cancelled.Load(), k.refused.Load())
	if k.steps.Load() == 0 || k.answers.Load() < 20 || k.cancelled.Load() == 0 || k.refused.Load() == 0 {
		t.Error("one kind of work is missing: the test shows nothing")
	}
	long := 0
	for pid, bytes := range series {
		if len(bytes) < series.longest()*2/3 {
			continue // a step's child
		}
		long++
		if early, late, ok := flat(bytes); !ok {
			t.Errorf("process %d grew from %d to %d KiB", pid, early, late)
		}
	}
	if long < 2 {
		t.Errorf("%d processes lived all the time, want the server and its sampling child", long)
	}
	s.fsck()
}

type soakChat struct {
	model, text string
	n, seed     int
}

func soakChats() (all []soakChat) {
	for i, model := range []string{tinyBase, "accounts/main/models/one", "accounts/main/models/two"} {
		for j := range 3 {
			all = append(all, soakChat{model, strings.Repeat(fmt.Sprintf("tell me about %d ", j), 1+3*j), 1 + 7*(j%2), 100*i + j})
		}
	}
	return all
}

type soak struct {
	*instance
	chats                              []soakChat
	want                               []string
	steps, answers, cancelled, refused atomic.Int64
}

// chat returns the status, when to try again, and the texts of all choices.
func (k *soak) chat(ctx context.Context, c soakChat) (status int, retry, answer string) {
	body, _ := json.Marshal(map[string]any{"model": c.model, "n": c.n, "seed": c.seed, "max_tokens": 24, "temperature": 1, "ignore_eos": true,
		"messages": []any{map[string]any{"role": "user", "content": c.text}}})
	r, err := http.NewRequestWithContext(ctx, "POST", k.api.BaseURL+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return 0, "", err.Error()
	}
	r.Header.Set("Authorization", "Bearer "+k.api.Key)
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err.Error()
	}
	defer resp.Body.Close()
	var out struct {
		Choices []struct {
			Message struct{ Content string }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return 0, "", err.Error()
	}
	for _, choice := range out.Choices {
		answer += fmt.Sprintf("%q ", choice.Message.Content)
	}
	return resp.StatusCode, resp.Header.Get("Retry-After"), answer
}

// ask chats once and checks what comes.
func (k *soak) ask(ctx context.Context, i int) {
	status, retry, answer := k.chat(ctx, k.chats[i])
	switch {
	case ctx.Err() != nil:
	case status == http.StatusTooManyRequests && retry != "":
		k.refused.Add(1)
	case status != http.StatusOK:
		k.t.Errorf("chat %d: status %d, Retry-After %q: %.200s", i, status, retry, answer)
	case answer != k.want[i]:
		k.t.Errorf("chat %d: %s under load, %s alone", i, answer, k.want[i])
	default:
		k.answers.Add(1)
	}
}

// client chats until ctx ends, and hangs up now and then.
func (k *soak) client(ctx context.Context, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 8))
	for ctx.Err() == nil {
		i := rng.IntN(len(k.chats))
		if rng.IntN(3) > 0 {
			k.ask(ctx, i)
			continue
		}
		short, hangUp := context.WithTimeout(ctx, time.Duration(rng.IntN(60))*time.Millisecond)
		k.chat(short, k.chats[i])
		hangUp()
		k.cancelled.Add(1)
	}
}

// burst asks for more at once than may wait.
func (k *soak) burst(ctx context.Context) {
	for ctx.Err() == nil {
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() { k.ask(ctx, i%len(k.chats)) })
		}
		all.Wait()
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Second):
		}
	}
}

// train runs one step after another.
func (k *soak) train(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("soak-%d", i)
		if _, err := k.api.CreateStep(ctx, "main", id, crashSpec(id)); err != nil {
			if ctx.Err() == nil {
				k.t.Errorf("step %s: %v", id, err)
			}
			return
		}
		for done := false; !done && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
			j, err := k.api.GetStep(ctx, "main", id)
			done = err == nil && j.State == "JOB_STATE_COMPLETED"
			if err == nil && j.State == "JOB_STATE_FAILED" {
				k.t.Errorf("step %s failed: %s", id, j.Status.Message)
				return
			}
			if done {
				k.steps.Add(1)
			}
		}
	}
}

// anon is the private memory of each process over time, in KiB.
type anon map[int][]int

func (a anon) longest() (n int) {
	for _, s := range a {
		n = max(n, len(s))
	}
	return n
}

// memory samples the server and its children until ctx ends.
func (k *soak) memory(ctx context.Context) anon {
	series := anon{}
	for {
		for _, pid := range append(k.children(), k.cmd.Process.Pid) {
			if kib, ok := anonymous(pid); ok {
				series[pid] = append(series[pid], kib)
			}
		}
		select {
		case <-ctx.Done():
			return series
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// anonymous is the private memory of a process, without what it maps from files.
func anonymous(pid int) (kib int, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if n, _ := fmt.Sscanf(line, "RssAnon: %d kB", &kib); n == 1 {
			return kib, err == nil
		}
	}
	return 0, false
}

// flat compares the median of the last quarter with that of the second, behind
// which caches are full: a tenth and 24 MiB are the collector's.
func flat(kib []int) (early, late int, ok bool) {
	n := len(kib) / 4
	early, late = median(kib[n:2*n+1]), median(kib[len(kib)-n-1:])
	return early, late, late <= early+early/10+24<<10
}

func median(x []int) int {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}

// The soak's judge notices a leak.
func TestFlat(t *testing.T) {
	var steady, leak []int
	for i := range 100 {
		steady = append(steady, 80<<10+i%7*1000)
		leak = append(leak, 80<<10+i*800)
	}
	if _, _, ok := flat(steady); !ok {
		t.Error("a steady process is called leaking")
	}
	if _, _, ok := flat(leak); ok {
		t.Error("a leak of 40 MiB is called flat")
	}
}
