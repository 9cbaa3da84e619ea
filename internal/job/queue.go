// Package job queues work and keeps it going: it checks and creates steps, and
// hands leases to runners. The job row is the queue. A lease has an owner, an
// expiry that the owner's heartbeat moves on, and a fence: a number that grows
// with every lease and that every write of a runner carries, so that a runner
// that was taken for dead cannot write over its successor.
//
//	PENDING -lease-> CREATING -> RUNNING -> WRITING_RESULTS -> COMPLETED
//	   ^                 \___________|____________/
//	   |                   lease expired: RE_QUEUEING, leased again with the next fence
package job

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Timing of leases. A dead runner's job is found within LeaseTTL; a wish to
// cancel from another process is seen within pollEvery.
const (
	LeaseTTL  = 15 * time.Second
	heartbeat = 3 * time.Second
	pollEvery = 500 * time.Millisecond
	MaxTries  = 10
)

// Queue hands out leases of one runner.
type Queue struct {
	DB    *store.DB
	Owner string // unique among running processes
	Log   *slog.Logger

	// TTL, Heartbeat and Poll default to the constants above.
	TTL, Heartbeat, Poll time.Duration
}

func (q *Queue) ttl() time.Duration {
	if q.TTL > 0 {
		return q.TTL
	}
	return LeaseTTL
}

func (q *Queue) beat() time.Duration {
	if q.Heartbeat > 0 {
		return q.Heartbeat
	}
	return heartbeat
}

func (q *Queue) poll() time.Duration {
	if q.Poll > 0 {
		return q.Poll
	}
	return pollEvery
}

// ErrCancelled is the cause of a lease's context after somebody cancelled the job.
var ErrCancelled = rft.Errorf(rft.KindCancelled, "the job was cancelled")

// Lease is the right to work on a job until its context ends.
type Lease struct {
	Job   store.Job
	queue *Queue

	ctx    context.Context
	cancel context.CancelCauseFunc
	done   sync.WaitGroup
}

// Recover requeues what this owner held before it was started again. Call it
// before the first Next, and only where one process at a time can be Owner.
func (q *Queue) Recover(ctx context.Context) error {
	moved, err := q.DB.RescueOwner(ctx, q.Owner, MaxTries)
	q.logRescued(ctx, moved)
	return err
}

// Next waits for a job of these kinds and leases it. It also rescues jobs of
// dead runners, this one's or others'. The lease's context descends from ctx.
func (q *Queue) Next(ctx context.Context, kinds []store.JobKind) (*Lease, error) {
	for {
		changed := q.DB.JobsChanged()
		l, err := q.try(ctx, kinds)
		if l != nil || ctx.Err() != nil {
			return l, ctx.Err()
		}
		if err != nil {
			q.Log.WarnContext(ctx, "the queue cannot be read", slog.Any("error", err))
			changed = nil // an error that repeats must not spin
		}
		if err := pause(ctx, changed, q.poll()); err != nil {
			return nil, err
		}
	}
}

func (q *Queue) try(ctx context.Context, kinds []store.JobKind) (*Lease, error) {
	moved, err := q.DB.Rescue(ctx, MaxTries)
	if err != nil {
		return nil, err
	}
	q.logRescued(ctx, moved)
	j, ok, err := q.DB.LeaseJob(ctx, q.Owner, kinds, q.ttl())
	if err != nil || !ok {
		return nil, err
	}
	return q.lease(ctx, j), nil
}

func (q *Queue) logRescued(ctx context.Context, moved []store.Job) {
	for _, j := range moved {
		q.Log.WarnContext(ctx, "the runner of a job died", slog.String("job", j.Name()), slog.String("state", string(j.State)), slog.Int("attempt", j.Attempt))
	}
}

func (q *Queue) lease(ctx context.Context, j store.Job) *Lease {
	l := &Lease{Job: j, queue: q}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.done.Go(l.keep)
	return l
}

// keep renews the lease and watches for a wish to cancel until the lease ends.
func (l *Lease) keep() {
	last := time.Now()
	for l.ctx.Err() == nil {
		changed := l.queue.DB.JobsChanged()
		if !l.look(&last) {
			return
		}
		_ = pause(l.ctx, changed, l.queue.poll()) // its error is the context's, which the loop sees
	}
}

// look reads the job, renews the lease when it is time, and reports whether the
// lease still stands.
func (l *Lease) look(last *time.Time) bool {
	var j store.Job
	var err error
	renew := time.Since(*last) >= l.queue.beat()
	if renew {
		j, err = l.queue.DB.Heartbeat(l.ctx, l.Job.UID, l.Job.Fence, l.queue.ttl())
	} else {
		j, err = l.queue.DB.JobByUID(l.ctx, l.Job.UID)
		if err == nil && (j.Fence != l.Job.Fence || j.Owner == "") {
			err = rft.Errorf(rft.KindAborted, "the lease of the job is lost")
		}
	}
	switch k := rft.KindOf(err); {
	case k == rft.KindAborted || k == rft.KindNotFound:
		l.cancel(rft.Wrap(rft.KindAborted, err, "the lease of the job is lost"))
		return false
	case err != nil && time.Since(*last) >= l.queue.ttl():
		l.cancel(rft.Wrap(rft.KindAborted, err, "the lease of the job could not be renewed in time"))
		return false
	case err == nil && j.State == rft.StateCancelling:
		l.cancel(ErrCancelled)
	}
	if renew && err == nil {
		*last = time.Now()
	}
	return true
}

// Context ends when the job is cancelled, the lease is lost or the runner
// stops; its cause says which.
func (l *Lease) Context() context.Context { return l.ctx }

// Cancelled reports whether somebody cancelled the job.
func (l *Lease) Cancelled() bool { return context.Cause(l.ctx) == error(ErrCancelled) }

// Lost reports whether the lease is gone: nothing may be written any more.
func (l *Lease) Lost() bool { return rft.KindOf(context.Cause(l.ctx)) == rft.KindAborted }

// End stops renewing. The caller has finished, stopped or released the job
// before; otherwise the lease runs out.
func (l *Lease) End() {
	l.cancel(context.Canceled)
	l.done.Wait()
}

// Fence is the fencing token of the lease.
func (l *Lease) Fence() int64 { return l.Job.Fence }

// pause waits for a change, the next poll or the end of ctx, whose cause it
// returns.
func pause(ctx context.Context, changed <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-changed:
	case <-t.C:
	}
	return nil
}
