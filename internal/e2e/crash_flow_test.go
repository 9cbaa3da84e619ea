package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
)

// crashes is how often a crash test kills: FIREKEEP_CRASHES, or long under
// FIREKEEP_LONG, or short.
func crashes(t *testing.T, short, long int) int {
	t.Helper()
	if s := os.Getenv("FIREKEEP_CRASHES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("FIREKEEP_CRASHES is %q, want a number of kills", s)
		}
		return n
	}
	if os.Getenv("FIREKEEP_LONG") != "" {
		return long
	}
	return short
}

// act is one thing that a user does. begin makes the request; its nil error is
// the acknowledgement. settled must come true after a restart, whatever the
// moment of the kill: acknowledged says whether the request was answered.
type act struct {
	name    string
	prepare func(id string)
	begin   func(ctx context.Context, id string) error
	settled func(id string, acknowledged bool) bool
}

// TestCrashFlow kills the server at random moments of everything that a user
// does: import, validation, step, merge, export, chat, new keys, deletion. After each
// kill the home verifies, what was acknowledged is there and comes to its end,
// and what was not is there whole or not at all.
func TestCrashFlow(t *testing.T) {
	s := newInstance(t)
	s.importTiny()
	s.dataset("flow", rows(12, 4, "hello")...)
	ctx := context.Background()
	spec := func(output string) *api.RlorTrainerJob {
		j := crashSpec(output)
		j.Dataset, j.TrainingConfig.Epochs = "flow", 1
		return j
	}
	if _, err := s.api.CreateStep(ctx, "main", "first", spec("first")); err != nil {
		t.Fatal(err)
	}
	s.finish("first")
	want := s.adapterDigest("first")
	acts := flowActs(s, spec, want)

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	spans := map[string]time.Duration{}
	kills := crashes(t, len(acts), 200)
	acknowledged := 0
	for i := range kills {
		a := acts[i%len(acts)]
		id := fmt.Sprintf("%s-%d", a.name, i)
		if a.prepare != nil {
			a.prepare(id)
		}
		if spans[a.name] == 0 { // how long it takes when nothing is killed
			spans[a.name] = undisturbed(t, a, id+"-whole")
		}
		done := make(chan error, 1)
		go func() { done <- a.begin(ctx, id) }()
		time.Sleep(time.Duration(rng.Int64N(int64(spans[a.name]))))
		s.kill()
		err := <-done
		if err == nil {
			acknowledged++
		}
		s.fsck()
		s.start()
		waitFor(t, time.Minute, fmt.Sprintf("%s after kill %d, answered with %v", id, i, err), func() bool { return a.settled(id, err == nil) })
	}
	s.fsck()
	t.Logf("%d kills, %d of them after the request was answered", kills, acknowledged)
}

// undisturbed does an act without a kill and returns how long it took.
func undisturbed(t *testing.T, a act, id string) time.Duration {
	t.Helper()
	if a.prepare != nil {
		a.prepare(id)
	}
	began := time.Now()
	if err := a.begin(context.Background(), id); err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	waitFor(t, time.Minute, id, func() bool { return a.settled(id, true) })
	return time.Since(began)
}

