package store

import (
	"context"
	"encoding/json"

	"github.com/firekeep/firekeep/internal/rft"
)

// The methods of this file end leased jobs. Each is one transaction that
// changes the job and what it made together, and each may be repeated after a
// crash: the fence of a finished job is dead, so a second call is refused.

// FinishStep makes a step's model READY and the job COMPLETED. The content and
// the manifest of the checkpoint are in place by now.
func (db *DB) FinishStep(ctx context.Context, uid string, fence int64, made Model, s Status, result json.RawMessage, act Act) error {
	return db.finish(ctx, uid, fence, s, result, act, func(t *tx, j *Job) error {
		if err := t.makeReady(ctx, j, &made); err != nil || j.Kind != JobTrain {
			return err
		}
		return t.passOn(ctx, j.Trainer, &made, s)
	})
}

// FinishMerge makes a merge's model READY and the job COMPLETED. place is as
// FinishImport's.
func (db *DB) FinishMerge(ctx context.Context, uid string, fence int64, made Model, place func() error, act Act) error {
	return db.finish(ctx, uid, fence, OK(), nil, act, func(t *tx, j *Job) error {
		if place != nil {
			if err := place(); err != nil {
				return err
			}
		}
		return t.makeReady(ctx, j, &made)
	})
}

// makeReady puts what a job made under the name that the job reserved.
func (t *tx) makeReady(ctx context.Context, j *Job, made *Model) error {
	m, ok, err := models.one(ctx, t, "job_uid = ? AND state = ?", j.UID, StateReserved)
	if err := found(ok, err, made.Name()); err != nil {
		return err
	}
	made.UID, made.Account, made.ID, made.JobUID, made.FineTuningJob, made.CreatedBy = m.UID, m.Account, m.ID, m.JobUID, m.FineTuningJob, m.CreatedBy
	made.Created, made.Updated, made.State, made.Status = t.now, t.now, StateReady, OK()
	return t.update(ctx, models.name, m.UID, models.fields(made))
}

// FinishImport makes an imported model READY and the job COMPLETED. place puts
// the content under its final name within the transaction, so that no deletion
// of a model with the same content comes between; nil when it is there. Files that
// were sent for the model go when it is there, so their room is the model's.
func (db *DB) FinishImport(ctx context.Context, uid string, fence int64, made Model, place func() error, room Room, act Act) error {
	return db.finish(ctx, uid, fence, OK(), nil, act, func(t *tx, j *Job) error {
		m, ok, err := models.one(ctx, t, "uid = ? AND state = ?", made.UID, StateUploading)
		if err := found(ok, err, made.Name()); err != nil {
			return err
		}
		sent, err := t.arrived(ctx, made.UID)
		if err != nil {
			return err
		}
		if err := room.has(ctx, t, made.Size-sent); err != nil {
			return err
		}
		if place != nil {
			if err := place(); err != nil {
				return err
			}
		}
		made.Account, made.ID, made.DisplayName, made.Description, made.Public = m.Account, m.ID, m.DisplayName, m.Description, m.Public
		made.CreatedBy, made.Created, made.ImportedFrom = m.CreatedBy, m.Created, m.ImportedFrom
		made.Updated, made.State, made.Status = t.now, StateReady, OK()
		return t.update(ctx, models.name, m.UID, models.fields(&made))
	})
}

// FinishValidation makes a dataset READY with its pinned objects, and the job
// COMPLETED. Format, Counts, Index and IndexDigest are taken from d.
func (db *DB) FinishValidation(ctx context.Context, uid string, fence int64, d Dataset, objects []Object, result json.RawMessage, act Act) error {
	return db.finish(ctx, uid, fence, OK(), result, act, func(t *tx, j *Job) error {
		row, ok, err := datasets.one(ctx, t, "uid = ?", d.UID)
		if err := found(ok, err, "dataset"); err != nil {
			return err
		}
		row.Format, row.Counts, row.Index, row.IndexDigest = d.Format, d.Counts, d.Index, d.IndexDigest
		row.State, row.Status, row.Updated = StateReady, OK(), t.now
		if err := t.update(ctx, datasets.name, row.UID, datasets.fields(&row)); err != nil {
			return err
		}
		return putObjects(ctx, t, row.UID, objects)
	})
}

