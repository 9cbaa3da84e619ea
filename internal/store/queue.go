package store

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// mayRun is what a queued job needs beside a runner: an active account, for one
// that trains a place among those that its account may run at once, and for a step
// of a trainer its turn.
const mayRun = `EXISTS (SELECT 1 FROM accounts a WHERE a.id = jobs.account AND a.state = '` + AccountActive + `' AND (jobs.kind NOT IN ` + trainingKinds + ` OR a.steps_limit = 0
 OR a.steps_limit > (SELECT COUNT(*) FROM jobs r WHERE r.account = jobs.account AND r.kind IN ` + trainingKinds + ` AND r.owner <> ''))) AND (jobs.kind <> '` + string(JobTrain) + `' OR ` + itsTurn + `)`

// itsTurn: the trainer waits for steps, and none that was asked for earlier is
// unfinished.
const itsTurn = `(EXISTS (SELECT 1 FROM jobs p WHERE p.uid = jobs.trainer AND p.state = '` + string(rft.StateRunning) + `')
 AND NOT EXISTS (SELECT 1 FROM jobs e WHERE e.trainer = jobs.trainer AND e.kind = '` + string(JobTrain) + `' AND e.completed = 0 AND e.created < jobs.created))`

// fairOrder puts accounts in turn: first the one that runs the fewest jobs of the
// kind, then the one that was served the longest ago, then the oldest job. One
// account's hundred jobs do not make another's first one wait for them.
const fairOrder = `(SELECT COUNT(*) FROM jobs r WHERE r.account = jobs.account AND r.kind = jobs.kind AND r.owner <> ''),
 (SELECT COALESCE(MAX(r.started), 0) FROM jobs r WHERE r.account = jobs.account AND r.kind = jobs.kind), created, uid`

// LeaseJob gives the oldest queued job of the account whose turn it is to owner
// for ttl and returns it as CREATING with a new fence; false when there is none.
func (db *DB) LeaseJob(ctx context.Context, owner string, kinds []JobKind, ttl time.Duration) (j Job, ok bool, err error) {
	if len(kinds) == 0 {
		return j, false, nil
	}
	args := []any{string(rft.StatePending), string(rft.StateRequeueing)}
	for _, k := range kinds {
		args = append(args, string(k))
	}
	marks := strings.TrimSuffix(strings.Repeat("?, ", len(kinds)), ", ")
	where := "state IN (?, ?) AND kind IN (" + marks + ") AND " + mayRun + " ORDER BY " + fairOrder + " LIMIT 1"
	// Most polls find nothing; look before taking the writer's lock.
	err = db.read(ctx, func(t *tx) error {
		_, ok, err = jobs.one(ctx, t, where, args...)
		return err
	})
	if err != nil || !ok {
		return j, false, err
	}
	err = db.write(ctx, func(t *tx) error {
		if j, ok, err = jobs.one(ctx, t, where, args...); err != nil || !ok {
			return err
		}
		j.Owner, j.Expires, j.Fence, j.Attempt, j.Tries = owner, t.now.Add(ttl), j.Fence+1, j.Attempt+1, j.Tries+1
		if j.Started.IsZero() {
			j.Started = t.now
		}
		return t.setState(ctx, &j, rft.StateCreating, OK())
	})
	return j, ok && err == nil, err
}

// Heartbeat extends a lease and returns the job, whose state tells of a wish to
// cancel. ABORTED means the lease is lost: stop at once and write nothing.
func (db *DB) Heartbeat(ctx context.Context, uid string, fence int64, ttl time.Duration) (j Job, err error) {
	err = db.write(ctx, func(t *tx) error {
		if j, err = t.leased(ctx, uid, fence); err != nil {
			return err
		}
		j.Expires = t.now.Add(ttl)
		_, err = t.exec(ctx, "UPDATE jobs SET expires = ? WHERE uid = ?", micros(j.Expires), uid)
		return err
	})
	return j, err
}

