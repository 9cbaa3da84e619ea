package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// AuditLog is one entry of the audit log.
type AuditLog struct {
	ID            string            `json:"id"`
	Method        string            `json:"method"`
	Principal     string            `json:"principal"` // e-mail or name
	Payload       map[string]string `json:"payload"`
	Status        Status            `json:"status"`
	Timestamp     Time              `json:"timestamp"`
	Message       string            `json:"message"`
	Resource      string            `json:"resource"`
	IsAdminAction bool              `json:"isAdminAction"`
	UserAgent     string            `json:"userAgent"`
	ClientIP      string            `json:"clientIp"`
	APIKeyID      string            `json:"apiKeyId"`

	// Firekeep's own: the principal's immutable name and kind, what decided, and
	// the entry's place in the transparency log, -1 until it has one.
	PrincipalID   string `json:"principalId"`
	PrincipalKind string `json:"principalKind"`
	Decision      string `json:"decision"`
	Policy        string `json:"policy"`
	LogIndex      int64  `json:"logIndex"`
}

// AuditLogList is a page of the audit log, the newest first.
type AuditLogList struct {
	AuditLogs []AuditLog `json:"auditLogs"`
	Page
}

// AuditHead is what a log commits to: a signed tree head, and the key to check it
// with. The key is worth something only where it came another way.
type AuditHead struct {
	Key  string `json:"key"`
	Size int64  `json:"size,string"`
	Head string `json:"head"`
}

// AllAccounts stands for every account, where an operator may ask for that.
const AllAccounts = "-"

// AuditOptions select entries of the audit log. Zero fields select all.
type AuditOptions struct {
	From, To time.Time
	Format   string // of exports: "jsonl", "ocsf", "bundle"
	After    int64  // of Follow: the number of the last entry that is known
}

func (o AuditOptions) values() url.Values {
	v := url.Values{}
	for k, t := range map[string]time.Time{"startTime": o.From, "endTime": o.To} {
		if !t.IsZero() {
			v.Set(k, t.UTC().Format(time.RFC3339Nano))
		}
	}
	if o.Format != "" {
		v.Set("format", o.Format)
	}
	if o.After > 0 {
		v.Set("after", strconv.FormatInt(o.After, 10))
	}
	return v
}

// ListAuditLogs lists entries, the newest first. Without a From it goes back 30 days.
func (c *Client) ListAuditLogs(ctx context.Context, account string, a AuditOptions, o ListOptions) (*AuditLogList, error) {
	q := o.values()
	for k, v := range a.values() {
		q[k] = v
	}
	return get[AuditLogList](ctx, c, path(account, "auditLogs"), q)
}

// AuditHead returns the newest tree head.
func (c *Client) AuditHead(ctx context.Context, account string) (*AuditHead, error) {
	return get[AuditHead](ctx, c, path(account, "auditLogs")+":head", nil)
}

// ExportAuditLogs streams the log. The caller closes it; an end that is not
// io.EOF means that the export is not whole.
func (c *Client) ExportAuditLogs(ctx context.Context, account string, a AuditOptions) (io.ReadCloser, error) {
	resp, err := c.send(ctx, "GET", path(account, "auditLogs")+":export", a.values(), "", nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// maxAuditLine bounds one event of a stream.
const maxAuditLine = 256 << 10

// FollowAuditLogs calls yield with each entry behind a.After, and with each one
// that is logged from then on, until ctx ends, yield fails or the stream breaks.
func (c *Client) FollowAuditLogs(ctx context.Context, account string, a AuditOptions, yield func(seq int64, event json.RawMessage) error) error {
	resp, err := c.send(ctx, "GET", path(account, "auditLogs")+":follow", a.values(), "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return readAuditStream(resp, yield)
}

// readAuditStream reads server-sent events of one "id" and one "data" line each.
func readAuditStream(resp *http.Response, yield func(int64, json.RawMessage) error) error {
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxAuditLine)
	var seq int64
	for lines.Scan() {
		line := lines.Bytes()
		if id, ok := bytes.CutPrefix(line, []byte("id: ")); ok {
			seq, _ = strconv.ParseInt(string(id), 10, 64)
		}
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			if err := yield(seq, bytes.Clone(data)); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return unavailable(err)
	}
	return unavailable(io.ErrUnexpectedEOF)
}
