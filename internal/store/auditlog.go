package store

import (
	"context"
	"fmt"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// AuditState is what the database knows of the transparency log.
type AuditState struct {
	Verifier  string // the log's public key, as a note verifier key; "" = there is no log yet
	SealedKey []byte // its private key, sealed
	Head      string // the newest tree head, a signed note; "" = none
	HeadSize  int64
	Mirrored  int64 // size of the newest head in the customer's bucket
	Exported  int64 // size of the newest head that was exported whole
	Dropped   int64 // rows up to this number have left the outbox
}

func (s *AuditState) fields() []field {
	return []field{{"verifier", &s.Verifier}, {"sealed_key", &s.SealedKey}, {"head", &s.Head}, {"head_size", &s.HeadSize},
		{"mirrored", &s.Mirrored}, {"exported", &s.Exported}, {"dropped", &s.Dropped}}
}

var auditStates = table[AuditState]{name: "audit_state", fields: (*AuditState).fields}

// AuditState reads it.
func (db *DB) AuditState(ctx context.Context) (s AuditState, err error) {
	err = db.read(ctx, func(t *tx) error {
		s, _, err = auditStates.one(ctx, t, "id = 1")
		return err
	})
	return s, err
}

// StartAudit gives the log its key, once: what is there already stands, and is
// returned.
func (db *DB) StartAudit(ctx context.Context, verifier string, sealed []byte) (s AuditState, err error) {
	err = db.write(ctx, func(t *tx) error {
		s = AuditState{Verifier: verifier, SealedKey: sealed}
		one := int64(1)
		if _, err := t.insertNew(ctx, auditStates.name, append([]field{{"id", &one}}, s.fields()...)); err != nil {
			return err
		}
		s, _, err = auditStates.one(ctx, t, "id = 1")
		return err
	})
	return s, err
}

// SetAuditHead records a tree head, and the place in the log of every row that
// it covers: row n lies at index n-1.
func (db *DB) SetAuditHead(ctx context.Context, size int64, head string) error {
	return db.write(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, "UPDATE audit_state SET head = ?, head_size = ? WHERE id = 1 AND head_size <= ?", head, size, size); err != nil {
			return err
		}
		_, err := t.exec(ctx, "UPDATE audit_outbox SET log_index = seq - 1 WHERE log_index < 0 AND seq <= ?", size)
		return err
	})
}

// SetAuditMirrored records that the head of size lies in the customer's bucket.
func (db *DB) SetAuditMirrored(ctx context.Context, size int64) error {
	return db.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, "UPDATE audit_state SET mirrored = ? WHERE id = 1 AND mirrored < ?", size, size)
		return err
	})
}

// SetAuditExported records that the log was exported whole up to size.
func (db *DB) SetAuditExported(ctx context.Context, size int64) error {
	return db.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, "UPDATE audit_state SET exported = ? WHERE id = 1 AND exported < ?", size, size)
		return err
	})
}

// RestoreAudit puts back rows that the log knows and the outbox does not: a
// database restored from before they were written. They must follow the newest
// row without a gap.
func (db *DB) RestoreAudit(ctx context.Context, rows []AuditRow) error {
	return db.write(ctx, func(t *tx) error {
		var last int64
		if err := t.row(ctx, "SELECT COALESCE(MAX(seq), 0) FROM audit_outbox").Scan(&last); err != nil {
			return err
		}
		for i := range rows {
			if last++; rows[i].Seq != last {
				return rft.Errorf(rft.KindDataLoss, "audit entry %d cannot follow entry %d", rows[i].Seq, last-1)
			}
			if err := t.insert(ctx, audits.name, audits.fields(&rows[i])); err != nil {
				return err
			}
		}
		return nil
	})
}

// DropAudit removes rows written before a time from the outbox, up to number
// upto, oldest first and without a gap. The newest row always stays: numbers go
// on from it.
func (db *DB) DropAudit(ctx context.Context, before time.Time, upto int64) (dropped int64, err error) {
	err = db.write(ctx, func(t *tx) error {
		var keep, last int64
		if err := t.row(ctx, "SELECT COALESCE(MAX(seq), 0) FROM audit_outbox").Scan(&last); err != nil {
			return err
		}
		if err := t.row(ctx, "SELECT COALESCE(MIN(seq), ?) FROM audit_outbox WHERE at >= ?", last, before.UnixMicro()).Scan(&keep); err != nil {
			return err
		}
		upto = min(upto, keep-1, last-1)
		if dropped, err = t.exec(ctx, "DELETE FROM audit_outbox WHERE seq <= ? AND log_index >= 0", upto); err != nil || dropped == 0 {
			return err
		}
		_, err = t.exec(ctx, "UPDATE audit_state SET dropped = ? WHERE id = 1 AND dropped < ?", upto, upto)
		return err
	})
	return dropped, err
}

// checkAudit finds gaps in the sequence.
func (t *tx) checkAudit(ctx context.Context) (problems []string, err error) {
	state, _, err := auditStates.one(ctx, t, "id = 1")
	if err != nil {
		return nil, err
	}
	var rows, last, unlogged int64
	if err := t.row(ctx, "SELECT COUNT(*), COALESCE(MAX(seq), 0) FROM audit_outbox").Scan(&rows, &last); err != nil {
		return nil, err
	}
	if rows != last-state.Dropped {
		problems = append(problems, fmt.Sprintf("the audit outbox has %d rows but its last number is %d and %d were dropped: rows were removed", rows, last, state.Dropped))
	}
	if err := t.row(ctx, "SELECT COUNT(*) FROM audit_outbox WHERE log_index <> -1 AND log_index <> seq - 1").Scan(&unlogged); err != nil {
		return nil, err
	}
	if unlogged != 0 {
		problems = append(problems, fmt.Sprintf("%d rows of the audit outbox name a wrong place in the log", unlogged))
	}
	return problems, nil
}