// leased reads a job for a write of its runner and refuses a stale fence.
func (t *tx) leased(ctx context.Context, uid string, fence int64) (Job, error) {
	j, ok, err := jobs.one(ctx, t, "uid = ?", uid)
	if err != nil {
		return j, err
	}
	if !ok || j.Fence != fence || j.Owner == "" {
		return j, rft.Errorf(rft.KindAborted, "the lease of the job is lost")
	}
	return j, nil
}

// Rescue requeues jobs whose runner died: the lease has expired. A job that has
// had maxTries leases
// without a new resume point fails, one that was being cancelled is CANCELLED. It
// returns the jobs it moved.
func (db *DB) Rescue(ctx context.Context, maxTries int) (moved []Job, err error) {
	const expired = "owner <> '' AND expires <= ?"
	any := false
	err = db.read(ctx, func(t *tx) error {
		_, any, err = jobs.one(ctx, t, expired+" LIMIT 1", micros(t.now))
		return err
	})
	if err != nil || !any {
		return nil, err
	}
	err = db.write(ctx, func(t *tx) error {
		late, err := jobs.all(ctx, t, "WHERE "+expired+" ORDER BY created, uid", micros(t.now))
		if err != nil {
			return err
		}
		for i := range late {
			if err := t.rescue(ctx, &late[i], maxTries); err != nil {
				return err
			}
		}
		moved = late
		return nil
	})
	return moved, err
}

func (t *tx) rescue(ctx context.Context, j *Job, maxTries int) error {
	owner := j.Owner
	j.Owner, j.Expires, j.Fence = "", time.Time{}, j.Fence+1
	act := Act{Account: j.Account, Actor: "queue", Method: "RescueJob", Resource: j.Name(), Detail: map[string]string{"lost": owner}}
	var err error
	switch {
	case j.State == rft.StateCancelling:
		err = t.end(ctx, j, rft.StateCancelled, j.Status)
	case j.Tries >= maxTries:
		err = t.end(ctx, j, rft.StateFailed, Status{Code: string(rft.KindInternal),
			Message: "the job's runner died again and again without progress; the server's log says why"})
	default:
		err = t.setState(ctx, j, rft.StateRequeueing, OK())
	}
	if err != nil {
		return err
	}
	return t.audit(ctx, act, string(j.State))
}

// RescueOwner requeues the jobs that owner held: the runner calls it at its own
// start, when it knows that its former self is dead, instead of waiting for the
// leases to expire.
func (db *DB) RescueOwner(ctx context.Context, owner string, maxTries int) (moved []Job, err error) {
	err = db.write(ctx, func(t *tx) error {
		held, err := jobs.all(ctx, t, "WHERE owner = ? ORDER BY created, uid", owner)
		if err != nil {
			return err
		}
		for i := range held {
			if err := t.rescue(ctx, &held[i], maxTries); err != nil {
				return err
			}
		}
		moved = held
		return nil
	})
	return moved, err
}

// Release gives a lease back unfinished, as an orderly shutdown does; the
// try does not count.
func (db *DB) Release(ctx context.Context, uid string, fence int64) error {
	return db.write(ctx, func(t *tx) error {
		j, err := t.leased(ctx, uid, fence)
		if err != nil {
			return err
		}
		j.Tries--
		return t.letGo(ctx, &j, OK())
	})
}

// Retry gives a lease back after a failure that may pass, which the status
// names. A job that has had maxTries leases without a new resume point fails
// with that status.
func (db *DB) Retry(ctx context.Context, uid string, fence int64, maxTries int, s Status) error {
	return db.write(ctx, func(t *tx) error {
		j, err := t.leased(ctx, uid, fence)
		if err != nil {
			return err
		}
		if j.Tries >= maxTries && j.State != rft.StateCancelling {
			return t.end(ctx, &j, rft.StateFailed, s)
		}
		return t.letGo(ctx, &j, s)
	})
}

// letGo makes a leased job free for the next runner.
func (t *tx) letGo(ctx context.Context, j *Job, s Status) error {
	j.Owner, j.Expires, j.Fence = "", time.Time{}, j.Fence+1
	if j.State == rft.StateCancelling {
		return t.end(ctx, j, rft.StateCancelled, j.Status)
	}
	return t.setState(ctx, j, rft.StateRequeueing, s)
}

