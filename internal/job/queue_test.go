package job

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

var act = store.Act{Account: "main", Actor: "test"}

// bench is a store with a clock that tests move and a queue on it.
type bench struct {
	db    *store.DB
	queue *Queue
	later atomic.Int64
}

func newBench(t *testing.T) *bench {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	b := &bench{db: db, queue: &Queue{DB: db, Owner: "r1", Log: slog.New(slog.DiscardHandler), Poll: time.Millisecond, Heartbeat: time.Millisecond}}
	db.SetClock(func() time.Time { return time.Unix(1e9, 0).Add(time.Duration(b.later.Load())) })
	if _, err := db.CreateAccount(t.Context(), store.Account{ID: "main"}, act); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) add(t *testing.T, id string) store.Job {
	t.Helper()
	j, err := b.db.CreateJob(t.Context(), store.Job{Account: "main", ID: id, Kind: store.JobExport, Spec: json.RawMessage("{}")}, act)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (b *bench) next(t *testing.T) *Lease {
	t.Helper()
	l, err := b.queue.Next(t.Context(), []store.JobKind{store.JobExport})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestNextWaitsForWork: a runner that waits gets the job without a poll.
func TestNextWaitsForWork(t *testing.T) {
	b := newBench(t)
	b.queue.Poll = time.Hour // only the signal can wake it
	got := make(chan *Lease)
	go func() {
		l, _ := b.queue.Next(t.Context(), []store.JobKind{store.JobExport})
		got <- l
	}()
	j := b.add(t, "x")
	l := <-got
	if l.Job.UID != j.UID || l.Fence() != 1 {
		t.Errorf("%+v", l.Job)
	}
	l.End()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.queue.Next(ctx, []store.JobKind{store.JobExport}); err == nil {
		t.Error("Next outlives its context")
	}
}

// TestCancelEndsTheLease: a wish to cancel reaches the runner through the signal.
func TestCancelEndsTheLease(t *testing.T) {
	b := newBench(t)
	b.queue.Poll, b.queue.Heartbeat = time.Hour, time.Hour
	b.add(t, "x")
	l := b.next(t)
	if _, err := b.db.CancelJob(t.Context(), "main", store.JobExport, "x", act); err != nil {
		t.Fatal(err)
	}
	<-l.Context().Done()
	if !l.Cancelled() || l.Lost() {
		t.Errorf("cause %v", context.Cause(l.Context()))
	}
	l.End()
}

// TestHeartbeatKeepsTheLease: while the runner lives, its job is not rescued
// however far the clock goes.
func TestHeartbeatKeepsTheLease(t *testing.T) {
	b := newBench(t)
	j := b.add(t, "x")
	l := b.next(t)
	defer l.End()
	expires := l.Job.Expires
	for range 5 {
		b.later.Add(int64(LeaseTTL / 2))
		for { // until the heartbeat has seen the clock
			now, err := b.db.JobByUID(t.Context(), j.UID)
			if err != nil {
				t.Fatal(err)
			}
			if now.Expires.After(expires) {
				expires = now.Expires
				break
			}
		}
		if moved, err := b.db.Rescue(t.Context(), MaxTries); err != nil || len(moved) > 0 {
			t.Fatalf("rescued a living job: %v, %v", moved, err)
		}
	}
	if l.Context().Err() != nil {
		t.Errorf("%v", context.Cause(l.Context()))
	}
}

// TestRescueTakesOver: when the clock passes the lease, the next runner gets the
// job and the one before it learns that it has lost it.
func TestRescueTakesOver(t *testing.T) {
	b := newBench(t)
	b.queue.Heartbeat = time.Hour // the first runner hangs
	j := b.add(t, "x")
	old := b.next(t)
	b.later.Add(int64(LeaseTTL))
	other := *b.queue
	other.Owner = "r2"
	l, err := other.Next(t.Context(), []store.JobKind{store.JobExport})
	if err != nil || l.Job.UID != j.UID || l.Fence() <= old.Fence() {
		t.Fatalf("%+v, %v", l, err)
	}
	<-old.Context().Done()
	if !old.Lost() || old.Cancelled() {
		t.Errorf("cause %v", context.Cause(old.Context()))
	}
	if err := b.db.Advance(t.Context(), j.UID, old.Fence(), rft.StateRunning); rft.KindOf(err) != rft.KindAborted {
		t.Errorf("a write of the old runner: %v", err)
	}
	if err := b.db.Advance(t.Context(), j.UID, l.Fence(), rft.StateRunning); err != nil {
		t.Error(err)
	}
	old.End()
	l.End()
}

// TestDeletedJobEndsTheLease.
func TestDeletedJobEndsTheLease(t *testing.T) {
	b := newBench(t)
	b.queue.Poll, b.queue.Heartbeat = time.Hour, time.Hour
	b.add(t, "x")
	l := b.next(t)
	if _, _, err := b.db.DeleteJob(t.Context(), "main", store.JobExport, "x", act); err != nil {
		t.Fatal(err)
	}
	<-l.Context().Done()
	if !l.Lost() {
		t.Errorf("cause %v", context.Cause(l.Context()))
	}
	l.End()
}

// TestRecover: a runner that starts again has its jobs at once.
func TestRecover(t *testing.T) {
	b := newBench(t)
	b.add(t, "x")
	b.next(t).End() // dies without a word; the lease still stands
	if err := b.queue.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := b.next(t)
	if l.Job.Attempt != 2 {
		t.Errorf("attempt %d", l.Job.Attempt)
	}
	l.End()
}
