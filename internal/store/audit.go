package store

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// NewUID returns a new immutable id: 128 random bits in lower-case base32.
func NewUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}

var audits = table[AuditRow]{
	name: "audit_outbox",
	fields: func(a *AuditRow) []field {
		return []field{{"seq", &a.Seq}, {"at", &a.Time}, {"account", &a.Account}, {"actor", &a.Actor}, {"method", &a.Method}, {"resource", &a.Resource},
			{"api_key_id", &a.APIKeyID}, {"client_ip", &a.ClientIP}, {"user_agent", &a.UserAgent}, {"detail", &a.Detail}, {"result", &a.Result}, {"log_index", &a.LogIndex}}
	},
	filter: columns{"actor": "actor", "email": "actor", "method": "method", "resource": "resource", "api_key_id": "api_key_id", "result": "result", "event_type": "method"},
}

// audit writes the audit row of a mutation into its transaction.
func (t *tx) audit(ctx context.Context, act Act, result string) error {
	row := AuditRow{Time: t.now, Act: act, Result: result, LogIndex: -1}
	if err := t.row(ctx, "SELECT COALESCE(MAX(seq), 0) + 1 FROM audit_outbox").Scan(&row.Seq); err != nil {
		return err
	}
	return t.insert(ctx, audits.name, audits.fields(&row))
}

// Record writes an audit row for an act that changed no row here: a refusal
// (result is the kind of err) or an event such as a minted credential.
func (db *DB) Record(ctx context.Context, act Act, err error) error {
	result := "OK"
	if err != nil {
		result = string(rft.KindOf(err))
	}
	return db.write(ctx, func(t *tx) error { return t.audit(ctx, act, result) })
}

// AuditRange selects audit rows by time; zero bounds are open.
type AuditRange struct{ From, To time.Time }

// ListAudit returns rows of an account ("" = all), newest first unless
// o.Desc is false and o.OrderBy is "create_time". o.After is a Page.Next.
func (db *DB) ListAudit(ctx context.Context, account string, r AuditRange, o ListOptions) (p Page[AuditRow], err error) {
	ascending := o.OrderBy == "create_time" && !o.Desc
	o.OrderBy, o.Desc = "", !ascending
	l, err := newListing(o, audits.filter)
	if err != nil {
		return p, err
	}
	l.order, l.id, l.number = "seq", "seq", true
	if account != "" {
		l.and("account = ?", account)
	}
	if !r.From.IsZero() {
		l.and("at >= ?", r.From.UnixMicro())
	}
	if !r.To.IsZero() {
		l.and("at < ?", r.To.UnixMicro())
	}
	err = db.read(ctx, func(t *tx) error {
		p, err = audits.page(ctx, t, l, o.After, func(a AuditRow) (string, time.Time, time.Time) {
			return formatSeq(a.Seq), a.Time, a.Time
		})
		return err
	})
	return p, err
}

// UnloggedAudit returns the oldest rows that the transparency log has not yet
// taken, in order.
func (db *DB) UnloggedAudit(ctx context.Context, limit int) (rows []AuditRow, err error) {
	err = db.read(ctx, func(t *tx) error {
		rows, err = audits.all(ctx, t, "WHERE log_index < 0 ORDER BY seq LIMIT ?", limit)
		return err
	})
	return rows, err
}

// MarkLogged records where the log put a row.
func (db *DB) MarkLogged(ctx context.Context, seq, index int64) error {
	return db.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, "UPDATE audit_outbox SET log_index = ? WHERE seq = ?", index, seq)
		return err
	})
}
