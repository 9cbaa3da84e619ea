package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// A keep-alive trainer is a job that is RUNNING without a lease. Each step that it
// is asked for is a job of its own, of kind JobTrain, queued in the order of the
// asking; a runner leases it like any other. A step begins with the checkpoint of
// the step before, which the trainer's row names, and when it is done the row names
// its checkpoint instead, in one transaction. So nothing that was answered is lost
// with a process, and a trainer that waits costs nothing.

// TrainStep is a step to queue: its job, the model that it makes, and what it reads.
type TrainStep struct {
	Job        Job
	Output     Model
	DatasetUID string
}

// CreateTrainer adds a trainer as RUNNING, with its first step when there is one.
// The models must still be READY.
func (db *DB) CreateTrainer(ctx context.Context, j Job, first *TrainStep, modelUIDs []string, act Act) (Job, error) {
	err := db.write(ctx, func(t *tx) error {
		if err := t.readyModels(ctx, modelUIDs); err != nil {
			return err
		}
		if j.UID == "" {
			j.UID = NewUID()
		}
		j.Trainer = j.UID
		if err := t.queueJob(ctx, &j); err != nil {
			return err
		}
		if err := t.wait(ctx, &j); err != nil {
			return err
		}
		if first != nil {
			if err := t.queueStep(ctx, &j, first); err != nil {
				return err
			}
		}
		return t.audit(ctx, act, "OK")
	})
	return j, err
}

// wait brings a queued trainer to where it waits for steps.
func (t *tx) wait(ctx context.Context, j *Job) error {
	j.Started = t.now
	if err := t.setState(ctx, j, rft.StateCreating, OK()); err != nil {
		return err
	}
	return t.setState(ctx, j, rft.StateRunning, OK())
}

// ExecuteStep queues a step of a trainer. Asking again for the same output from the
// same dataset changes nothing and returns the step that is there.
func (db *DB) ExecuteStep(ctx context.Context, trainer string, s TrainStep, act Act) (made Job, err error) {
	err = db.write(ctx, func(t *tx) error {
		p, ok, err := jobs.one(ctx, t, "uid = ?", trainer)
		if err := found(ok, err, "trainer"); err != nil {
			return err
		}
		if !p.KeepsAlive() {
			return rft.Errorf(rft.KindFailedPrecondition, "%s takes no steps: it was created without keepAlive", p.Name())
		}
		if p.State != rft.StateRunning {
			return rft.Errorf(rft.KindFailedPrecondition, "%s takes no steps: it is %s; resume it first", p.Name(), p.State)
		}
		made, ok, err = t.sameStep(ctx, p, s)
		if err != nil || ok {
			return err
		}
		if err := t.queueStep(ctx, &p, &s); err != nil {
			return err
		}
		made = s.Job
		return t.audit(ctx, act, "OK")
	})
	return made, err
}

// sameStep finds the step that already makes this output: a client that did not
// hear the answer asks again.
func (t *tx) sameStep(ctx context.Context, p Job, s TrainStep) (Job, bool, error) {
	j, ok, err := jobs.one(ctx, t, "trainer = ? AND kind = ? AND output_model = ? AND dataset = ? ORDER BY created DESC LIMIT 1", p.UID, string(JobTrain), s.Output.Name(), s.Job.Dataset)
	if err != nil || !ok {
		return j, false, err
	}
	if j.State != rft.StateCompleted {
		return j, true, nil
	}
	_, ok, err = models.one(ctx, t, "job_uid = ?", j.UID) // else it was deleted since, and may be made again
	return j, ok, err
}

// queueStep reserves the output's name and queues the step behind the others.
func (t *tx) queueStep(ctx context.Context, p *Job, s *TrainStep) error {
	if err := t.readyInputs(ctx, s.DatasetUID, nil); err != nil {
		return err
	}
	var last int64
	if err := t.row(ctx, "SELECT COALESCE(MAX(created), 0) FROM jobs WHERE trainer = ? AND kind = ?", p.UID, string(JobTrain)).Scan(&last); err != nil {
		return err
	}
	if after := fromMicros(last + 1); t.now.Before(after) {
		t.now = after // steps are told apart by their time
	}
	s.Job.Kind, s.Job.Trainer = JobTrain, p.UID
	if s.Job.UID == "" {
		s.Job.UID = NewUID()
	}
	s.Output.State, s.Output.Status, s.Output.JobUID, s.Output.FineTuningJob = StateReserved, OK(), s.Job.UID, p.Name()
	if err := t.createModel(ctx, &s.Output); err != nil {
		return err
	}
	return t.queueJob(ctx, &s.Job)
}

