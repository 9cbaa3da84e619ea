package store_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// lease time and tries of the model.
const (
	modelTTL   = 15 * time.Second
	modelTries = 3
)

// modelJob is what the queue must know of a job.
type modelJob struct {
	uid, id string
	created int // order of creation
	state   rft.JobState
	owner   string
	fence   int64
	expires time.Time
	attempt int
	tries   int
	points  int64
}

// held is a lease that some runner believes in, perhaps wrongly.
type held struct {
	job   *modelJob
	fence int64
}

// queueModel runs the queue of one database beside its model.
type queueModel struct {
	t      *testing.T
	db     *store.DB
	clock  *clock
	jobs   []*modelJob
	leases []held
	made   int
}

// TestQueueModel does random things to the queue, by runners that hang, die,
// return and lie about their leases, and holds every answer and every row
// against a model: one lease per job, no write with an old fence, tries that
// end, nothing lost.
func TestQueueModel(t *testing.T) {
	checks := "25"
	if os.Getenv("FIREKEEP_LONG") != "" {
		checks = "400"
	}
	if err := flag.Set("rapid.checks", checks); err != nil {
		t.Fatal(err)
	}
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		round := 0
		rapid.Check(t, func(rt *rapid.T) {
			m := &queueModel{t: t, db: db, clock: c, made: 1000 * round}
			round++
			rt.Repeat(map[string]func(*rapid.T){
				"": m.compare, "create": m.create, "lease": m.lease, "time": m.time, "rescue": m.rescue, "restart": m.restart,
				"heartbeat": m.heartbeat, "advance": m.advance, "point": m.point, "release": m.release, "retry": m.retry,
				"finish": m.finish, "stop": m.stop, "cancel": m.cancel, "delete": m.remove,
			})
			for len(m.jobs) > 0 { // the next round begins with an empty queue
				m.drop(rt, m.jobs[0])
			}
		})
	})
}

func (m *queueModel) create(rt *rapid.T) {
	m.made++
	m.clock.add(time.Microsecond) // so that the order of creation is that of times
	id := fmt.Sprintf("m%d", m.made)
	j, err := m.db.CreateJob(m.t.Context(), store.Job{Account: "main", ID: id, Kind: store.JobExport, Spec: json.RawMessage(`{}`)}, act)
	if err != nil {
		rt.Fatal(err)
	}
	m.jobs = append(m.jobs, &modelJob{uid: j.UID, id: id, created: m.made, state: rft.StatePending})
}

// lease: the oldest queued job goes out, under a new fence.
func (m *queueModel) lease(rt *rapid.T) {
	owner := rapid.SampledFrom([]string{"r1", "r2", "r3"}).Draw(rt, "owner")
	j, ok, err := m.db.LeaseJob(m.t.Context(), owner, []store.JobKind{store.JobExport}, modelTTL)
	if err != nil {
		rt.Fatal(err)
	}
	i := slices.IndexFunc(m.jobs, func(j *modelJob) bool { return j.state.Queued() })
	if ok != (i >= 0) {
		rt.Fatalf("leased %v; a job is queued: %v", ok, i >= 0)
	}
	if !ok {
		return
	}
	w := m.jobs[i]
	w.state, w.owner, w.expires = rft.StateCreating, owner, m.clock.now().Add(modelTTL)
	w.fence++
	w.attempt++
	w.tries++
	if j.UID != w.uid || j.Fence != w.fence {
		rt.Fatalf("leased %s with fence %d, want %s with %d", j.ID, j.Fence, w.id, w.fence)
	}
	m.leases = append(m.leases, held{w, w.fence})
}

func (m *queueModel) time(rt *rapid.T) {
	m.clock.add(rapid.SampledFrom([]time.Duration{time.Second, modelTTL / 2, modelTTL, 3 * modelTTL}).Draw(rt, "time"))
}

func (m *queueModel) rescue(rt *rapid.T) {
	moved, err := m.db.Rescue(m.t.Context(), modelTries)
	m.rescued(rt, moved, err, func(j *modelJob) bool { return !j.expires.After(m.clock.now()) })
}

// restart: a runner that starts again frees what its former self held.
func (m *queueModel) restart(rt *rapid.T) {
	owner := rapid.SampledFrom([]string{"r1", "r2"}).Draw(rt, "owner")
	moved, err := m.db.RescueOwner(m.t.Context(), owner, modelTries)
	m.rescued(rt, moved, err, func(j *modelJob) bool { return j.owner == owner })
}

func (m *queueModel) rescued(rt *rapid.T, moved []store.Job, err error, which func(*modelJob) bool) {
	if err != nil {
		rt.Fatal(err)
	}
	n := 0
	for _, j := range m.jobs {
		if j.owner == "" || !which(j) {
			continue
		}
		n++
		m.freed(j, rft.StateRequeueing, true)
	}
	if len(moved) != n {
		rt.Fatalf("%d jobs were rescued, want %d", len(moved), n)
	}
}

// freed takes the lease from a job: it is queued again, or over.
func (m *queueModel) freed(j *modelJob, next rft.JobState, counts bool) {
	switch {
	case j.state == rft.StateCancelling:
		next = rft.StateCancelled
	case counts && j.tries >= modelTries:
		next = rft.StateFailed
	}
	j.state, j.owner, j.expires = next, "", time.Time{}
	j.fence++
}