// Advance moves a leased job to the next running state.
func (db *DB) Advance(ctx context.Context, uid string, fence int64, next rft.JobState) error {
	return db.write(ctx, func(t *tx) error {
		j, err := t.leased(ctx, uid, fence)
		if err != nil {
			return err
		}
		return t.setState(ctx, &j, next, OK())
	})
}

// Report stores the progress of a leased job and appends events in one
// transaction. Metrics of an update that are there already stay as they are:
// an attempt that resumed repeats updates, and repeats their numbers.
func (db *DB) Report(ctx context.Context, uid string, fence int64, p *Progress, events ...Event) error {
	return db.write(ctx, func(t *tx) error {
		j, err := t.leased(ctx, uid, fence)
		if err != nil {
			return err
		}
		if p != nil {
			j.Progress, j.Updated = *p, t.now
			if err := t.update(ctx, jobs.name, uid, jobs.fields(&j)); err != nil {
				return err
			}
		}
		for _, e := range events {
			if err := t.event(ctx, uid, e); err != nil {
				return err
			}
		}
		if j.Kind == JobTrain {
			return t.tellTrainer(ctx, &j, events)
		}
		return nil
	})
}

// event appends one event.
func (t *tx) event(ctx context.Context, uid string, e Event) error {
	if e.Kind == EventMetrics {
		var n int
		if err := t.row(ctx, "SELECT COUNT(*) FROM job_events WHERE job = ? AND kind = ? AND update_no = ?", uid, e.Kind, e.Update).Scan(&n); err != nil || n > 0 {
			return err
		}
	}
	_, err := t.exec(ctx, "INSERT INTO job_events (job, seq, at, kind, update_no, data) SELECT ?, COALESCE(MAX(seq), 0) + 1, ?, ?, ?, ? FROM job_events WHERE job = ?",
		uid, micros(t.now), e.Kind, e.Update, string(e.Data), uid)
	return err
}

func (t *tx) stateEvent(ctx context.Context, j *Job) error {
	data, err := json.Marshal(map[string]string{"state": string(j.State), "code": j.Status.Code, "message": j.Status.Message})
	if err != nil {
		return err
	}
	return t.event(ctx, j.UID, Event{Kind: EventState, Data: data})
}

// Events returns a job's events after seq, in order.
func (db *DB) Events(ctx context.Context, uid string, after int64, limit int) (out []Event, err error) {
	if limit <= 0 || limit > 1000 {
		limit = 1000
	}
	return db.events(ctx, "WHERE job = ? AND seq > ? ORDER BY seq LIMIT ?", uid, after, limit)
}

// HistoryAfter returns a job's events after seq but its metrics, in order. The kind
// stands in the statement, for only then does the index of these events serve it:
// whoever polls does not walk the metrics since the last of them.
func (db *DB) HistoryAfter(ctx context.Context, uid string, after int64, limit int) ([]Event, error) {
	return db.events(ctx, "WHERE job = ? AND seq > ? AND kind <> '"+EventMetrics+"' ORDER BY seq LIMIT ?", uid, after, limit)
}

// MetricsAfter returns the metrics of a job's updates after update, in order.
func (db *DB) MetricsAfter(ctx context.Context, uid string, update int64, limit int) ([]Event, error) {
	return db.events(ctx, "WHERE job = ? AND kind = ? AND update_no > ? ORDER BY update_no LIMIT ?", uid, EventMetrics, update, limit)
}

func (db *DB) events(ctx context.Context, where string, args ...any) (out []Event, err error) {
	err = db.read(ctx, func(t *tx) error {
		rows, err := t.query(ctx, "SELECT seq, at, kind, update_no, data FROM job_events "+where, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var e Event
			if err := rows.Scan(&e.Seq, &column{&e.Time}, &e.Kind, &e.Update, &column{&e.Data}); err != nil {
				return err
			}
			out = append(out, e)
		}
		return rows.Err()
	})
	return out, err
}
