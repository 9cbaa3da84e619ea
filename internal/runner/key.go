package runner

import (
	"context"
	"math"
	"sync"

	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// underKey ties the attempt to the key of its account: when that is lost, the
// attempt's context ends and with it its children, and done gives the reason.
func (a *attempt) underKey() (done func(error) error, err error) {
	keys := a.Catalog.Keys()
	ctx, cancel := context.WithCancelCause(a.ctx)
	var gone sync.WaitGroup // the attempt, and all that it has in memory
	gone.Add(1)
	release := keys.Hold(a.account, custody.Children, func(reason error) {
		cancel(reason)
		gone.Wait()
	})
	a.ctx = custody.For(ctx, custody.Use{Purpose: purpose(a.job.Kind), Resource: a.job.Name(), Actor: "runner"})
	done = func(err error) error {
		release()
		gone.Done()
		if reason := context.Cause(ctx); err != nil && (custody.IsRefusal(reason) || custody.IsOutage(reason)) {
			err = reason
		}
		cancel(nil)
		return err
	}
	if a.job.Account == rft.OperatorAccount {
		return done, nil // what is published needs no key
	}
	if err := keys.Check(a.ctx, a.account); err != nil {
		return nil, done(err)
	}
	return done, nil
}

// patience is how often a job is tried after a failure that may pass. One that
// waits for a key's service waits as long as it takes: somebody may cancel it.
func patience(cause error) int {
	if custody.IsOutage(cause) {
		return math.MaxInt32
	}
	return job.MaxTries
}

// purpose is what trust policies and audit rows call a kind of job: all that train
// are steps to them.
func purpose(kind store.JobKind) string {
	if kind.Trains() {
		kind = store.JobStep
	}
	return string(kind)
}