// with draws a lease, old or new, and requires that an act under it succeeds
// exactly when the lease stands and the act is allowed.
func (m *queueModel) with(rt *rapid.T, what string, allowed func(*modelJob) bool, do func(h held) error, then func(*modelJob)) {
	if len(m.leases) == 0 {
		rt.Skip("no lease")
	}
	h := rapid.SampledFrom(m.leases).Draw(rt, "lease")
	err := do(h)
	stands := slices.Contains(m.jobs, h.job) && h.job.owner != "" && h.job.fence == h.fence
	switch ok := stands && allowed(h.job); {
	case ok && err != nil:
		rt.Fatalf("%s of %s: %v", what, h.job.id, err)
	case !ok && rft.KindOf(err) != rft.KindAborted:
		rt.Fatalf("%s of %s under fence %d (it has %d, %s): %v, want ABORTED", what, h.job.id, h.fence, h.job.fence, h.job.state, err)
	case ok:
		then(h.job)
	}
}

func always(*modelJob) bool { return true }

func (m *queueModel) heartbeat(rt *rapid.T) {
	m.with(rt, "heartbeat", always, func(h held) error { return second(m.db.Heartbeat(m.t.Context(), h.job.uid, h.fence, modelTTL)) },
		func(j *modelJob) { j.expires = m.clock.now().Add(modelTTL) })
}

func (m *queueModel) advance(rt *rapid.T) {
	next := rapid.SampledFrom([]rft.JobState{rft.StateValidating, rft.StateRunning, rft.StateWriting}).Draw(rt, "state")
	m.with(rt, "advance", func(j *modelJob) bool { return j.state.CanBecome(next) },
		func(h held) error { return m.db.Advance(m.t.Context(), h.job.uid, h.fence, next) }, func(j *modelJob) { j.state = next })
}

// point: a resume point is progress, and tries begin again.
func (m *queueModel) point(rt *rapid.T) {
	m.with(rt, "resume point", always, func(h held) error {
		return second(m.db.AddResumePoint(m.t.Context(), h.job.uid, h.fence, store.ResumePoint{Update: h.job.points + 1, Mark: json.RawMessage(`{}`), Artifact: "a"}, 2))
	}, func(j *modelJob) { j.points++; j.tries = 1 })
}

func (m *queueModel) release(rt *rapid.T) {
	m.with(rt, "release", always, func(h held) error { return m.db.Release(m.t.Context(), h.job.uid, h.fence) },
		func(j *modelJob) { j.tries--; m.freed(j, rft.StateRequeueing, false) })
}

func (m *queueModel) retry(rt *rapid.T) {
	m.with(rt, "retry", always, func(h held) error {
		return m.db.Retry(m.t.Context(), h.job.uid, h.fence, modelTries, store.Status{Code: "UNAVAILABLE"})
	}, func(j *modelJob) { m.freed(j, rft.StateRequeueing, true) })
}

func (m *queueModel) stop(rt *rapid.T) {
	m.with(rt, "stop", always, func(h held) error {
		return m.db.Stop(m.t.Context(), h.job.uid, h.fence, rft.StateFailed, store.Status{Code: "INTERNAL"}, act)
	}, func(j *modelJob) { j.state, j.owner, j.expires = rft.StateFailed, "", time.Time{} })
}

func (m *queueModel) finish(rt *rapid.T) {
	m.with(rt, "finish", func(j *modelJob) bool { return j.state == rft.StateWriting }, func(h held) error {
		return m.db.Finish(m.t.Context(), h.job.uid, h.fence, store.OK(), nil, act)
	}, func(j *modelJob) { j.state, j.owner, j.expires = rft.StateCompleted, "", time.Time{} })
}

func (m *queueModel) draw(rt *rapid.T) *modelJob {
	if len(m.jobs) == 0 {
		rt.Skip("no job")
	}
	return rapid.SampledFrom(m.jobs).Draw(rt, "job")
}

func (m *queueModel) cancel(rt *rapid.T) {
	j := m.draw(rt)
	_, err := m.db.CancelJob(m.t.Context(), "main", store.JobExport, j.id, act)
	switch {
	case j.state.Terminal():
		if rft.KindOf(err) != rft.KindFailedPrecondition {
			rt.Fatalf("cancelled a job that is %s: %v", j.state, err)
		}
		return
	case err != nil:
		rt.Fatal(err)
	case j.state.Queued():
		j.state = rft.StateCancelled
	default:
		j.state = rft.StateCancelling
	}
}

func (m *queueModel) remove(rt *rapid.T) { m.drop(rt, m.draw(rt)) }

func (m *queueModel) drop(rt *rapid.T, j *modelJob) {
	if _, _, err := m.db.DeleteJob(m.t.Context(), "main", store.JobExport, j.id, act); err != nil {
		rt.Fatal(err)
	}
	m.jobs = slices.DeleteFunc(m.jobs, func(o *modelJob) bool { return o == j })
}

// compare holds every row against the model.
func (m *queueModel) compare(rt *rapid.T) {
	for _, w := range m.jobs {
		j, err := m.db.JobByUID(m.t.Context(), w.uid)
		if err != nil {
			rt.Fatal(err)
		}
		got := modelJob{j.UID, j.ID, w.created, j.State, j.Owner, w.fence, j.Expires, j.Attempt, j.Tries, w.points}
		if w.owner != "" || w.state.Queued() {
			got.fence = j.Fence // of a job that is over it says nothing any more
		}
		if !got.expires.IsZero() {
			got.expires = got.expires.UTC()
		}
		if w.state.Terminal() {
			got.expires, got.tries = w.expires, w.tries
		}
		if got != *w {
			rt.Fatalf("the row is %+v\nthe model %+v", got, *w)
		}
	}
}
