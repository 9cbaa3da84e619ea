package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

var jobs = table[Job]{
	name: "jobs",
	fields: func(j *Job) []field {
		return []field{{"uid", &j.UID}, {"account", &j.Account}, {"id", &j.ID}, {"kind", &j.Kind}, {"display_name", &j.DisplayName}, {"spec", &j.Spec},
			{"state", &j.State}, {"status_code", &j.Status.Code}, {"status_message", &j.Status.Message}, {"progress", &j.Progress}, {"result", &j.Result},
			{"dataset", &j.Dataset}, {"base_model", &j.BaseModel}, {"warm_start", &j.WarmStart}, {"output_model", &j.OutputModel}, {"output_dataset", &j.OutputDataset}, {"trainer", &j.Trainer},
			{"owner", &j.Owner}, {"expires", &j.Expires}, {"fence", &j.Fence}, {"attempt", &j.Attempt}, {"tries", &j.Tries},
			{"created_by", &j.CreatedBy}, {"created", &j.Created}, {"updated", &j.Updated}, {"started", &j.Started}, {"completed", &j.Completed}}
	},
	filter: columns{"state": "state", "display_name": "display_name", "dataset": "dataset", "base_model": "base_model", "warm_start_from": "warm_start", "output_model": "output_model",
		"peft_model": "warm_start", "merged_model": "output_model",
		"model": "base_model", "input_dataset_id": "dataset", "output_dataset_id": "output_dataset",
		"created_by": "created_by", "create_time": "created@", "update_time": "updated@", "completed_time": "completed@"},
}

// queueJob inserts a job as PENDING and tells the runners of this process.
func (t *tx) queueJob(ctx context.Context, j *Job) error {
	if j.UID == "" {
		j.UID = NewUID()
	}
	if j.ID == "" {
		j.ID = j.UID
	}
	j.State, j.Status, j.Created, j.Updated = rft.StatePending, OK(), t.now, t.now
	ok, err := t.insertNew(ctx, jobs.name, jobs.fields(j))
	if err != nil || !ok {
		return exists(err, j.Name())
	}
	t.jobs = true
	return t.stateEvent(ctx, j)
}

