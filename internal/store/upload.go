package store

import (
	"context"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// UploadFile is a file that was announced for a dataset or a model: its name and
// size, and where it lies once it arrived.
type UploadFile struct {
	Owner   string // uid of the dataset or model
	Account string // id
	Name    string
	// Batch is the announcement that the file belongs to: each one replaces those
	// before it.
	Batch   string
	Size    int64
	Key     string // object in the home bucket, "" = it has not arrived
	SHA256  string // hex
	Created time.Time
}

// Arrived reports whether the file is there.
func (f UploadFile) Arrived() bool { return f.Key != "" }

var uploadFiles = table[UploadFile]{
	name: "upload_files",
	fields: func(f *UploadFile) []field {
		return []field{{"owner", &f.Owner}, {"account", &f.Account}, {"name", &f.Name}, {"batch", &f.Batch}, {"size", &f.Size},
			{"object_key", &f.Key}, {"sha256", &f.SHA256}, {"created", &f.Created}}
	},
}

// AnnounceFiles replaces the files of an owner with files that are to come, and
// returns those that were there. The rows of a dataset that was found wrong go
// with them; what is READY, and what is just being imported, keeps its files.
func (db *DB) AnnounceFiles(ctx context.Context, owner, account string, files []UploadFile, act Act) (replaced []UploadFile, err error) {
	err = db.write(ctx, func(t *tx) error {
		if err := t.awaitsFiles(ctx, owner); err != nil {
			return err
		}
		if replaced, err = t.forgetFiles(ctx, owner); err != nil {
			return err
		}
		batch := NewUID()
		for i := range files {
			f := &files[i]
			f.Owner, f.Account, f.Batch, f.Key, f.SHA256, f.Created = owner, account, batch, "", "", t.now
			if err := t.insert(ctx, uploadFiles.name, uploadFiles.fields(f)); err != nil {
				return err
			}
		}
		return t.audit(ctx, act, "OK")
	})
	return replaced, err
}

// awaitsFiles makes a dataset or a model wait for files anew.
func (t *tx) awaitsFiles(ctx context.Context, owner string) error {
	d, ok, err := datasets.one(ctx, t, "uid = ?", owner)
	if err != nil {
		return err
	}
	if !ok {
		m, ok, err := models.one(ctx, t, "uid = ?", owner)
		if err := found(ok, err, "model"); err != nil {
			return err
		}
		_, going, err := jobs.one(ctx, t, "account = ? AND kind = ? AND output_model = ? AND completed = 0", m.Account, string(JobImport), m.Name())
		if err == nil && (going || m.State != StateUploading) {
			err = rft.Errorf(rft.KindFailedPrecondition, "%s cannot take an upload: it is %s, or is being imported", m.Name(), m.State)
		}
		return err
	}
	if err := takesUploads(d); err != nil {
		return err
	}
	if err := t.endValidations(ctx, d); err != nil {
		return err
	}
	d.Uploaded, d.Status, d.Updated = false, OK(), t.now
	if err := t.update(ctx, datasets.name, d.UID, datasets.fields(&d)); err != nil {
		return err
	}
	return putObjects(ctx, t, d.UID, nil)
}

// forgetFiles removes the rows of an owner's files and returns them.
func (t *tx) forgetFiles(ctx context.Context, owner string) ([]UploadFile, error) {
	all, err := uploadFiles.all(ctx, t, "WHERE owner = ? ORDER BY name", owner)
	if err == nil && len(all) > 0 {
		_, err = t.exec(ctx, "DELETE FROM upload_files WHERE owner = ?", owner)
	}
	return all, err
}

// arrived adds up the files of an owner that are there.
func (t *tx) arrived(ctx context.Context, owner string) (sum int64, err error) {
	err = t.row(ctx, "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM upload_files WHERE owner = ? AND object_key <> ''", owner).Scan(&sum)
	return sum, err
}

// UploadFiles returns the files of an owner in the order of names.
func (db *DB) UploadFiles(ctx context.Context, owner string) (all []UploadFile, err error) {
	err = db.read(ctx, func(t *tx) error {
		all, err = uploadFiles.all(ctx, t, "WHERE owner = ? ORDER BY name", owner)
		return err
	})
	return all, err
}

// AllUploadFiles returns the files of everybody; fsck accounts for them.
func (db *DB) AllUploadFiles(ctx context.Context) (all []UploadFile, err error) {
	err = db.read(ctx, func(t *tx) error {
		all, err = uploadFiles.all(ctx, t, "ORDER BY owner, name")
		return err
	})
	return all, err
}

// FileArrived records where an announced file lies, and returns the object that
// it replaces, "" = none. An announcement that was replaced meanwhile takes none.
func (db *DB) FileArrived(ctx context.Context, f UploadFile, room Room, act Act) (replaced string, err error) {
	err = db.write(ctx, func(t *tx) error {
		old, ok, err := uploadFiles.one(ctx, t, "owner = ? AND name = ? AND batch = ?", f.Owner, f.Name, f.Batch)
		if err != nil {
			return err
		}
		if !ok {
			return rft.Errorf(rft.KindFailedPrecondition, "this file is not expected any more: the upload was announced anew")
		}
		replaced = old.Key
		if _, err := t.exec(ctx, "UPDATE upload_files SET object_key = ?, sha256 = ? WHERE owner = ? AND name = ?", f.Key, f.SHA256, f.Owner, f.Name); err != nil {
			return err
		}
		if err := room.has(ctx, t, 0); err != nil { // with this file
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return replaced, err
}

// ForgetFiles removes the rows of an owner's files and returns them.
func (db *DB) ForgetFiles(ctx context.Context, owner string) (all []UploadFile, err error) {
	err = db.write(ctx, func(t *tx) error {
		all, err = t.forgetFiles(ctx, owner)
		return err
	})
	return all, err
}

// checkImport refuses to bring the files of a model in from a place when they come,
// or came, from elsewhere.
func (t *tx) checkImport(ctx context.Context, m Model, from string) error {
	files, err := uploadFiles.all(ctx, t, "WHERE owner = ?", m.UID)
	switch {
	case err != nil:
		return err
	case m.State != StateUploading:
		return rft.Errorf(rft.KindFailedPrecondition, "%s takes no import: it is %s; create a model without a source first", m.Name(), m.State)
	case len(files) > 0:
		return rft.Errorf(rft.KindFailedPrecondition, "%s waits for an upload of %d files; delete it and create it anew to import it from elsewhere", m.Name(), len(files))
	case m.ImportedFrom != "" && m.ImportedFrom != from:
		return rft.Errorf(rft.KindFailedPrecondition, "%s is imported from %s; delete it and create it anew to import it from elsewhere", m.Name(), m.ImportedFrom)
	}
	return nil
}

// ImportWaiting queues the import of a model that waits for its files, unless one
// goes on already, and returns the job. Earlier failures are forgotten. from is what
// the model shows of where it came from, "" = an upload.
func (db *DB) ImportWaiting(ctx context.Context, uid, from string, job Job, act Act) (Job, error) {
	err := db.write(ctx, func(t *tx) error {
		m, ok, err := models.one(ctx, t, "uid = ?", uid)
		if err := found(ok, err, "model"); err != nil {
			return err
		}
		if from != "" {
			if err := t.checkImport(ctx, m, from); err != nil {
				return err
			}
		} else if m.State != StateUploading { // its upload was imported meanwhile
			return nil
		}
		if now, going, err := jobs.one(ctx, t, "account = ? AND kind = ? AND output_model = ? AND completed = 0", m.Account, string(JobImport), m.Name()); err != nil || going {
			job = now
			return err
		}
		m.Status, m.ImportedFrom, m.Updated = OK(), from, t.now
		if err := t.update(ctx, models.name, uid, models.fields(&m)); err != nil {
			return err
		}
		if err := t.queueJob(ctx, &job); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return job, err
}
