// Package identity mints the storage credentials of jobs. A credential is for
// one job, one prefix and one kind of access; it lives in the runner's memory
// only, for minutes, and is audited before it is used.
package identity

import (
	"context"
	"time"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
)

// Access is what a credential may do under its prefix.
type Access string

const (
	Read  Access = "read"
	Write Access = "write"
)

// MaxLife is the longest life of a credential.
const MaxLife = 15 * time.Minute

// Job says for what a credential is minted: a step, validation, import, export
// or probe.
type Job struct {
	Account string
	Kind    string // "step", "validation", "import", "export", "probe", "batch"
	ID      string
}

// Credential is a minted credential. Open is the only way to use it.
type Credential struct {
	ID     string // for the audit log
	URL    objstore.URL
	Access Access
	Expiry time.Time
	Secret objstore.Secret // redacts itself in logs
	// Encryption is the customer's key for what is written.
	Encryption objstore.Encryption
	// TokenID is the jti of the token that was exchanged, "" for secrets.
	TokenID string

	dropped func(ctx context.Context, id string) error
}

// Open connects to the bucket. What the store's own policy cannot narrow, the
// returned Bucket does: keys outside c.URL, the other kind of access and calls
// after the expiry are refused with PERMISSION_DENIED.
func (c Credential) Open(ctx context.Context, conf objstore.Config) (objstore.Bucket, error) {
	if !time.Now().Before(c.Expiry) {
		return nil, rft.Errorf(rft.KindPermissionDenied, "the credential for %s has expired", c.URL)
	}
	conf.Encryption = c.Encryption
	b, err := objstore.Open(ctx, c.URL, c.Secret, conf)
	if err != nil {
		return nil, err
	}
	return &narrowed{Bucket: b, c: c}, nil
}

// Drop says that a credential will not be used any more. What a cloud gave out
// cannot be called back; it ends at its expiry.
func (c Credential) Drop(ctx context.Context) error {
	if c.dropped == nil {
		return nil
	}
	return c.dropped(ctx, c.ID)
}

// Source mints credentials. Broker is the one of the product.
type Source interface {
	Credential(ctx context.Context, job Job, prefix objstore.URL, access Access) (Credential, error)
}
