package store

import (
	"context"
	"database/sql"
	"net/url"
	"os"

	"github.com/firekeep/firekeep/internal/rft"
)

// CopyTo writes the SQLite database at path into the new file to, as one
// transaction sees it, while other processes go on writing. It changes neither
// rows nor schema. PostgreSQL has tools of its own for that.
func CopyTo(ctx context.Context, path, to string) error {
	if _, err := os.Stat(path); err != nil {
		return rft.Wrap(rft.KindNotFound, err, "there is no database at %s", path)
	}
	// The copy is made inside this file, which thereby has our mode and not the umask's.
	f, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be made", to)
	}
	defer f.Close()
	q := url.Values{"_pragma": {"busy_timeout(10000)", "trusted_schema(0)"}, "mode": {"rw"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String())
	if err != nil {
		return rft.Wrap(rft.KindUnavailable, err, "the database cannot be opened")
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		return (&DB{}).failure(ctx, err)
	}
	if err := f.Sync(); err != nil {
		return rft.Wrap(rft.KindUnavailable, err, "%s cannot be made durable", to)
	}
	return nil
}

// DropResumePoint removes one resume point of a job. A backup drops those whose
// artefact went while it was copied: the job then goes on from an earlier one.
func (db *DB) DropResumePoint(ctx context.Context, uid string, update int64) error {
	return db.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, "DELETE FROM resume_points WHERE job = ? AND update_no = ?", uid, update)
		return err
	})
}

// Attestations are the places in the home bucket of the signed statements about
// models, by the model's name.
func (db *DB) Attestations(ctx context.Context) (places map[string]string, err error) {
	places = map[string]string{}
	err = db.read(ctx, func(t *tx) error {
		rows, err := t.query(ctx, "SELECT account, id, attestation FROM models WHERE state = ? AND attestation <> ''", StateReady)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var m Model
			var place string
			if err := rows.Scan(&m.Account, &m.ID, &place); err != nil {
				return err
			}
			places[m.Name()] = place
		}
		return rows.Err()
	})
	return places, err
}