// passOn makes the checkpoint of a finished step what the trainer goes on from.
func (t *tx) passOn(ctx context.Context, trainer string, made *Model, s Status) error {
	p, ok, err := jobs.one(ctx, t, "uid = ?", trainer)
	if err := found(ok, err, "trainer"); err != nil {
		return err
	}
	state, err := p.TrainerState()
	if err != nil {
		return rft.Wrap(rft.KindDataLoss, err, "the state of %s cannot be read", p.Name())
	}
	if state.Updates, err = t.countedUpdates(ctx, p.UID); err != nil {
		return err
	}
	state.Model, state.ModelUID = made.Name(), made.UID
	state.Steps++
	if p.Result, err = json.Marshal(state); err != nil {
		return err
	}
	p.WarmStart, p.Status, p.Updated = made.Name(), s, t.now
	return t.update(ctx, jobs.name, p.UID, jobs.fields(&p))
}

// countedUpdates is the last number among a trainer's metrics.
func (t *tx) countedUpdates(ctx context.Context, trainer string) (n int64, err error) {
	err = t.row(ctx, "SELECT COALESCE(MAX(update_no), 0) FROM job_events WHERE job = ? AND kind = ?", trainer, EventMetrics).Scan(&n)
	return n, err
}

// tellTrainer repeats a step's metrics and warnings in the history of its trainer,
// whose updates count on from step to step.
func (t *tx) tellTrainer(ctx context.Context, j *Job, events []Event) error {
	p, ok, err := jobs.one(ctx, t, "uid = ?", j.Trainer)
	if err != nil || !ok {
		return err
	}
	state, err := p.TrainerState()
	if err != nil {
		return rft.Wrap(rft.KindDataLoss, err, "the state of %s cannot be read", p.Name())
	}
	for _, e := range events {
		if e.Kind != EventMetrics && e.Kind != EventWarning && e.Kind != EventEvaluation {
			continue
		}
		e.Update += state.Updates
		if err := t.event(ctx, p.UID, e); err != nil {
			return err
		}
	}
	return nil
}

// endTrainStep ends the trainer with its step, and shows what happened where
// clients look: in the status of the model that will not come.
func (t *tx) endTrainStep(ctx context.Context, j *Job) error {
	_, err := t.exec(ctx, "UPDATE models SET state = ?, status_code = ?, status_message = ?, updated = ? WHERE job_uid = ? AND state = ?",
		StateUploading, j.Status.Code, j.Status.Message, micros(t.now), j.UID, StateReserved)
	if err != nil {
		return err
	}
	p, ok, err := jobs.one(ctx, t, "uid = ?", j.Trainer)
	if err != nil || !ok || p.State.Terminal() {
		return err
	}
	s := j.Status
	if j.State == rft.StateFailed {
		s.Message = j.OutputModel + ": " + s.Message
	}
	return t.setState(ctx, &p, j.State, s)
}

// cancelTrainer stops a trainer. A step that runs is stopped first, and takes the
// trainer along when its runner lets go; those that wait keep waiting.
func (t *tx) cancelTrainer(ctx context.Context, p *Job, s Status) error {
	step, ok, err := jobs.one(ctx, t, "trainer = ? AND kind = ? AND owner <> ''", p.UID, string(JobTrain))
	if err != nil {
		return err
	}
	if !ok {
		return t.setState(ctx, p, rft.StateCancelled, s)
	}
	if step.State != rft.StateCancelling {
		if err := t.setState(ctx, &step, rft.StateCancelling, s); err != nil {
			return err
		}
	}
	return t.setState(ctx, p, rft.StateCancelling, s)
}

// dropSteps deletes the steps of a trainer, but for those in the state except,
// with the names that they hold, and returns their resume points.
func (t *tx) dropSteps(ctx context.Context, trainer string, except rft.JobState) (dropped []ResumePoint, err error) {
	steps, err := jobs.all(ctx, t, "WHERE trainer = ? AND kind = ? AND state <> ?", trainer, string(JobTrain), string(except))
	if err != nil {
		return nil, err
	}
	for _, j := range steps {
		points, err := resumePoints(ctx, t, j.UID)
		if err != nil {
			return nil, err
		}
		dropped = append(dropped, points...)
		if _, err := t.exec(ctx, "DELETE FROM models WHERE job_uid = ? AND state <> ?", j.UID, StateReady); err != nil {
			return nil, err
		}
		if _, err := t.exec(ctx, "DELETE FROM jobs WHERE uid = ?", j.UID); err != nil {
			return nil, err
		}
	}
	return dropped, nil
}

