package store

import (
	"context"

	"github.com/firekeep/firekeep/internal/rft"
)

var connections = table[Connection]{
	name: "connections",
	fields: func(c *Connection) []field {
		return []field{{"uid", &c.UID}, {"account", &c.Account}, {"id", &c.ID}, {"display_name", &c.DisplayName}, {"kind", &c.Kind}, {"url_prefix", &c.URLPrefix},
			{"options", &c.Options}, {"sealed", &c.Sealed}, {"created_by", &c.CreatedBy}, {"created", &c.Created}, {"updated", &c.Updated},
			{"auth", &c.Auth}, {"state", &c.State}, {"status_code", &c.Status.Code}, {"status_message", &c.Status.Message}, {"rotated", &c.Rotated}, {"checked", &c.Checked}}
	},
	filter: columns{"kind": "kind", "display_name": "display_name", "url_prefix": "url_prefix"},
}

var datasets = table[Dataset]{
	name: "datasets",
	fields: func(d *Dataset) []field {
		return []field{{"uid", &d.UID}, {"account", &d.Account}, {"id", &d.ID}, {"display_name", &d.DisplayName}, {"external_url", &d.ExternalURL},
			{"uploaded", &d.Uploaded}, {"format", &d.Format}, {"state", &d.State}, {"status_code", &d.Status.Code}, {"status_message", &d.Status.Message},
			{"counts", &d.Counts}, {"index_key", &d.Index}, {"index_digest", &d.IndexDigest}, {"created_by", &d.CreatedBy}, {"created", &d.Created}, {"updated", &d.Updated}}
	},
	filter: columns{"name": "id", "state": "state", "display_name": "display_name", "format": "format", "external_url": "external_url", "created_by": "created_by",
		"create_time": "created@", "update_time": "updated@"},
}

func connectionName(account, id string) string {
	return rft.Name{Account: account, Collection: rft.Connections, ID: id}.String()
}

// CreateConnection adds a connection.
func (db *DB) CreateConnection(ctx context.Context, c Connection, act Act) (Connection, error) {
	err := db.write(ctx, func(t *tx) error {
		c.Created, c.Updated = t.now, t.now
		if c.UID == "" {
			c.UID = NewUID() // the sealed secret may already be bound to it
		}
		if c.Auth == "" {
			c.Auth, c.State, c.Status = "secret", ConnectionReady, OK()
		}
		if ok, err := t.insertNew(ctx, connections.name, connections.fields(&c)); err != nil || !ok {
			return exists(err, connectionName(c.Account, c.ID))
		}
		return t.audit(ctx, act, "OK")
	})
	return c, err
}

// Connection returns a connection.
func (db *DB) Connection(ctx context.Context, account, id string) (c Connection, err error) {
	err = db.read(ctx, func(t *tx) error {
		var ok bool
		c, ok, err = connections.one(ctx, t, "account = ? AND id = ?", account, id)
		return found(ok, err, connectionName(account, id))
	})
	return c, err
}

// ListConnections lists the connections of an account.
func (db *DB) ListConnections(ctx context.Context, account string, o ListOptions) (p Page[Connection], err error) {
	l, err := newListing(o, connections.filter)
	if err != nil {
		return p, err
	}
	l.and("account = ?", account)
	err = db.read(ctx, func(t *tx) error {
		p, err = connections.page(ctx, t, l, o.After)
		return err
	})
	return p, err
}

// AllConnections returns every connection of an account; the source of
// credentials looks for the longest prefix among them.
func (db *DB) AllConnections(ctx context.Context, account string) (all []Connection, err error) {
	err = db.read(ctx, func(t *tx) error {
		all, err = connections.all(ctx, t, "WHERE account = ? ORDER BY id", account)
		return err
	})
	return all, err
}

