package control

import (
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/audit"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// What lists of the audit log show when they are not told.
const (
	auditPage = 10
	auditSpan = 30 * 24 * time.Hour
)

// AuditQuery selects entries of the audit log.
type AuditQuery struct {
	ListQuery
	From, To time.Time
	Email    string
	Format   string // of exports and streams
	After    int64  // of streams
}

// sensitive are the operations that must be logged before anybody hears of their
// success: secrets leave the server, people and policies change, data goes out.
var sensitive = map[authz.Action]bool{
	authz.CreateKey: true, authz.RotateKey: true, authz.DeleteKey: true, authz.CreateUser: true, authz.UpdateUser: true, authz.CreateRole: true, authz.DeleteRole: true,
	authz.CreateConnection: true, authz.DeleteConnection: true, authz.CreateProvider: true, authz.DeleteProvider: true, authz.SignReview: true,
	authz.CreateAccount: true, authz.SuspendAccount: true, authz.DeleteAccount: true, authz.RaiseQuota: true, authz.ExportModel: true, authz.DownloadDataset: true,
	authz.ExportAuditLogs: true, authz.CreateSecret: true, authz.UpdateSecret: true, authz.DeleteSecret: true,
	// Disabling a key is not here: it must work when nothing else does, and its row is committed with it.
	authz.SetEncryptionKey: true, authz.RotateEncryptionKey: true, authz.ShredEncryptionKey: true,
}

// mayLog refuses a sensitive operation while the log cannot be written, before
// anything changes.
func (c *Control) mayLog(who Caller, action authz.Action) error {
	if c.Audit == nil || !sensitive[action] {
		return nil
	}
	if who.mustLog != nil {
		*who.mustLog = true
	}
	return c.Audit.Err()
}

// Logged returns when what the caller did is in the log, if it was sensitive. A
// skin calls it before it answers: no secret leaves, and no change is confirmed,
// that the log does not have.
func (c *Control) Logged(ctx context.Context, who Caller) error {
	if c.Audit == nil || who.mustLog == nil || !*who.mustLog {
		return nil
	}
	return c.Audit.Wait(ctx)
}

// auditScope authorises a look at the audit log and returns the account whose
// entries the caller sees: "" = all of them, for an operator who asks for "-".
func (c *Control) auditScope(ctx context.Context, who Caller, action authz.Action, account string) (string, error) {
	if err := c.allow(ctx, who, action, account, rft.AccountName(account)); err != nil {
		return "", err
	}
	if account == api.AllAccounts {
		return "", nil
	}
	return account, nil
}

// ListAuditLogs lists entries of the audit log, the newest first.
func (c *Control) ListAuditLogs(ctx context.Context, who Caller, account string, q AuditQuery) (*api.AuditLogList, error) {
	of, err := c.auditScope(ctx, who, authz.ListAuditLogs, account)
	if err != nil {
		return nil, err
	}
	scope := strings.Join([]string{"auditLogs", account, q.Email, stamp(q.From), stamp(q.To)}, "/")
	o, err := q.options(scope, "create_time desc")
	if err != nil {
		return nil, err
	}
	if o.Limit == 0 {
		o.Limit = auditPage
	}
	if q.Email != "" {
		o.Filter = append(o.Filter, store.Term{Field: "email", Op: "=", Value: q.Email})
	}
	span := store.AuditRange{From: q.From, To: q.To}
	if span.From.IsZero() {
		span.From = c.now().Add(-auditSpan)
	}
	p, err := c.DB.ListAudit(ctx, of, span, o)
	if err != nil {
		return nil, err
	}
	return &api.AuditLogList{AuditLogs: items(p.Items, wireAudit), Page: q.page(scope, p.Next, 0)}, nil // the contract's total is 0
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMicro(), 10)
}

