package store

import (
	"context"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// States of export requests.
const (
	ExportAwaiting = "AWAITING_APPROVAL"
	ExportApproved = "APPROVED"
	ExportRejected = "REJECTED"
	ExportExpired  = "EXPIRED" // shown, never stored
)

// ExportRequest is an export that needs another principal's approval. It names
// one version of a model: what is approved is what leaves.
type ExportRequest struct {
	UID         string
	Account     string // whose policy asks
	ID          string // also the id of the export job once approved
	Model       string // resource name
	ModelUID    string
	ModelDigest string
	Destination string
	State       string
	RequestedBy string
	DecidedBy   string
	Reason      string
	Created     time.Time
	Expires     time.Time
	Decided     time.Time
}

// Now is the state at t: a request that nobody decided in time is over.
func (r ExportRequest) Now(t time.Time) string {
	if r.State == ExportAwaiting && !t.Before(r.Expires) {
		return ExportExpired
	}
	return r.State
}

var exportRequests = table[ExportRequest]{
	name: "export_requests",
	fields: func(r *ExportRequest) []field {
		return []field{{"uid", &r.UID}, {"account", &r.Account}, {"id", &r.ID}, {"model", &r.Model}, {"model_uid", &r.ModelUID}, {"model_digest", &r.ModelDigest},
			{"destination", &r.Destination}, {"state", &r.State}, {"requested_by", &r.RequestedBy}, {"decided_by", &r.DecidedBy}, {"reason", &r.Reason},
			{"created", &r.Created}, {"expires", &r.Expires}, {"decided", &r.Decided}}
	},
	filter: columns{"state": "state", "model": "model", "requested_by": "requested_by", "create_time": "created@", "update_time": "created@"},
}

func exportRequestName(account, id string) string {
	return rft.AccountName(account) + "/exportRequests/" + id
}

// CreateExportRequest adds a request that lives for life.
func (db *DB) CreateExportRequest(ctx context.Context, r ExportRequest, life time.Duration, act Act) (ExportRequest, error) {
	err := db.write(ctx, func(t *tx) error {
		r.UID = NewUID()
		if r.ID == "" {
			r.ID = r.UID
		}
		r.State, r.Created, r.Expires = ExportAwaiting, t.now, t.now.Add(life)
		if ok, err := t.insertNew(ctx, exportRequests.name, exportRequests.fields(&r)); err != nil || !ok {
			return exists(err, exportRequestName(r.Account, r.ID))
		}
		return t.audit(ctx, act, "OK")
	})
	return r, err
}

// ExportRequest returns a request.
func (db *DB) ExportRequest(ctx context.Context, account, id string) (r ExportRequest, err error) {
	err = db.read(ctx, func(t *tx) error {
		var ok bool
		r, ok, err = exportRequests.one(ctx, t, "account = ? AND id = ?", account, id)
		return found(ok, err, exportRequestName(account, id))
	})
	return r, err
}

// ListExportRequests lists the requests of an account.
func (db *DB) ListExportRequests(ctx context.Context, account string, o ListOptions) (p Page[ExportRequest], err error) {
	l, err := newListing(o, exportRequests.filter)
	if err != nil {
		return p, err
	}
	l.and("account = ?", account)
	err = db.read(ctx, func(t *tx) error {
		p, err = exportRequests.page(ctx, t, l, o.After)
		return err
	})
	return p, err
}

// DecideExport approves a request, which queues job, or rejects it (job nil).
// The rule of two lies here, where nothing comes between check and decision:
// who asked does not decide, and nothing is decided twice.
func (db *DB) DecideExport(ctx context.Context, account, id, by, reason string, job *Job, act Act) (r ExportRequest, err error) {
	err = db.write(ctx, func(t *tx) error {
		var ok bool
		r, ok, err = exportRequests.one(ctx, t, "account = ? AND id = ?", account, id)
		if err := found(ok, err, exportRequestName(account, id)); err != nil {
			return err
		}
		switch state := r.Now(t.now); {
		case state != ExportAwaiting:
			return rft.Errorf(rft.KindFailedPrecondition, "%s is %s", exportRequestName(account, id), state)
		case job != nil && r.RequestedBy == by:
			return rft.Errorf(rft.KindPermissionDenied, "%s asked for this export; another principal must approve it", by)
		}
		r.State, r.DecidedBy, r.Reason, r.Decided = ExportRejected, by, reason, t.now
		if job != nil {
			r.State = ExportApproved
			if err := t.queueJob(ctx, job); err != nil {
				return err
			}
		}
		if err := t.update(ctx, exportRequests.name, r.UID, exportRequests.fields(&r)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return r, err
}
