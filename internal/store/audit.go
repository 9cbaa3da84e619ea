package store

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"slices"
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
			{"api_key_id", &a.APIKeyID}, {"client_ip", &a.ClientIP}, {"user_agent", &a.UserAgent}, {"detail", &a.Detail}, {"result", &a.Result}, {"log_index", &a.LogIndex},
			{"actor_id", &a.ActorID}, {"actor_kind", &a.ActorKind}, {"decision", &a.Decision}, {"policy", &a.Policy}}
	},
	filter: columns{"actor": "actor", "email": "actor", "principal": "actor", "principal_id": "actor_id", "method": "method", "event_type": "method",
		"action": "method", "message": "method", "resource": "resource", "api_key_id": "api_key_id", "result": "result", "decision": "decision",
		"policy": "policy", "client_ip": "client_ip", "create_time": "at@"},
}

// audit writes the audit row of a mutation into its transaction.
func (t *tx) audit(ctx context.Context, act Act, result string) error {
	_, err := t.auditRow(ctx, act, result)
	return err
}

func (t *tx) auditRow(ctx context.Context, act Act, result string) (seq int64, err error) {
	row := AuditRow{Time: t.now, Act: act.bounded(), Result: clean(result, 64), LogIndex: -1}
	if row.Decision == "" && rft.Kind(result) == rft.KindPermissionDenied {
		row.Decision = DecisionDeny
	}
	if err := t.row(ctx, "SELECT COALESCE(MAX(seq), 0) + 1 FROM audit_outbox").Scan(&row.Seq); err != nil {
		return 0, err
	}
	t.audited = true
	return row.Seq, t.insert(ctx, audits.name, audits.fields(&row))
}

// Record writes an audit row for an act that changed no row here: a refusal
// (result is the kind of err) or an event of little weight. Acts that must not
// go on before they are logged go through package audit.
func (db *DB) Record(ctx context.Context, act Act, err error) error {
	result := "OK"
	if err != nil {
		result = string(rft.KindOf(err))
	}
	_, err = db.AppendAudit(ctx, act, result)
	return err
}

// AppendAudit writes an audit row and returns its number.
func (db *DB) AppendAudit(ctx context.Context, act Act, result string) (seq int64, err error) {
	err = db.write(ctx, func(t *tx) error {
		seq, err = t.auditRow(ctx, act, result)
		return err
	})
	return seq, err
}

// AuditChanged returns a channel that is closed when a transaction of this
// process wrote an audit row. Take it before you look, then wait on it.
func (db *DB) AuditChanged() <-chan struct{} {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.audited
}

// AuditRange selects audit rows by time; zero bounds are open.
type AuditRange struct{ From, To time.Time }

// ListAudit returns rows of an account ("" = all), newest first unless
// o.OrderBy is ascending "create_time". o.After is a Page.Next.
func (db *DB) ListAudit(ctx context.Context, account string, r AuditRange, o ListOptions) (p Page[AuditRow], err error) {
	ascending := len(o.OrderBy) == 1 && o.OrderBy[0] == Order{Field: "create_time"}
	o.OrderBy, o.Filter = nil, ofTargetKey(o.Filter)
	l, err := newListing(o, audits.filter)
	if err != nil {
		return p, err
	}
	l.keys = []orderKey{{"seq", true, !ascending}}
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
		p, err = audits.page(ctx, t, l, o.After)
		return err
	})
	return p, err
}

// ofTargetKey replaces comparisons with target_api_key_id: the key that an act
// made or revoked is the end of its resource's name.
func ofTargetKey(terms []Term) []Term {
	out := slices.Clone(terms)
	for i, t := range out {
		if t.Field == "target_api_key_id" {
			out[i] = Term{Field: "resource", Op: ":", Value: "/apiKeys/" + t.Value, Not: t.Not != (t.Op == "!=")}
		}
		if t.Any != nil {
			out[i].Any = make([][]Term, len(t.Any))
			for j, list := range t.Any {
				out[i].Any[j] = ofTargetKey(list)
			}
		}
	}
	return out
}

// AuditFrom returns rows in order, beginning with number seq.
func (db *DB) AuditFrom(ctx context.Context, seq int64, limit int) (rows []AuditRow, err error) {
	err = db.read(ctx, func(t *tx) error {
		rows, err = audits.all(ctx, t, "WHERE seq >= ? ORDER BY seq LIMIT ?", seq, limit)
		return err
	})
	return rows, err
}

// LastAudit is the number of the newest row, 0 when there is none.
func (db *DB) LastAudit(ctx context.Context) (seq int64, err error) {
	err = db.read(ctx, func(t *tx) error {
		return t.row(ctx, "SELECT COALESCE(MAX(seq), 0) FROM audit_outbox").Scan(&seq)
	})
	return seq, err
}

// Sizes of what an act may say of itself, in bytes. Together they keep an entry
// of the log below 64 KiB, escapes included.
const (
	maxActName   = 256
	maxActText   = 1024
	maxActDetail = 32
	maxDetail    = 512
)

// bounded cuts an act to its sizes and takes out what no log should hold:
// control characters and bytes that are not UTF-8. Callers are trusted not to
// put content here; this is for names that a client chose.
func (a Act) bounded() Act {
	for p, n := range map[*string]int{&a.Account: maxActName, &a.Actor: maxActName, &a.ActorID: maxActName, &a.ActorKind: 32, &a.Method: 128, &a.Resource: maxActText,
		&a.APIKeyID: 64, &a.ClientIP: 64, &a.UserAgent: maxActName, &a.Decision: 16, &a.Policy: maxActName} {
		*p = clean(*p, n)
	}
	if len(a.Detail) == 0 {
		return a
	}
	detail := make(map[string]string, len(a.Detail))
	for k, v := range a.Detail {
		if len(detail) == maxActDetail {
			break
		}
		detail[clean(k, 64)] = clean(v, maxDetail)
	}
	a.Detail = detail
	return a
}

// clean makes s valid UTF-8 without control characters, at most n bytes of it.
func clean(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "")
	}
	return s
}