func wireAudit(r store.AuditRow) api.AuditLog {
	payload := r.Detail
	if payload == nil {
		payload = map[string]string{}
	}
	return api.AuditLog{ID: strconv.FormatInt(r.Seq, 10), Method: r.Method, Principal: r.Actor, Payload: payload, Status: api.Status{Code: r.Result}, Timestamp: api.At(r.Time),
		Message: r.Method, Resource: r.Resource, IsAdminAction: adminAction(r.Resource), UserAgent: r.UserAgent, ClientIP: r.ClientIP, APIKeyID: r.APIKeyID,
		PrincipalID: orElse(r.ActorID, r.Actor), PrincipalKind: orElse(r.ActorKind, store.ActorSystem), Decision: r.Decision, Policy: r.Policy, LogIndex: r.LogIndex}
}

// adminAction reports whether an act was done to people, keys, credentials or
// the account itself.
func adminAction(resource string) bool {
	part := strings.Split(resource, "/")
	if len(part) < 3 {
		return true
	}
	switch part[2] {
	case "users", "connections", "roles", "identityProviders", "quotas", "accessReviews":
		return true
	}
	return false
}

// theLog is the audit log, for operations that need more than the database.
func (c *Control) theLog() (*audit.Log, error) {
	if c.Audit == nil {
		return nil, rft.Errorf(rft.KindUnimplemented, "this server has no audit log")
	}
	return c.Audit, nil
}

// AuditHead returns the newest tree head of the audit log.
func (c *Control) AuditHead(ctx context.Context, who Caller, account string) (*api.AuditHead, error) {
	if _, err := c.auditScope(ctx, who, authz.ListAuditLogs, account); err != nil {
		return nil, err
	}
	log, err := c.theLog()
	if err != nil {
		return nil, err
	}
	h, err := log.Head(ctx)
	if err != nil {
		return nil, err
	}
	return &api.AuditHead{Key: log.Key(), Size: h.Size, Head: h.Note}, nil
}

// ExportAuditLogs authorises an export, which is itself logged before it begins,
// and returns what writes it.
func (c *Control) ExportAuditLogs(ctx context.Context, who Caller, account string, q AuditQuery) (func(io.Writer) error, error) {
	of, err := c.auditScope(ctx, who, authz.ExportAuditLogs, account)
	if err != nil {
		return nil, err
	}
	format, err := audit.ParseFormat("format", q.Format)
	if err != nil {
		return nil, err
	}
	log, err := c.theLog()
	if err != nil {
		return nil, err
	}
	if _, err := log.Record(ctx, who.act("ExportAuditLogs", rft.AccountName(account), "format", string(format)), "OK"); err != nil {
		return nil, err
	}
	return func(w io.Writer) error {
		return log.Export(ctx, w, format, audit.Selection{Account: of, From: q.From, To: q.To})
	}, nil
}

// FollowAuditLogs authorises a stream, which is itself logged before it begins,
// and returns what runs it: yield gets every event behind q.After and each one
// that comes, idle is called now and then when none does.
func (c *Control) FollowAuditLogs(ctx context.Context, who Caller, account string, q AuditQuery) (func(yield func(int64, []byte) error, idle func() error) error, error) {
	of, err := c.auditScope(ctx, who, authz.ExportAuditLogs, account)
	if err != nil {
		return nil, err
	}
	format, err := audit.ParseFormat("format", q.Format)
	if err != nil {
		return nil, err
	}
	if format == audit.Verifies {
		return nil, rft.FieldErrorf("format", "format: a stream is jsonl or ocsf")
	}
	log, err := c.theLog()
	if err != nil {
		return nil, err
	}
	if err := log.Covers(q.After); err != nil {
		return nil, err
	}
	if _, err := log.Record(ctx, who.act("FollowAuditLogs", rft.AccountName(account), "format", string(format)), "OK"); err != nil {
		return nil, err
	}
	return func(yield func(int64, []byte) error, idle func() error) error {
		return log.Follow(ctx, q.After, format, audit.Selection{Account: of, From: q.From, To: q.To}, yield, idle)
	}, nil
}

// AuditStats are the numbers of the audit log, for metrics; false = there is none.
func (c *Control) AuditStats(ctx context.Context) (audit.Stats, bool) {
	if c.Audit == nil {
		return audit.Stats{}, false
	}
	return c.Audit.Stats(ctx), true
}
