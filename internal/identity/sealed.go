package identity

import (
	"context"
	"time"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// Connection is what a connection's record says about access to a bucket.
type Connection struct {
	Account string
	ID      string
	URL     objstore.URL // a prefix: it ends in '/'
	Sealed  []byte       // the credential, as SealSecret made it; nil = none is needed
}

// Connections finds the connections of an account whose URL is a prefix of u,
// byte for byte. It never returns those of other accounts.
type Connections interface {
	Covering(ctx context.Context, account string, u objstore.URL) ([]Connection, error)
}

// Audit records that a credential is about to be handed out. When it fails, no
// credential is.
type Audit func(ctx context.Context, job Job, connection string, c Credential) error

// Sealed is the Source that opens the sealed secrets of connections. The
// secret itself outlives the credential; the Bucket that Credential.Open
// returns enforces prefix, access and expiry.
type Sealed struct {
	Connections Connections
	KEK         seal.KEK
	Audit       Audit
	// Life of a credential; 0 or more than MaxLife = MaxLife.
	Life time.Duration
	// Now is the clock; nil = time.Now.
	Now func() time.Time
}

// aad binds a sealed secret to its connection and place: a record that is
// copied to another account, or whose URL is edited, does not open.
func aad(account, id string, u objstore.URL) []byte {
	return []byte("firekeep/connection/1\x00" + account + "\x00" + id + "\x00" + u.String())
}

// SealSecret seals a credential for storage in a connection's record.
func SealSecret(kek seal.KEK, account, id string, u objstore.URL, secret objstore.Secret) ([]byte, error) {
	b, err := seal.SealBytes(kek, []byte(secret.Reveal()), aad(account, id, u))
	if err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "the credential cannot be sealed")
	}
	return b, nil
}

// Credential implements Source. Every call validates the place anew; file URLs
// need no connection, since the operator's file roots decide about them when
// the credential is opened.
func (s *Sealed) Credential(ctx context.Context, job Job, prefix objstore.URL, access Access) (Credential, error) {
	if job.Account == "" || job.Kind == "" || access != Read && access != Write {
		return Credential{}, rft.Errorf(rft.KindInternal, "a credential needs an account, a purpose and a kind of access")
	}
	if again, err := objstore.ParseURL(prefix.String()); err != nil || again != prefix || dotted(prefix.Key) {
		return Credential{}, rft.Wrap(rft.KindInvalidArgument, err, "the storage URL is not valid")
	}
	life := s.Life
	if life <= 0 || life > MaxLife {
		life = MaxLife
	}
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	c := Credential{ID: seal.RandomID(16), URL: prefix, Access: access, Expiry: now().Add(life)}
	connection := ""
	if prefix.Scheme != objstore.File {
		found, err := s.connection(ctx, job.Account, prefix)
		if err != nil {
			return Credential{}, err
		}
		connection = found.ID
		if c.Secret, err = s.open(found); err != nil {
			return Credential{}, err
		}
	}
	if s.Audit != nil {
		if err := s.Audit(ctx, job, connection, c); err != nil {
			return Credential{}, rft.Wrap(rft.KindUnavailable, err, "no credential was handed out: the act could not be audited")
		}
	}
	return c, nil
}

// connection is the account's connection with the longest prefix of u. The
// lookup is not trusted: what it returns is checked.
func (s *Sealed) connection(ctx context.Context, account string, u objstore.URL) (Connection, error) {
	all, err := s.Connections.Covering(ctx, account, u)
	if err != nil {
		return Connection{}, err
	}
	var best *Connection
	for i, c := range all {
		ok := c.Account == account && c.URL.IsPrefix() && u.Under(c.URL)
		if ok && (best == nil || len(c.URL.Key) > len(best.URL.Key)) {
			best = &all[i]
		}
	}
	if best == nil {
		return Connection{}, rft.Errorf(rft.KindFailedPrecondition, "no connection of this account covers %s; create one with `firekeep connection create`", u)
	}
	if err := best.URL.CheckScope("url"); err != nil {
		return Connection{}, err
	}
	return *best, nil
}

func (s *Sealed) open(c Connection) (objstore.Secret, error) {
	if c.Sealed == nil {
		return objstore.Secret{}, nil
	}
	b, err := seal.OpenBytes(s.KEK, c.Sealed, aad(c.Account, c.ID, c.URL))
	if err != nil {
		return objstore.Secret{}, rft.Wrap(rft.KindFailedPrecondition, err, "the secret of connection %q does not open: its key was revoked or its record was changed", c.ID)
	}
	return seal.NewSecret(string(b)), nil
}