// DeleteConnection removes a connection and with it the sealed secret.
func (db *DB) DeleteConnection(ctx context.Context, account, id string, act Act) error {
	return db.write(ctx, func(t *tx) error {
		n, err := t.exec(ctx, "DELETE FROM connections WHERE account = ? AND id = ?", account, id)
		if err := found(n == 1, err, connectionName(account, id)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
}

// CreateDataset adds a dataset and, when job is not nil, queues its validation.
func (db *DB) CreateDataset(ctx context.Context, d Dataset, job *Job, act Act) (Dataset, error) {
	err := db.write(ctx, func(t *tx) error {
		d.Created, d.Updated = t.now, t.now
		if d.UID == "" {
			d.UID = NewUID() // the validation's spec names it
		}
		if ok, err := t.insertNew(ctx, datasets.name, datasets.fields(&d)); err != nil || !ok {
			return exists(err, d.Name())
		}
		if job != nil {
			if err := t.queueJob(ctx, job); err != nil {
				return err
			}
		}
		return t.audit(ctx, act, "OK")
	})
	return d, err
}

// Dataset returns a dataset.
func (db *DB) Dataset(ctx context.Context, account, id string) (d Dataset, err error) {
	err = db.read(ctx, func(t *tx) error {
		d, err = dataset(ctx, t, account, id)
		return err
	})
	return d, err
}

func dataset(ctx context.Context, t *tx, account, id string) (Dataset, error) {
	d, ok, err := datasets.one(ctx, t, "account = ? AND id = ?", account, id)
	return d, found(ok, err, Dataset{Account: account, ID: id}.Name())
}

// DatasetByUID returns a dataset with its pinned objects in order.
func (db *DB) DatasetByUID(ctx context.Context, uid string) (d Dataset, objects []Object, err error) {
	err = db.read(ctx, func(t *tx) error {
		var ok bool
		d, ok, err = datasets.one(ctx, t, "uid = ?", uid)
		if err := found(ok, err, "dataset"); err != nil {
			return err
		}
		objects, err = datasetObjects(ctx, t, uid)
		return err
	})
	return d, objects, err
}

func datasetObjects(ctx context.Context, t *tx, uid string) ([]Object, error) {
	rows, err := t.query(ctx, "SELECT object_key, size, version, etag, sha256 FROM dataset_objects WHERE dataset = ? ORDER BY ordinal", uid)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []Object
	for rows.Next() {
		var o Object
		if err := rows.Scan(&o.Key, &o.Pin.Size, &o.Pin.Version, &o.Pin.ETag, &o.SHA256); err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, rows.Err()
}

// putObjects replaces the pinned objects of a dataset.
func putObjects(ctx context.Context, t *tx, uid string, objects []Object) error {
	if _, err := t.exec(ctx, "DELETE FROM dataset_objects WHERE dataset = ?", uid); err != nil {
		return err
	}
	for i, o := range objects {
		if _, err := t.exec(ctx, "INSERT INTO dataset_objects (dataset, ordinal, object_key, size, version, etag, sha256) VALUES (?, ?, ?, ?, ?, ?, ?)",
			uid, i, o.Key, o.Pin.Size, o.Pin.Version, o.Pin.ETag, o.SHA256); err != nil {
			return err
		}
	}
	return nil
}

// ListDatasets lists the datasets of an account.
func (db *DB) ListDatasets(ctx context.Context, account string, o ListOptions) (p Page[Dataset], err error) {
	l, err := newListing(o, datasets.filter)
	if err != nil {
		return p, err
	}
	l.and("account = ?", account)
	err = db.read(ctx, func(t *tx) error {
		p, err = datasets.page(ctx, t, l, o.After)
		return err
	})
	return p, err
}

// UpdateDataset changes the display name.
func (db *DB) UpdateDataset(ctx context.Context, account, id, displayName string, act Act) (d Dataset, err error) {
	err = db.write(ctx, func(t *tx) error {
		if d, err = dataset(ctx, t, account, id); err != nil {
			return err
		}
		d.DisplayName, d.Updated = displayName, t.now
		if err := t.update(ctx, datasets.name, d.UID, datasets.fields(&d)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return d, err
}

// UploadedDataset records the objects of an upload and queues the validation.
// A dataset that is READY, or was made from a URL, is refused. Validations of
// an earlier upload end: a late one must not bring back the rows that this upload
// replaced, nor change a dataset that is READY by then.
func (db *DB) UploadedDataset(ctx context.Context, uid string, objects []Object, job *Job, room Room, act Act) error {
	return db.write(ctx, func(t *tx) error {
		d, ok, err := datasets.one(ctx, t, "uid = ?", uid)
		if err := found(ok, err, "dataset"); err != nil {
			return err
		}
		if err := takesUploads(d); err != nil {
			return err
		}
		if err := t.endValidations(ctx, d); err != nil {
			return err
		}
		d.Uploaded, d.Status, d.Updated = true, OK(), t.now
		if err := t.update(ctx, datasets.name, uid, datasets.fields(&d)); err != nil {
			return err
		}
		if err := putObjects(ctx, t, uid, objects); err != nil {
			return err
		}
		if err := room.has(ctx, t, 0); err != nil { // with these rows, without those before
			return err
		}
		if err := t.queueJob(ctx, job); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
}

// endValidations ends the validations of rows that are replaced.
func (t *tx) endValidations(ctx context.Context, d Dataset) error {
	earlier, err := jobs.all(ctx, t, "WHERE account = ? AND kind = ? AND dataset = ? AND completed = 0", d.Account, string(JobValidation), d.Name())
	if err != nil {
		return err
	}
	for i := range earlier {
		if err := t.end(ctx, &earlier[i], rft.StateCancelled, Status{Code: string(rft.KindCancelled), Message: "the rows were uploaded again"}); err != nil {
			return err
		}
	}
	return nil
}

// DeleteDataset removes a dataset and returns it; refused with
// FAILED_PRECONDITION while a live step reads it.
func (db *DB) DeleteDataset(ctx context.Context, account, id string, act Act) (d Dataset, objects []Object, err error) {
	err = db.write(ctx, func(t *tx) error {
		if d, err = dataset(ctx, t, account, id); err != nil {
			return err
		}
		for _, col := range []string{"dataset", "output_dataset"} {
			if err := t.unused(ctx, account, col, d.Name()); err != nil {
				return err
			}
		}
		if objects, err = datasetObjects(ctx, t, d.UID); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM jobs WHERE account = ? AND kind = ? AND dataset = ?", account, string(JobValidation), d.Name()); err != nil {
			return err
		}
		if _, err := t.forgetFiles(ctx, d.UID); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM datasets WHERE uid = ?", d.UID); err != nil {
			return err
		}
		t.jobs = true
		return t.audit(ctx, act, "OK")
	})
	return d, objects, err
}

// readsInputs are live jobs that need what they name until they end.
const readsInputs = "(kind IN ('export', 'batch', 'merge') OR kind IN " + trainingKinds + ") AND completed = 0"

// unused refuses when a live job of the account refers to name in column col.
func (t *tx) unused(ctx context.Context, account, col, name string) error {
	j, ok, err := jobs.one(ctx, t, "account = ? AND "+col+" = ? AND "+readsInputs, account, name)
	if err != nil || !ok {
		return err
	}
	if j.Kind == JobTrain { // people know the trainer
		p, ok, err := jobs.one(ctx, t, "uid = ?", j.Trainer)
		if err != nil || !ok {
			return err
		}
		return rft.Errorf(rft.KindFailedPrecondition, "%s is in use by a step of %s, which is %s; wait for it, or delete the trainer", name, p.Name(), p.State)
	}
	return rft.Errorf(rft.KindFailedPrecondition, "%s is in use by %s, which is %s; cancel it first", name, j.Name(), j.State)
}
