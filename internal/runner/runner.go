// Package runner does the work of jobs. It leases them, mints their credentials,
// streams verified bytes into engine children and puts what comes back, sealed,
// into the home bucket. It is the only holder of bucket credentials and data
// keys; children get bytes, never a key or a path.
//
// Everything a runner writes is in place before the row that names it: content,
// then manifest, then one transaction. A runner that dies at any instant leaves
// a job that the next one takes up at its last resume point, and at worst files
// that no row names.
package runner

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
)

// Config is what a runner works with. All fields without a default are required.
type Config struct {
	DB       *store.DB
	Catalog  *catalog.Catalog
	Identity identity.Source
	Objects  objstore.Config
	Host     *broker.Host
	Log      *slog.Logger
	// Audit takes what must be logged before it is done; nil = statements name
	// no place in a log.
	Audit catalog.Recorder

	// ID names this runner; at most one process at a time may use it.
	ID string
	// Steps is how many steps run at once (default 1), Light how many
	// validations, imports, merges and exports (default 2; merges take all but one of
	// them), Batches how many batch inference jobs (default 1).
	Steps, Light, Batches int
	// Router samples for batch inference jobs, and gets the adapters of steps ahead of
	// their checkpoints; nil = this runner takes no batches.
	Router *serving.Router
	// Threads is the thread count of each step child (default 1), LightThreads
	// that of the others (default 1).
	Threads, LightThreads int
	// Shares divides the cores between steps and sampling while both run, and
	// then Threads is only where a step starts; nil = Threads stands.
	Shares *serving.Shares
	// MemoryBytes limits a step child; 0 = the launcher's default.
	MemoryBytes int64
	// Level forces a kernel level, "" = the best. Precision is that of steps that
	// name none, "" = float32.
	Level, Precision string
	// Isolation and Require are what the sandbox must give.
	Isolation sandbox.Level
	Require   []string
	// Registries are the OCI registries that models may be pushed to, by host.
	Registries map[string]Registry
	// StorageBytes is what an account may store, 0 = without limit; nil = all of them.
	StorageBytes func(store.Account) int64
	// HubURL is where hf:// sources are read from, "" = refused.
	HubURL string
}

// Runner runs jobs until its context ends.
type Runner struct {
	Config
	queue job.Queue
}

// New returns a runner.
func New(c Config) *Runner {
	for _, d := range []struct {
		v   *int
		def int
	}{{&c.Steps, 1}, {&c.Light, 2}, {&c.Batches, 1}, {&c.Threads, 1}, {&c.LightThreads, 1}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Runner{Config: c, queue: job.Queue{DB: c.DB, Owner: c.ID, Log: c.Log}}
}

// Run works on jobs until ctx ends, then gives back the ones in hand. It first
// takes up what an earlier process of the same ID left.
func (r *Runner) Run(ctx context.Context) error {
	if err := r.queue.Recover(ctx); err != nil {
		return err
	}
	var lanes sync.WaitGroup
	for range r.Steps {
		lanes.Go(func() { r.lane(ctx, store.TrainingKinds...) })
	}
	for i := range r.Light {
		kinds := []store.JobKind{store.JobValidation, store.JobImport, store.JobExport}
		if i < max(1, r.Light-1) { // merges of large bases do not make all the others wait
			kinds = append(kinds, store.JobMerge)
		}
		lanes.Go(func() { r.lane(ctx, kinds...) })
	}
	for range r.Batches {
		if r.Router != nil {
			lanes.Go(func() { r.lane(ctx, store.JobBatch) })
		}
	}
	lanes.Wait()
	return nil
}

// lane does one job after another.
func (r *Runner) lane(ctx context.Context, kinds ...store.JobKind) {
	for {
		l, err := r.queue.Next(ctx, kinds)
		if err != nil {
			return
		}
		r.work(ctx, l)
	}
}

// work does a leased job and settles how it ended.
func (r *Runner) work(ctx context.Context, l *job.Lease) {
	defer l.End()
	log := r.Log.With(slog.String("job", l.Job.Name()), slog.String("uid", l.Job.UID), slog.Int64("fence", l.Fence()))
	log.Info("job started", slog.Int("attempt", l.Job.Attempt))
	spent := newStages(l.Job)
	err := r.attempt(l, spent)
	if err == nil {
		log.Info("job completed", slog.Any("ms", spent))
		return
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if err := r.settle(end, ctx, l, err); err != nil && rft.KindOf(err) != rft.KindAborted && rft.KindOf(err) != rft.KindNotFound {
		log.Error("the end of a job cannot be recorded; its lease will run out", slog.Any("error", err))
	}
	log.Warn("job stopped", slog.String("kind", string(rft.KindOf(err))), slog.String("message", rft.PublicMessage(err)), slog.Any("cause", errors.Unwrap(err)))
}

// attempt runs the job; a panic of ours fails it and not the server.
func (r *Runner) attempt(l *job.Lease, spent *stages) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.Log.Error("panic in a job", slog.String("uid", l.Job.UID), slog.String("stack", string(debug.Stack())))
			err = rft.Errorf(rft.KindInternal, "internal error")
		}
	}()
	a := &attempt{Runner: r, lease: l, job: l.Job, ctx: l.Context(), spent: spent}
	account, err := r.DB.Account(a.ctx, l.Job.Account)
	if err != nil {
		return err
	}
	a.account = account.UID
	done, err := a.underKey()
	if err != nil {
		return err
	}
	defer func() { err = done(err) }()
	defer a.closeAccess()
	a.spent.end("key")
	switch l.Job.Kind {
	case store.JobStep, store.JobTrain, store.JobSFT, store.JobDPO:
		return a.step()
	case store.JobValidation:
		return a.validate()
	case store.JobImport:
		return a.importModel()
	case store.JobExport:
		return a.export()
	case store.JobBatch:
		return a.batch()
	case store.JobMerge:
		return a.merge()
	}
	return rft.Errorf(rft.KindUnimplemented, "this runner cannot do jobs of kind %q", l.Job.Kind)
}

