package cli

import (
	"context"
	"path/filepath"
	"time"

	"github.com/firekeep/firekeep/internal/audit"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/runner"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// auditDir is the directory of a home that holds the audit log.
const auditDir = "audit"

// AuditConfig says what becomes of the audit log beyond the home.
type AuditConfig struct {
	// Dir is the log's directory, on a file system with POSIX locks. Default
	// HOME/audit.
	Dir string `json:"dir"`
	// Mirror is a prefix of a bucket (s3://bucket/audit/) that signed tree heads are
	// copied to, created once and never replaced. A connection of the account main
	// must cover it. Default none.
	Mirror string `json:"mirror"`
	// MirrorSeconds is the time between two copies. Default 60.
	MirrorSeconds int `json:"mirrorSeconds"`
	// RetainDays is how long entries stay in the database once the log has them and a
	// tree head that covers them was mirrored or exported. Default for ever. The log
	// keeps all of them.
	RetainDays int `json:"retainDays"`
}

// check validates; errors name the field.
func (c AuditConfig) check(bad func(field, why string) error) error {
	switch {
	case c.Dir != "" && !filepath.IsAbs(c.Dir):
		return bad("audit.dir", "must be an absolute path")
	case c.MirrorSeconds < 0 || c.MirrorSeconds > 86400:
		return bad("audit.mirrorSeconds", "must be 1 to 86400")
	case c.RetainDays < 0 || c.RetainDays > 36500:
		return bad("audit.retainDays", "must be 1 to 36500")
	case c.Mirror == "":
		return nil
	}
	u, err := objstore.ParseURL(c.Mirror)
	if err != nil {
		return bad("audit.mirror", rft.PublicMessage(err))
	}
	if err := u.CheckScope("audit.mirror"); err != nil {
		return err
	}
	return nil
}

// dir is the log's directory.
func (c AuditConfig) dir(home string) string {
	if c.Dir != "" {
		return c.Dir
	}
	return filepath.Join(home, auditDir)
}

// openAudit opens the audit log. Nothing that must be logged happens before.
func (s *service) openAudit(ctx context.Context, kek seal.KEK) (err error) {
	s.audit, err = audit.Start(ctx, audit.Config{DB: s.db, KEK: kek, Dir: s.config.Audit.dir(s.home), Log: s.log,
		Retain: time.Duration(s.config.Audit.RetainDays) * 24 * time.Hour})
	if err == nil {
		s.onClose(s.audit.Close)
	}
	return err
}

// mirrorAudit begins to copy tree heads to the bucket of the configuration, with
// credentials from src.
func (s *service) mirrorAudit(src identity.Source) error {
	if s.config.Audit.Mirror == "" {
		return nil
	}
	u, err := objstore.ParseURL(s.config.Audit.Mirror)
	if err != nil {
		return err // checked with the config
	}
	bucket := func(access identity.Access) objstore.Bucket {
		return identity.Renewing(src, s.config.objstore(), identity.Job{Account: mainAccount, Kind: "audit", ID: "mirror"}, u, access, nil)
	}
	s.audit.MirrorTo(&audit.Mirror{Bucket: bucket(identity.Write), Reader: bucket(identity.Read), Prefix: u.Key, Every: time.Duration(s.config.Audit.MirrorSeconds) * time.Second})
	return nil
}

// checkAudit holds the audit log of a home against the database.
func (c Config) checkAudit(ctx context.Context, home string, db *store.DB) ([]runner.Finding, error) {
	found, err := audit.Check(ctx, db, c.Audit.dir(home))
	var out []runner.Finding
	for _, f := range found {
		out = append(out, runner.Finding{Kind: "audit", Resource: "the audit log: " + f.Kind, Message: f.Message})
	}
	return out, err
}
