package store

import (
	"context"
	"errors"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// States of accounts.
const (
	AccountActive    = "ACTIVE"
	AccountSuspended = "SUSPENDED" // keys are refused, queued jobs wait
	AccountDeleted   = "DELETED"   // a name that is never used again
)

// Quota is one limit of an account. The account's admins choose Value, the
// operator Max; 0 = none set.
type Quota struct {
	Value int64 `json:"value,omitempty"`
	Max   int64 `json:"max,omitempty"`
}

// QuotaSteps is the quota that the queue itself keeps: steps that run at once.
const QuotaSteps = "concurrent-steps"

// Effective is the limit in force, 0 = none.
func (q Quota) Effective() int64 {
	if q.Value == 0 || (q.Max > 0 && q.Value > q.Max) {
		return q.Max
	}
	return q.Value
}

// SetAccountState suspends, resumes or deletes an account. A deleted one stays
// deleted.
func (db *DB) SetAccountState(ctx context.Context, id, state string, act Act) (a Account, err error) {
	err = db.write(ctx, func(t *tx) error {
		if a, err = t.account(ctx, id); err != nil {
			return err
		}
		if a.State == AccountDeleted {
			return rft.Errorf(rft.KindNotFound, "%s not found", rft.AccountName(id))
		}
		a.State, a.Updated = state, t.now
		if _, err := t.exec(ctx, "UPDATE accounts SET state = ?, updated = ? WHERE id = ?", state, micros(t.now), id); err != nil {
			return err
		}
		t.jobs = true // queued jobs of a resumed account can run
		return t.audit(ctx, act, "OK")
	})
	return a, err
}

// SetQuota changes one limit of an account.
func (db *DB) SetQuota(ctx context.Context, account, quota string, change func(Quota) Quota, act Act) (a Account, err error) {
	err = db.write(ctx, func(t *tx) error {
		if a, err = t.account(ctx, account); err != nil {
			return err
		}
		if a.Quotas == nil {
			a.Quotas = map[string]Quota{}
		}
		a.Quotas[quota], a.Updated = change(a.Quotas[quota]), t.now
		if _, err := t.exec(ctx, "UPDATE accounts SET quotas = ?, steps_limit = ?, updated = ? WHERE id = ?",
			column{&a.Quotas}, a.Quotas[QuotaSteps].Effective(), micros(t.now), account); err != nil {
			return err
		}
		t.jobs = true
		return t.audit(ctx, act, "OK")
	})
	return a, err
}

func (t *tx) account(ctx context.Context, id string) (Account, error) {
	a, ok, err := accounts.one(ctx, t, "id = ?", id)
	return a, found(ok, err, rft.AccountName(id))
}

// Usage is what an account uses of its quotas.
type Usage struct {
	Queued  int64 // jobs that wait or run
	Running int64 // steps under a lease
	Bytes   int64 // checkpoints, prepared bases and uploaded rows
}

// AccountUsage adds up what an account uses.
func (db *DB) AccountUsage(ctx context.Context, account string) (u Usage, err error) {
	err = db.read(ctx, func(t *tx) error {
		if err := t.row(ctx, "SELECT COUNT(*), COALESCE(SUM(CASE WHEN owner <> '' AND kind IN "+trainingKinds+" THEN 1 ELSE 0 END), 0) FROM jobs WHERE account = ? AND completed = 0",
			account).Scan(&u.Queued, &u.Running); err != nil {
			return err
		}
		u.Bytes, err = t.bytes(ctx, account)
		return err
	})
	return u, err
}

// bytes adds up the models of an account, its uploaded rows, and files that arrived
// for a model or for a dataset that is not complete yet.
func (t *tx) bytes(ctx context.Context, account string) (sum int64, err error) {
	for _, query := range []string{
		"SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM models WHERE account = ?",
		"SELECT CAST(COALESCE(SUM(o.size), 0) AS BIGINT) FROM dataset_objects o JOIN datasets d ON d.uid = o.dataset WHERE d.account = ? AND d.uploaded = 1",
		"SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM upload_files WHERE account = ? AND object_key <> '' AND NOT EXISTS (SELECT 1 FROM dataset_objects o WHERE o.object_key = upload_files.object_key)",
	} {
		var n int64
		if err := t.row(ctx, query, account).Scan(&n); err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// ErrNoRoom is the cause of a refusal for want of room.
var ErrNoRoom = errors.New("no room")

// Room is what an account may store: Limit bytes, 0 = no limit.
type Room struct {
	Account string
	Limit   int64
}

// has refuses with RESOURCE_EXHAUSTED what does not fit.
func (r Room) has(ctx context.Context, t *tx, size int64) error {
	if r.Limit == 0 {
		return nil
	}
	used, err := t.bytes(ctx, r.Account)
	if err == nil && size > r.Limit-used {
		err = rft.Wrap(rft.KindResourceExhausted, ErrNoRoom, "%d more bytes do not fit into the %d that the account may store; `firekeep quota list` shows what is used", size, r.Limit)
	}
	return err
}

// DisbandAccount removes what lets anybody into an account: keys, sessions,
// roles, identity providers and identities. Users stay, for the audit log's sake.
func (db *DB) DisbandAccount(ctx context.Context, account string, act Act) error {
	return db.write(ctx, func(t *tx) error {
		if _, err := t.account(ctx, account); err != nil {
			return err
		}
		for _, table := range []string{"api_keys", "identities", "token_uses", "roles", "identity_providers", "access_reviews", "secrets"} {
			if _, err := t.exec(ctx, "DELETE FROM "+table+" WHERE account = ?", account); err != nil {
				return err
			}
		}
		if _, err := t.exec(ctx, "UPDATE accounts SET state = ?, updated = ? WHERE id = ?", AccountDeleted, micros(t.now), account); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
}

// Role is a custom role of an account: Cedar policies.
type Role struct {
	UID         string
	Account     string
	ID          string
	DisplayName string
	Policy      string
	CreatedBy   string
	Created     time.Time
	Updated     time.Time
}

var roles = table[Role]{
	name: "roles",
	fields: func(r *Role) []field {
		return []field{{"uid", &r.UID}, {"account", &r.Account}, {"id", &r.ID}, {"display_name", &r.DisplayName}, {"policy", &r.Policy},
			{"created_by", &r.CreatedBy}, {"created", &r.Created}, {"updated", &r.Updated}}
	},
	filter: columns{"display_name": "display_name"},
}

func roleName(account, id string) string {
	return rft.Name{Account: account, Collection: "roles", ID: id}.String()
}

// PutRole creates a role, or replaces the policies of one that is there.
func (db *DB) PutRole(ctx context.Context, r Role, act Act) (Role, error) {
	err := db.write(ctx, func(t *tx) error {
		old, ok, err := roles.one(ctx, t, "account = ? AND id = ?", r.Account, r.ID)
		if err != nil {
			return err
		}
		r.UID, r.Created, r.Updated = NewUID(), t.now, t.now
		if ok {
			r.UID, r.Created = old.UID, old.Created
			err = t.update(ctx, roles.name, r.UID, roles.fields(&r))
		} else {
			err = t.insert(ctx, roles.name, roles.fields(&r))
		}
		if err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return r, err
}

// Role returns a role.
func (db *DB) Role(ctx context.Context, account, id string) (r Role, err error) {
	err = db.read(ctx, func(t *tx) error {
		var ok bool
		r, ok, err = roles.one(ctx, t, "account = ? AND id = ?", account, id)
		return found(ok, err, roleName(account, id))
	})
	return r, err
}

// ListRoles lists the custom roles of an account.
func (db *DB) ListRoles(ctx context.Context, account string, o ListOptions) (p Page[Role], err error) {
	l, err := newListing(o, roles.filter)
	if err != nil {
		return p, err
	}
	l.and("account = ?", account)
	err = db.read(ctx, func(t *tx) error {
		p, err = roles.page(ctx, t, l, o.After)
		return err
	})
	return p, err
}

// DeleteRole removes a role that no user has.
func (db *DB) DeleteRole(ctx context.Context, account, id string, act Act) error {
	return db.write(ctx, func(t *tx) error {
		var held int64
		if err := t.row(ctx, "SELECT COUNT(*) FROM users WHERE account = ? AND permission_preset = ?", account, id).Scan(&held); err != nil {
			return err
		}
		if held > 0 {
			return rft.Errorf(rft.KindFailedPrecondition, "%s is the role of %d users; give them another one first", roleName(account, id), held)
		}
		n, err := t.exec(ctx, "DELETE FROM roles WHERE account = ? AND id = ?", account, id)
		if err := found(n == 1, err, roleName(account, id)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
}