// attempt is one lease's work on a job.
type attempt struct {
	*Runner
	lease   *job.Lease
	job     store.Job
	account string // UID of the account, the root of its artefacts
	ctx     context.Context
	spent   *stages

	mu      sync.Mutex
	buckets []objstore.Bucket
}

// settle records how a job ended that did not complete.
func (r *Runner) settle(ctx, running context.Context, l *job.Lease, cause error) error {
	uid, fence := l.Job.UID, l.Fence()
	now, err := r.DB.JobByUID(ctx, uid)
	if err != nil || l.Lost() || now.Fence != fence {
		return err // somebody else's by now, or gone
	}
	act := runnerAct(l.Job, "StopJob", map[string]string{"kind": string(rft.KindOf(cause))})
	switch {
	case now.State.Terminal():
		return nil
	case now.State == rft.StateCancelling:
		return r.stop(ctx, l, rft.StateCancelled, now.Status, act)
	case running.Err() != nil:
		return r.DB.Release(ctx, uid, fence)
	case rft.KindOf(cause) == rft.KindUnavailable:
		backOff(running, l, now.Tries)
		return r.DB.Retry(ctx, uid, fence, patience(cause), store.StatusOf(cause))
	}
	return r.stop(ctx, l, rft.StateFailed, failure(cause), act)
}

// stop ends a job. The resume points of one that trains stay: somebody may resume it.
func (r *Runner) stop(ctx context.Context, l *job.Lease, state rft.JobState, s store.Status, act store.Act) error {
	if err := r.DB.Stop(ctx, l.Job.UID, l.Fence(), state, s, act); err != nil || l.Job.Kind != store.JobBatch {
		return err
	}
	(&attempt{Runner: r, job: l.Job, ctx: ctx}).dropParts(ctx)
	return nil
}

// failure is the status of a failed job. Errors without a kind are ours.
func failure(err error) store.Status {
	s := store.StatusOf(err)
	if s.Code == string(rft.KindUnknown) || s.Code == string(rft.KindAborted) {
		s.Code = string(rft.KindInternal)
	}
	return s
}

// backOff waits before a job is tried again: 0.1 s, doubling to 5 s. The lease
// stands meanwhile; a cancellation ends the wait.
func backOff(ctx context.Context, l *job.Lease, tries int) {
	t := time.NewTimer(min(100*time.Millisecond<<min(tries, 10), 5*time.Second))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-l.Context().Done():
	case <-t.C:
	}
}

// runnerAct is the audit row of what a runner does for a job.
func runnerAct(j store.Job, method string, detail map[string]string) store.Act {
	return store.Act{Account: j.Account, Actor: "runner", Method: method, Resource: j.Name(), Detail: detail}
}

// options describe a child of this attempt.
func (a *attempt) options(name string, w *catalog.Weights) broker.Options {
	o := broker.Options{Name: name, Threads: a.LightThreads, Level: a.Level, Isolation: a.Isolation, Require: a.Require}
	if w != nil {
		o.Weights = &broker.Weights{File: w.File, Size: w.Size, Digest: w.Digest}
	}
	if name == "step" {
		o.Threads, o.MemoryBytes = a.Threads, a.MemoryBytes
	}
	return o
}

// advance moves the job to its next state.
func (a *attempt) advance(s rft.JobState) error {
	return a.DB.Advance(a.ctx, a.job.UID, a.lease.Fence(), s)
}