// flowActs are the acts; want is the digest of every adapter that spec trains.
func flowActs(s *instance, spec func(string) *api.RlorTrainerJob, want string) []act {
	ctx := context.Background()
	source := filepath.Join(filepath.Dir(s.home), "tiny")
	// whole waits until a resource that exists is READY; one that was not
	// acknowledged may be absent.
	whole := func(state string, err error, acknowledged bool) bool {
		return err == nil && state == "READY" || !acknowledged && absent(err)
	}
	return []act{
		{name: "import", begin: func(ctx context.Context, id string) error {
			_, err := s.once().CreateModel(ctx, "main", id, &api.Model{Firekeep: &api.ModelExtension{Source: "file://" + source + "/"}})
			return err
		}, settled: func(id string, acknowledged bool) bool {
			m, err := s.api.GetModel(ctx, "main", id)
			return whole(state(m), err, acknowledged)
		}},
		{name: "validate", begin: func(ctx context.Context, id string) error {
			_, err := s.once().CreateDataset(ctx, "main", id, &api.Dataset{ExternalURL: "file://" + filepath.Join(s.roots, "flow.jsonl")})
			return err
		}, settled: func(id string, acknowledged bool) bool {
			d, err := s.api.GetDataset(ctx, "main", id)
			return whole(state(d), err, acknowledged)
		}},
		{name: "step", begin: func(ctx context.Context, id string) error {
			_, err := s.once().CreateStep(ctx, "main", id, spec(id))
			return err
		}, settled: func(id string, acknowledged bool) bool {
			j, err := s.api.GetStep(ctx, "main", id)
			if !acknowledged && absent(err) {
				return true
			}
			return err == nil && j.State == "JOB_STATE_COMPLETED" && s.adapterDigest(id) == want
		}},
		{name: "merge", begin: func(ctx context.Context, id string) error {
			_, err := s.once().CreateMergeJob(ctx, "main", &api.PeftMergeJob{PeftModel: "first", MergedModel: id})
			return err
		}, settled: func(id string, _ bool) bool {
			m, err := s.api.GetModel(ctx, "main", id)
			if err == nil {
				return m.State == "READY"
			}
			// No job: it was not acknowledged, and nobody waits for the model.
			jobs, e := s.api.ListMergeJobs(ctx, "main", api.ListOptions{Filter: `merged_model="accounts/main/models/` + id + `"`})
			return absent(err) && e == nil && len(jobs.Jobs) == 0
		}},
		{name: "export", begin: func(ctx context.Context, id string) error {
			_, err := s.once().ExportModel(ctx, "main", "first", "file://"+filepath.Join(s.roots, id)+"/")
			return err
		}, settled: func(id string, acknowledged bool) bool {
			// The manifest comes last: an export that has it is whole.
			_, err := os.Stat(filepath.Join(s.roots, id, "firekeep.json"))
			return err == nil || !acknowledged
		}},
		{name: "chat", begin: func(ctx context.Context, id string) error {
			_, err := s.once().Chat(ctx, &api.CompletionRequest{Model: "accounts/main/models/first", Messages: []api.Message{{Role: "user", Content: api.Text("Say " + id)}}, MaxTokens: new(16)})
			return err
		}, settled: func(id string, _ bool) bool {
			a, err := s.api.Chat(ctx, &api.CompletionRequest{Model: "accounts/main/models/first", Messages: []api.Message{{Role: "user", Content: api.Text("Say " + id)}}, MaxTokens: new(16)})
			return err == nil && len(a.Choices) == 1
		}},
		{name: "user", begin: func(ctx context.Context, id string) error {
			_, err := s.once().CreateUser(ctx, "main", id, &api.User{Role: "user", DisplayName: id})
			return err
		}, settled: func(id string, acknowledged bool) bool {
			l, err := s.api.ListUsers(ctx, "main", api.ListOptions{PageSize: 200, Filter: `display_name="` + id + `"`})
			return err == nil && (len(l.Users) == 1 || !acknowledged)
		}},
		{name: "delete", prepare: func(id string) {
			if _, err := s.api.CreateDataset(ctx, "main", id, &api.Dataset{ExternalURL: "file://" + filepath.Join(s.roots, "flow.jsonl")}); err != nil {
				s.t.Fatal(err)
			}
			waitFor(s.t, time.Minute, id, func() bool { d, err := s.api.GetDataset(ctx, "main", id); return whole(state(d), err, true) })
		}, begin: func(ctx context.Context, id string) error {
			return s.once().DeleteDataset(ctx, "main", id)
		}, settled: func(id string, acknowledged bool) bool {
			_, err := s.api.GetDataset(ctx, "main", id)
			return absent(err) || !acknowledged && err == nil
		}},
	}
}

// once is a client that repeats nothing: its answer is about one request.
func (s *instance) once() *api.Client {
	c := *s.api
	c.Attempts = 1
	return &c
}

// state is the state of a resource that may be nil.
func state(r any) string {
	switch r := r.(type) {
	case *api.Model:
		if r != nil {
			return r.State
		}
	case *api.Dataset:
		if r != nil {
			return r.State
		}
	}
	return ""
}

// absent reports whether the server said that something is not there.
func absent(err error) bool {
	var e *api.Error
	return errors.As(err, &e) && e.Kind == "NOT_FOUND"
}
