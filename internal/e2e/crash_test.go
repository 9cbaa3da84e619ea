package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
)

// crashSpec is a job of many small updates, each with a resume point.
func crashSpec(output string) *api.RlorTrainerJob {
	seed, every, samples := api.Int64(7), 1, 8
	return &api.RlorTrainerJob{
		Dataset: "crash",
		TrainingConfig: &api.TrainingConfig{
			BaseModel: tinyBase, OutputModel: output, Epochs: 3, LoraRank: 4, LearningRate: 1e-3, BatchSizeSamples: &samples,
		},
		Firekeep: &api.StepExtension{Seed: &seed, ResumeEvery: &every},
	}
}

// TestCrash kills the server or the engine at random moments. Whatever moment
// it is, the job ends with the adapter of an uninterrupted one, nothing
// half-written is left, and two thirds of the kills hit a job that must go on
// from a resume point.
func TestCrash(t *testing.T) {
	kills := 10
	if os.Getenv("FIREKEEP_LONG") != "" {
		kills = 30
	}
	s := newInstance(t)
	s.importTiny()
	s.dataset("crash", rows(120, 4, "hello")...)
	ctx := context.Background()
	if _, err := s.api.CreateStep(ctx, "main", "whole", crashSpec("whole")); err != nil {
		t.Fatal(err)
	}
	s.finish("whole")
	want := s.adapterDigest("whole")

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	resumed := 0
	for i := range kills {
		id := fmt.Sprintf("crash-%d", i)
		if _, err := s.api.CreateStep(ctx, "main", id, crashSpec(id)); err != nil {
			t.Fatal(err)
		}
		early := i%4 == 3
		if early {
			time.Sleep(time.Duration(rng.IntN(250)) * time.Millisecond)
		} else {
			after := api.Int64(2 + rng.IntN(20)) // the resume point of update 1 is committed by then
			waitFor(t, time.Minute, "resume points", func() bool {
				j := s.step(id)
				return j.State == "JOB_STATE_COMPLETED" || j.Firekeep != nil && j.Firekeep.Update >= after
			})
		}
		if i%5 == 1 { // the engine alone
			for _, pid := range s.children() {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		} else {
			s.fsck() // which kills it
		}
		s.finish(id)
		if from := resumedFrom(t, s, id); from > 0 {
			resumed++
		}
		s.fsck()
		if got := s.adapterDigest(id); got != want {
			t.Errorf("after kill %d the adapter differs from that of the uninterrupted job", i)
		}
	}
	if 3*resumed < 2*kills {
		t.Errorf("%d of %d kills led to a resume from an update > 0, want two thirds", resumed, kills)
	}
	t.Logf("%d kills, %d resumed behind update 0", kills, resumed)
}

// resumedFrom is the highest update that an attempt went on from.
func resumedFrom(t *testing.T, s *instance, id string) (update int64) {
	t.Helper()
	events, err := s.api.JobEvents(context.Background(), "main", api.StepJobs, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Events {
		if e.Type == "resume" {
			update = max(update, e.Update)
		}
	}
	return update
}
