package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Check holds a log that nobody writes against itself, and the database's rows
// against the log. Rows that are not logged yet are no finding: the next start
// takes them up. dir is what Config.Dir was.
func Check(ctx context.Context, db *store.DB, dir string) ([]Finding, error) {
	state, err := db.AuditState(ctx)
	if err != nil || state.Verifier == "" {
		return nil, err // no server has opened this home since it has a log
	}
	key, err := ParseKey(state.Verifier)
	if err != nil {
		return []Finding{{FoundOutbox, -1, "the database holds no usable public key of its audit log"}}, nil
	}
	d, err := OpenDir(dir)
	if err != nil {
		return []Finding{{FoundMissing, -1, "the audit log's directory is gone; the next start writes it again from the database, as far as that has its entries"}}, nil
	}
	var heads [][]byte
	if state.Head != "" {
		heads = append(heads, []byte(state.Head))
	}
	r, err := Verify(ctx, d, key, heads...)
	if err != nil {
		return nil, err
	}
	size, err := d.size()
	if err != nil {
		r.add(FoundMalformed, -1, "the audit log's own record of its size cannot be read")
		return r.Findings, nil
	}
	if r.OK() {
		err = d.against(ctx, r, db, size)
	}
	return r.Findings, err
}

// size is how many entries the writer has made durable: at least as many as the
// signed tree head covers.
func (d Dir) size() (int64, error) {
	b, err := d.read(".state/treeState", maxHeadBytes)
	if err != nil {
		return 0, err
	}
	var state struct {
		Size int64 `json:"size"`
	}
	if err := json.Unmarshal(b, &state); err != nil || state.Size < 0 {
		return 0, errors.Join(errHead, err)
	}
	return state.Size, nil
}

// against compares every row that is still in the database with its entry.
func (d Dir) against(ctx context.Context, r *Report, db *store.DB, size int64) error {
	last, err := db.LastAudit(ctx)
	if err != nil {
		return err
	}
	if size > last {
		r.add(FoundOutbox, last, "the audit log has %d entries, the database ends with row %d: it was restored from an older copy; the next start puts the rows back", size, last)
	}
	for from := int64(1); from <= min(size, last); {
		rows, err := db.AuditFrom(ctx, from, roundRows)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return nil
		}
		if err := d.compare(r, rows, size); err != nil {
			return err
		}
		from = rows[len(rows)-1].Seq + 1
	}
	return nil
}

func (d Dir) compare(r *Report, rows []store.AuditRow, size int64) error {
	var leaves [][]byte
	bundle := int64(-1)
	for _, row := range rows {
		index := row.Seq - 1
		if index >= size {
			return nil
		}
		if index/tileWidth != bundle {
			var err error
			bundle = index / tileWidth
			if leaves, err = d.bundle(bundle, width(size, bundle)); errors.Is(err, fs.ErrNotExist) {
				r.add(FoundTruncated, index, "the entries from %d on are gone", bundle*tileWidth)
				return nil
			} else if err != nil {
				return rft.Wrap(rft.KindDataLoss, err, "the audit log's entries from %d on cannot be read", bundle*tileWidth)
			}
		}
		if !bytes.Equal(leaves[index%tileWidth], eventOf(row).Leaf()) {
			r.add(FoundOutbox, index, "row %d of the database is not the event that the log has", row.Seq)
		}
	}
	return nil
}
