package store

import (
	"context"

	"github.com/firekeep/firekeep/internal/rft"
)

// CreateBatch queues a batch inference job and reserves the name of the dataset
// that it writes: the dataset is there, UPLOADING, and takes no rows but the
// job's. Dataset and model must still be READY.
func (db *DB) CreateBatch(ctx context.Context, j Job, output Dataset, datasetUID string, modelUIDs []string, act Act) (Job, error) {
	err := db.write(ctx, func(t *tx) error {
		if err := t.readyInputs(ctx, datasetUID, modelUIDs); err != nil {
			return err
		}
		output.State, output.Status, output.Format, output.Created, output.Updated = StateUploading, OK(), FormatAnswers, t.now, t.now
		if ok, err := t.insertNew(ctx, datasets.name, datasets.fields(&output)); err != nil || !ok {
			return exists(err, output.Name())
		}
		j.OutputDataset = output.Name()
		if err := t.queueJob(ctx, &j); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return j, err
}

// dropOutput frees the name of a dataset that a batch job did not finish.
func (t *tx) dropOutput(ctx context.Context, j *Job) error {
	if j.Kind != JobBatch {
		return nil
	}
	_, err := t.exec(ctx, "DELETE FROM datasets WHERE uid = ? AND state = ? AND format = ?", specUID(j.Spec), StateUploading, FormatAnswers)
	return err
}

// FinishBatch makes the answers of a batch READY and the job COMPLETED. The
// content of all objects is in place by now. files names them where they lie in
// the home bucket.
func (db *DB) FinishBatch(ctx context.Context, uid string, fence int64, d Dataset, objects []Object, files []UploadFile, p Progress, act Act) error {
	return db.finish(ctx, uid, fence, OK(), nil, act, func(t *tx, j *Job) error {
		row, ok, err := datasets.one(ctx, t, "uid = ? AND state = ? AND format = ?", d.UID, StateUploading, FormatAnswers)
		if err := found(ok, err, d.Name()); err != nil {
			return err
		}
		row.Counts, row.Index, row.IndexDigest, row.Uploaded = d.Counts, d.Index, d.IndexDigest, d.Uploaded
		row.State, row.Status, row.Updated = StateReady, OK(), t.now
		if err := t.update(ctx, datasets.name, row.UID, datasets.fields(&row)); err != nil {
			return err
		}
		for _, f := range files {
			f.Owner, f.Account, f.Created = row.UID, row.Account, t.now
			if err := t.insert(ctx, uploadFiles.name, uploadFiles.fields(&f)); err != nil {
				return err
			}
		}
		j.Progress = p
		return putObjects(ctx, t, row.UID, objects)
	})
}

// takesUploads refuses rows for a dataset that has its own or gets them from a
// bucket or a job.
func takesUploads(d Dataset) error {
	switch {
	case d.Format == FormatAnswers:
		return rft.Errorf(rft.KindFailedPrecondition, "%s cannot take an upload: a batch inference job writes it", d.Name())
	case d.State == StateReady || d.ExternalURL != "":
		return rft.Errorf(rft.KindFailedPrecondition, "%s cannot take an upload: it is %s", d.Name(), d.State)
	}
	return nil
}