// CreateJob queues a job that makes no model: an export or a probe, or a
// validation asked for again.
func (db *DB) CreateJob(ctx context.Context, j Job, act Act) (Job, error) {
	err := db.write(ctx, func(t *tx) error {
		if err := t.queueJob(ctx, &j); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return j, err
}

// CreateStep queues a step and reserves the name of its output in the same
// transaction. Dataset and models must still be what the caller read: datasetUID
// and modelUIDs are checked to be READY.
func (db *DB) CreateStep(ctx context.Context, j Job, output Model, datasetUID string, modelUIDs []string, act Act) (Job, error) {
	err := db.write(ctx, func(t *tx) error {
		if err := t.readyInputs(ctx, datasetUID, modelUIDs); err != nil {
			return err
		}
		if err := t.queueMaker(ctx, &j, &output); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return j, err
}

// CreateMerge queues a merge as CreateStep queues a step: the models that it reads
// must be READY. Two at the same instant do not both get the last room.
func (db *DB) CreateMerge(ctx context.Context, j Job, output Model, modelUIDs []string, room Room, act Act) (Job, error) {
	err := db.write(ctx, func(t *tx) error {
		if err := t.readyModels(ctx, modelUIDs); err != nil {
			return err
		}
		if err := room.has(ctx, t, output.Size); err != nil {
			return err
		}
		if err := t.queueMaker(ctx, &j, &output); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return j, err
}

// queueMaker queues a job and reserves the name of the model that it makes.
func (t *tx) queueMaker(ctx context.Context, j *Job, output *Model) error {
	if j.UID == "" {
		j.UID = NewUID()
	}
	if j.ID == "" {
		j.ID = j.UID
	}
	output.State, output.Status, output.JobUID, output.FineTuningJob = StateReserved, OK(), j.UID, j.Name()
	if output.UID == "" {
		output.UID = NewUID()
	}
	if err := t.createModel(ctx, output); err != nil {
		return err
	}
	return t.queueJob(ctx, j)
}

// readyInputs checks that the inputs of a step exist and are READY.
func (t *tx) readyInputs(ctx context.Context, datasetUID string, modelUIDs []string) error {
	d, ok, err := datasets.one(ctx, t, "uid = ?", datasetUID)
	if err := found(ok, err, "dataset"); err != nil {
		return err
	}
	if d.State != StateReady {
		return notReady(d.Name(), d.State, d.Status)
	}
	return t.readyModels(ctx, modelUIDs)
}

func (t *tx) readyModels(ctx context.Context, modelUIDs []string) error {
	for _, uid := range modelUIDs {
		m, ok, err := models.one(ctx, t, "uid = ?", uid)
		if err := found(ok, err, "model"); err != nil {
			return err
		}
		if m.State != StateReady {
			return notReady(m.Name(), m.State, m.Status)
		}
	}
	return nil
}

func notReady(name, state string, s Status) error {
	if s.Message != "" {
		return rft.Errorf(rft.KindFailedPrecondition, "%s is not READY but %s: %s", name, state, s.Message)
	}
	return rft.Errorf(rft.KindFailedPrecondition, "%s is not READY but %s", name, state)
}

// Job returns the job of a kind with this id.
func (db *DB) Job(ctx context.Context, account string, kind JobKind, id string) (j Job, err error) {
	err = db.read(ctx, func(t *tx) error {
		j, err = jobByID(ctx, t, account, kind, id)
		return err
	})
	return j, err
}

func jobByID(ctx context.Context, t *tx, account string, kind JobKind, id string) (Job, error) {
	j, ok, err := jobs.one(ctx, t, "account = ? AND kind = ? AND id = ?", account, string(kind), id)
	return j, found(ok, err, Job{Account: account, Kind: kind, ID: id}.Name())
}

// JobByUID returns a job.
func (db *DB) JobByUID(ctx context.Context, uid string) (j Job, err error) {
	err = db.read(ctx, func(t *tx) error {
		var ok bool
		j, ok, err = jobs.one(ctx, t, "uid = ?", uid)
		return found(ok, err, "job")
	})
	return j, err
}

// ListJobs lists the jobs of one kind of an account.
func (db *DB) ListJobs(ctx context.Context, account string, kind JobKind, o ListOptions) (p Page[Job], err error) {
	l, err := newListing(o, jobs.filter)
	if err != nil {
		return p, err
	}
	l.and("account = ? AND kind = ?", account, string(kind))
	err = db.read(ctx, func(t *tx) error {
		p, err = jobs.page(ctx, t, l, o.After)
		return err
	})
	return p, err
}

// CancelJob asks a job to stop. A queued job is CANCELLED at once, a leased one
// becomes CANCELLING until its runner lets go; asking again changes nothing. A
// terminal job is FAILED_PRECONDITION.
func (db *DB) CancelJob(ctx context.Context, account string, kind JobKind, id string, act Act) (j Job, err error) {
	err = db.write(ctx, func(t *tx) error {
		if j, err = jobByID(ctx, t, account, kind, id); err != nil {
			return err
		}
		switch {
		case j.State.Terminal():
			return rft.Errorf(rft.KindFailedPrecondition, "cannot cancel job in state: %s", j.State)
		case j.State == rft.StateCancelling:
			return nil
		case j.KeepsAlive():
			err = t.cancelTrainer(ctx, &j, Status{Code: string(rft.KindCancelled), Message: "cancelled by " + act.Actor})
		case j.State.Queued():
			err = t.end(ctx, &j, rft.StateCancelled, Status{Code: string(rft.KindCancelled), Message: "cancelled by " + act.Actor})
		default:
			err = t.setState(ctx, &j, rft.StateCancelling, Status{Code: string(rft.KindCancelled), Message: "cancelled by " + act.Actor})
		}
		if err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return j, err
}

// DeleteJob removes a job in any state, with its events and resume points. A
// runner that holds it finds its lease gone and stops; the name that a live
// step reserved is free again. It returns what was there, so that the caller
// can remove the artefacts of the resume points.
func (db *DB) DeleteJob(ctx context.Context, account string, kind JobKind, id string, act Act) (j Job, points []ResumePoint, err error) {
	err = db.write(ctx, func(t *tx) error {
		if j, err = jobByID(ctx, t, account, kind, id); err != nil {
			return err
		}
		if points, err = resumePoints(ctx, t, j.UID); err != nil {
			return err
		}
		if j.KeepsAlive() {
			left, err := t.dropSteps(ctx, j.UID, "")
			if err != nil {
				return err
			}
			points = append(points, left...)
		}
		if _, err := t.exec(ctx, "DELETE FROM models WHERE job_uid = ? AND state = ?", j.UID, StateReserved); err != nil {
			return err
		}
		if err := t.dropOutput(ctx, &j); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM jobs WHERE uid = ?", j.UID); err != nil {
			return err
		}
		t.jobs = true
		return t.audit(ctx, act, "OK")
	})
	return j, points, err
}

// setState moves a job along rft's table and writes the event of it.
func (t *tx) setState(ctx context.Context, j *Job, next rft.JobState, s Status) error {
	if !j.State.CanBecome(next) {
		return rft.Errorf(rft.KindAborted, "%s cannot go from %s to %s", j.Name(), j.State, next)
	}
	j.State, j.Status, j.Updated = next, s, t.now
	if next.Terminal() {
		j.Completed, j.Owner, j.Expires = t.now, "", time.Time{}
	}
	if err := t.update(ctx, jobs.name, j.UID, jobs.fields(j)); err != nil {
		return err
	}
	t.jobs = true
	return t.stateEvent(ctx, j)
}

// end finishes a job without success: FAILED, CANCELLED or EXPIRED. What the
// job was making says so: the dataset or model shows the status, the name that a
// step reserved is free again.
func (t *tx) end(ctx context.Context, j *Job, state rft.JobState, s Status) error {
	if err := t.setState(ctx, j, state, s); err != nil {
		return err
	}
	var err error
	switch j.Kind {
	case JobStep, JobSFT, JobDPO, JobMerge:
		_, err = t.exec(ctx, "DELETE FROM models WHERE job_uid = ? AND state = ?", j.UID, StateReserved)
	case JobTrain:
		err = t.endTrainStep(ctx, j)
	case JobBatch:
		err = t.dropOutput(ctx, j)
	case JobValidation:
		_, err = t.exec(ctx, "UPDATE datasets SET status_code = ?, status_message = ?, updated = ? WHERE uid = ? AND state = ?",
			s.Code, s.Message, micros(t.now), specUID(j.Spec), StateUploading)
	case JobImport:
		_, err = t.exec(ctx, "UPDATE models SET status_code = ?, status_message = ?, updated = ? WHERE uid = ? AND state = ?",
			s.Code, s.Message, micros(t.now), specUID(j.Spec), StateUploading)
	}
	return err
}

// specUID reads the UID of what a validation or import is about: their specs
// carry it as "uid".
func specUID(spec json.RawMessage) string {
	var v struct {
		UID string `json:"uid"`
	}
	json.Unmarshal(spec, &v) // a spec that does not parse names nothing
	return v.UID
}
