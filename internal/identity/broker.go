package identity

import (
	"context"
	"time"

	"github.com/firekeep/firekeep/internal/identity/issuer"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// Audit records that a credential is about to be handed out. When it fails, no
// credential is.
type Audit func(ctx context.Context, job Job, connection Connection, c Credential) error

// Broker is the Source of the product: it finds the connection that covers a
// place, gets a credential for exactly that place (a session of the cloud, or
// the sealed secret as the fallback), and has it audited before anybody uses it.
// The Bucket that Credential.Open returns enforces prefix, access and expiry
// once more on our side; for secrets it is the only one that does.
type Broker struct {
	Connections Connections
	KEK         seal.KEK
	// Sealer is the key of an account, which seals the secrets of its connections;
	// nil = KEK seals all of them.
	Sealer func(account string) seal.KEK
	Audit  Audit
	// Dropped records that a credential was forgotten before its expiry; nil = nobody cares.
	Dropped func(ctx context.Context, id string) error
	// Federation exchanges tokens; nil = connections with secrets only.
	Federation *Federation
	// Life of a credential; 0 or more than MaxLife = MaxLife.
	Life time.Duration
	// Now is the clock; nil = time.Now.
	Now func() time.Time
}

func (b *Broker) now() time.Time {
	if b.Now != nil {
		return b.Now()
	}
	return time.Now()
}

func subject(account, connection string, a Access) string {
	return issuer.Subject(account, connection, string(a))
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

// Reseal seals the secret of a connection anew, under the newest version of its
// account's key.
func Reseal(kek seal.KEK, c Connection) ([]byte, error) {
	plain, err := seal.OpenBytes(kek, c.Sealed, aad(c.Account, c.ID, c.URL))
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	return seal.SealBytes(kek, plain, aad(c.Account, c.ID, c.URL))
}

// Credential implements Source. Every call validates the place anew; file URLs
// need no connection, since the operator's file roots decide about them when
// the credential is opened.
func (b *Broker) Credential(ctx context.Context, job Job, prefix objstore.URL, access Access) (Credential, error) {
	if job.Account == "" || job.Kind == "" || access != Read && access != Write {
		return Credential{}, rft.Errorf(rft.KindInternal, "a credential needs an account, a purpose and a kind of access")
	}
	if again, err := objstore.ParseURL(prefix.String()); err != nil || again != prefix || dotted(prefix.Key) {
		return Credential{}, rft.Wrap(rft.KindInvalidArgument, err, "the storage URL is not valid")
	}
	c := Credential{ID: seal.RandomID(16), URL: prefix, Access: access, Expiry: b.now().Add(b.life())}
	var found Connection
	if prefix.Scheme != objstore.File {
		var err error
		if found, err = b.connection(ctx, job.Account, prefix); err != nil {
			return Credential{}, err
		}
		if err := b.fill(ctx, job, found, &c); err != nil {
			return Credential{}, err
		}
	}
	if b.Audit != nil {
		if err := b.Audit(ctx, job, found, c); err != nil {
			return Credential{}, rft.Wrap(rft.KindUnavailable, err, "no credential was handed out: the act could not be audited")
		}
	}
	if b.Dropped != nil {
		c.dropped = b.Dropped
	}
	return c, nil
}

func (b *Broker) life() time.Duration {
	if b.Life <= 0 || b.Life > MaxLife {
		return MaxLife
	}
	return b.Life
}

// fill gets what opens the bucket.
func (b *Broker) fill(ctx context.Context, job Job, from Connection, c *Credential) error {
	c.Encryption = from.Options.Encryption
	if !from.Auth.Federated() {
		secret, err := b.open(from)
		c.Secret = secret
		return err
	}
	if !from.Usable {
		return rft.Errorf(rft.KindFailedPrecondition, "the connection %q is not proven or too wide; `firekeep connection check %s` says what is wrong", from.ID, from.ID)
	}
	if b.Federation == nil {
		return rft.Errorf(rft.KindFailedPrecondition, "the connection %q needs the token issuer; the operator must set issuer.url in config.json", from.ID)
	}
	s, err := b.Federation.exchange(ctx, asked{from: from, job: job, url: c.URL, access: c.Access, life: b.life()})
	if err != nil {
		return err
	}
	c.Secret, c.TokenID = s.secret, s.tokenID
	if s.expiry.Before(c.Expiry) {
		c.Expiry = s.expiry
	}
	return nil
}

// connection is the account's connection with the longest prefix of u. The
// lookup is not trusted: what it returns is checked.
func (b *Broker) connection(ctx context.Context, account string, u objstore.URL) (Connection, error) {
	all, err := b.Connections.Covering(ctx, account, u)
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

func (b *Broker) open(c Connection) (objstore.Secret, error) {
	if c.Sealed == nil {
		return objstore.Secret{}, nil
	}
	kek := b.KEK
	if b.Sealer != nil {
		kek = b.Sealer(c.Account)
	}
	plain, err := seal.OpenBytes(kek, c.Sealed, aad(c.Account, c.ID, c.URL))
	if rft.KindOf(err) != rft.KindUnknown && err != nil {
		return objstore.Secret{}, err // the account's key says why it does not serve
	}
	if err != nil {
		return objstore.Secret{}, rft.Wrap(rft.KindFailedPrecondition, err, "the secret of connection %q does not open: its key was revoked or its record was changed", c.ID)
	}
	return seal.NewSecret(string(plain)), nil
}