// Finish makes a job that changes no row of ours COMPLETED: an export, a probe.
func (db *DB) Finish(ctx context.Context, uid string, fence int64, s Status, result json.RawMessage, act Act) error {
	return db.finish(ctx, uid, fence, s, result, act, func(*tx, *Job) error { return nil })
}

func (db *DB) finish(ctx context.Context, uid string, fence int64, s Status, result json.RawMessage, act Act, change func(*tx, *Job) error) error {
	return db.write(ctx, func(t *tx) error {
		j, err := t.leased(ctx, uid, fence)
		if err != nil {
			return err
		}
		if err := change(t, &j); err != nil {
			return err
		}
		j.Result, j.Progress.Percent, j.Progress.ETASeconds, j.Progress.Stage = result, 100, 0, ""
		if err := t.setState(ctx, &j, rft.StateCompleted, s); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
}

// Stop ends a leased job as FAILED or CANCELLED.
func (db *DB) Stop(ctx context.Context, uid string, fence int64, state rft.JobState, s Status, act Act) error {
	return db.write(ctx, func(t *tx) error {
		j, err := t.leased(ctx, uid, fence)
		if err != nil {
			return err
		}
		if err := t.end(ctx, &j, state, s); err != nil {
			return err
		}
		return t.audit(ctx, act, s.Code)
	})
}

var points = table[ResumePoint]{
	name: "resume_points",
	fields: func(p *ResumePoint) []field {
		return []field{{"job", &p.JobUID}, {"update_no", &p.Update}, {"mark", &p.Mark}, {"artifact", &p.Artifact}, {"digest", &p.Digest}, {"created", &p.Created}}
	},
}

// AddResumePoint commits a resume point whose content is in place, keeps the
// last keep of the job and returns those it dropped, whose artefacts the caller
// removes.
func (db *DB) AddResumePoint(ctx context.Context, uid string, fence int64, p ResumePoint, keep int) (dropped []ResumePoint, err error) {
	err = db.write(ctx, func(t *tx) error {
		if _, err := t.leased(ctx, uid, fence); err != nil {
			return err
		}
		p.JobUID, p.Created = uid, t.now
		if _, err := t.exec(ctx, "UPDATE jobs SET tries = 1 WHERE uid = ?", uid); err != nil {
			return err
		}
		// An attempt that resumed earlier than its predecessor stopped makes the
		// same point again, under another artefact.
		old, had, err := points.one(ctx, t, "job = ? AND update_no = ?", uid, p.Update)
		if err != nil {
			return err
		}
		if had {
			if _, err := t.exec(ctx, "DELETE FROM resume_points WHERE job = ? AND update_no = ?", uid, p.Update); err != nil {
				return err
			}
			if old.Artifact != p.Artifact {
				dropped = append(dropped, old)
			}
		}
		if err := t.insert(ctx, points.name, points.fields(&p)); err != nil {
			return err
		}
		all, err := resumePoints(ctx, t, uid)
		if err != nil {
			return err
		}
		for i := 0; i < len(all)-keep; i++ {
			if _, err := t.exec(ctx, "DELETE FROM resume_points WHERE job = ? AND update_no = ?", uid, all[i].Update); err != nil {
				return err
			}
			dropped = append(dropped, all[i])
		}
		data, err := json.Marshal(map[string]any{"update": p.Update, "digest": p.Digest})
		if err != nil {
			return err
		}
		return t.event(ctx, uid, Event{Kind: EventCheckpoint, Update: p.Update, Data: data})
	})
	return dropped, err
}

// DropResumePoints removes the resume points of a job that is over and returns
// them; their artefacts are the caller's to remove.
func (db *DB) DropResumePoints(ctx context.Context, uid string) (dropped []ResumePoint, err error) {
	err = db.write(ctx, func(t *tx) error {
		if dropped, err = resumePoints(ctx, t, uid); err != nil {
			return err
		}
		_, err = t.exec(ctx, "DELETE FROM resume_points WHERE job = ?", uid)
		return err
	})
	return dropped, err
}

// ResumePoints returns a job's resume points, the oldest first.
func (db *DB) ResumePoints(ctx context.Context, uid string) (all []ResumePoint, err error) {
	err = db.read(ctx, func(t *tx) error {
		all, err = resumePoints(ctx, t, uid)
		return err
	})
	return all, err
}

func resumePoints(ctx context.Context, t *tx, uid string) ([]ResumePoint, error) {
	return points.all(ctx, t, "WHERE job = ? ORDER BY update_no", uid)
}
