package store

import "context"

// Snapshot is every row that names something durable elsewhere, as one
// transaction saw it; fsck holds the home against it.
type Snapshot struct {
	Accounts    []Account
	Connections []Connection
	Datasets    []Dataset
	Objects     map[string][]Object // by dataset
	Models      []Model
	Jobs        []Job
	Points      []ResumePoint
}

// Snapshot reads all of them.
func (db *DB) Snapshot(ctx context.Context) (s Snapshot, err error) {
	s.Objects = map[string][]Object{}
	err = db.read(ctx, func(t *tx) error {
		if s.Accounts, err = accounts.all(ctx, t, "ORDER BY id"); err != nil {
			return err
		}
		if s.Connections, err = connections.all(ctx, t, "ORDER BY account, id"); err != nil {
			return err
		}
		if s.Datasets, err = datasets.all(ctx, t, "ORDER BY account, id"); err != nil {
			return err
		}
		if s.Models, err = models.all(ctx, t, "ORDER BY account, id"); err != nil {
			return err
		}
		if s.Jobs, err = jobs.all(ctx, t, "ORDER BY account, kind, id"); err != nil {
			return err
		}
		for _, d := range s.Datasets {
			if s.Objects[d.UID], err = datasetObjects(ctx, t, d.UID); err != nil {
				return err
			}
		}
		s.Points, err = points.all(ctx, t, "ORDER BY job, update_no")
		return err
	})
	return s, err
}

// Check asks the database about itself and returns what is wrong with it:
// damaged pages, rows that point nowhere, gaps in the audit sequence.
func (db *DB) Check(ctx context.Context) (problems []string, err error) {
	err = db.read(ctx, func(t *tx) error {
		problems = nil
		if !db.postgres { // PostgreSQL keeps its own integrity, checksums included
			for _, q := range []string{"PRAGMA integrity_check(20)", "SELECT 'table ' || \"table\" || ' names a row of ' || parent || ' that is not there' FROM pragma_foreign_key_check"} {
				found, err := texts(ctx, t, q)
				if err != nil {
					return err
				}
				problems = append(problems, found...)
			}
		}
		gaps, err := t.checkAudit(ctx)
		problems = append(problems, gaps...)
		return err
	})
	return problems, err
}

// texts runs a query of one text column; "ok" is no problem.
func texts(ctx context.Context, t *tx, q string) ([]string, error) {
	rows, err := t.query(ctx, q)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		if s != "ok" {
			out = append(out, s)
		}
	}
	return out, rows.Err()
}

// FreeReserved deletes reserved names whose step is over or gone, which no
// transaction of ours leaves behind; fsck repairs with it.
func (db *DB) FreeReserved(ctx context.Context, uid string, act Act) error {
	return db.write(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, "DELETE FROM models WHERE uid = ? AND state = ?", uid, StateReserved); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
}