// TrainSteps returns the newest steps of a trainer, the newest first.
func (db *DB) TrainSteps(ctx context.Context, trainer string, limit int) (all []Job, err error) {
	err = db.read(ctx, func(t *tx) error {
		all, err = jobs.all(ctx, t, "WHERE trainer = ? AND kind = ? ORDER BY created DESC LIMIT ?", trainer, string(JobTrain), limit)
		return err
	})
	return all, err
}

// ResumeJob queues a FAILED or CANCELLED job again: it goes on from its last resume
// point. output is the model that it makes, whose name must be free again, and
// inputs are what it reads; both are asked for while the job is unchanged. A trainer
// waits for steps again, and its interrupted step goes on, unless discard: then the
// steps that are not done are forgotten. It returns the resume points that nobody
// will take up any more.
func (db *DB) ResumeJob(ctx context.Context, j Job, discard bool, output *Model, datasetUID string, modelUIDs []string, act Act) (now Job, dropped []ResumePoint, err error) {
	err = db.write(ctx, func(t *tx) error {
		var ok bool
		now, ok, err = jobs.one(ctx, t, "uid = ?", j.UID)
		if err := found(ok, err, j.Name()); err != nil {
			return err
		}
		if !now.State.Resumable() {
			return rft.Errorf(rft.KindFailedPrecondition, "cannot resume job in state: %s", now.State)
		}
		if err := t.readyModels(ctx, modelUIDs); err != nil {
			return err
		}
		if now.KeepsAlive() {
			dropped, err = t.resumeTrainer(ctx, &now, discard)
		} else {
			err = t.resumeJob(ctx, &now, output, datasetUID)
		}
		if err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return now, dropped, err
}

// requeue makes a job that ended wait for a runner.
func (t *tx) requeue(ctx context.Context, j *Job) error {
	j.Completed, j.Tries = time.Time{}, 0
	return t.setState(ctx, j, rft.StateRequeueing, OK())
}

func (t *tx) resumeJob(ctx context.Context, j *Job, output *Model, datasetUID string) error {
	if err := t.readyInputs(ctx, datasetUID, nil); err != nil {
		return err
	}
	output.State, output.Status, output.JobUID, output.FineTuningJob = StateReserved, OK(), j.UID, j.Name()
	if err := t.createModel(ctx, output); err != nil {
		return err
	}
	return t.requeue(ctx, j)
}

func (t *tx) resumeTrainer(ctx context.Context, p *Job, discard bool) (dropped []ResumePoint, err error) {
	if discard {
		dropped, err = t.dropSteps(ctx, p.UID, rft.StateCompleted)
	} else {
		err = t.resumeStep(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	state, err := p.TrainerState()
	if err != nil {
		return nil, rft.Wrap(rft.KindDataLoss, err, "the state of %s cannot be read", p.Name())
	}
	if discard { // what the forgotten steps reported stays, and is counted
		if state.Updates, err = t.countedUpdates(ctx, p.UID); err != nil {
			return nil, err
		}
		if p.Result, err = json.Marshal(state); err != nil {
			return nil, err
		}
	}
	if err := t.requeue(ctx, p); err != nil {
		return nil, err
	}
	return dropped, t.wait(ctx, p)
}

// resumeStep queues the step again with which a trainer ended.
func (t *tx) resumeStep(ctx context.Context, p *Job) error {
	j, ok, err := jobs.one(ctx, t, "trainer = ? AND kind = ? AND completed <> 0 AND state <> ? ORDER BY created DESC LIMIT 1", p.UID, string(JobTrain), string(rft.StateCompleted))
	if err != nil || !ok {
		return err
	}
	n, err := t.exec(ctx, "UPDATE models SET state = ?, status_code = ?, status_message = '', updated = ? WHERE job_uid = ? AND state = ?",
		StateReserved, OK().Code, micros(t.now), j.UID, StateUploading)
	if err != nil {
		return err
	}
	if n == 0 {
		return rft.Errorf(rft.KindFailedPrecondition, "%s was deleted, so the step that makes it cannot go on; resume with discardSteps", j.OutputModel)
	}
	return t.requeue(ctx, &j)
}
