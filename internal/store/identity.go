package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// States of connections.
const (
	// ConnectionPending: the other side does not trust us yet, or was never asked.
	ConnectionPending = "PENDING"
	ConnectionReady   = "READY"
	// ConnectionOverBroad: a probe that had to be refused succeeded.
	ConnectionOverBroad = "OVER_BROAD"
	// ConnectionFailed: the credential did not work when it was last tried.
	ConnectionFailed = "FAILED"
)

// Mint is the record of one minted storage credential. What opens the
// bucket is not in it and nowhere else in the store.
type Mint struct {
	ID         string
	Account    string
	Job        string // UID
	Purpose    string // kind of the job
	Connection string // id, "" for files
	Auth       string // how it was got: that of the connection, or "file"
	URLPrefix  string
	Access     string
	Minted     time.Time
	Expires    time.Time
	Dropped    time.Time // zero = not before its expiry
}

// State is "dropped", "expired" or "active".
func (c Mint) State(now time.Time) string {
	switch {
	case !c.Dropped.IsZero():
		return "dropped"
	case !now.Before(c.Expires):
		return "expired"
	}
	return "active"
}

var mints = table[Mint]{
	name: "credentials",
	fields: func(c *Mint) []field {
		return []field{{"id", &c.ID}, {"account", &c.Account}, {"job", &c.Job}, {"purpose", &c.Purpose}, {"connection", &c.Connection}, {"auth", &c.Auth},
			{"url_prefix", &c.URLPrefix}, {"access", &c.Access}, {"minted", &c.Minted}, {"expires", &c.Expires}, {"dropped", &c.Dropped}}
	},
}

// AddCredential records a credential that is about to be used.
func (db *DB) AddCredential(ctx context.Context, c Mint) error {
	return db.write(ctx, func(t *tx) error { return t.insert(ctx, mints.name, mints.fields(&c)) })
}

// DropCredential records that a credential was forgotten.
func (db *DB) DropCredential(ctx context.Context, id string) error {
	return db.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, "UPDATE credentials SET dropped = ? WHERE id = ? AND dropped = 0 AND expires > ?", micros(t.now), id, micros(t.now))
		return err
	})
}

// maxCredentials bounds a list: a job that runs for a week mints some thousands.
const maxCredentials = 10_000

// JobCredentials returns what was minted for a job, in order.
func (db *DB) JobCredentials(ctx context.Context, account, job string) (all []Mint, err error) {
	err = db.read(ctx, func(t *tx) error {
		all, err = mints.all(ctx, t, "WHERE account = ? AND job = ? ORDER BY minted, id LIMIT ?", account, job, maxCredentials)
		return err
	})
	return all, err
}

// ForgetCredentials removes records older than before. The audit log keeps what
// it has of them.
func (db *DB) ForgetCredentials(ctx context.Context, before time.Time) error {
	return db.write(ctx, func(t *tx) error {
		_, err := t.exec(ctx, "DELETE FROM credentials WHERE minted < ?", micros(before))
		return err
	})
}

// UpdateConnection changes what may change of a connection: its secret, its
// state and its options. Its place and its kind never do.
func (db *DB) UpdateConnection(ctx context.Context, account, id string, act Act, edit func(*Connection) error) (c Connection, err error) {
	err = db.write(ctx, func(t *tx) error {
		var ok bool
		if c, ok, err = connections.one(ctx, t, "account = ? AND id = ?", account, id); err != nil || !ok {
			return found(ok, err, connectionName(account, id))
		}
		was := c
		if err := edit(&c); err != nil {
			return err
		}
		if c.UID != was.UID || c.Account != was.Account || c.ID != was.ID || c.URLPrefix != was.URLPrefix || c.Auth != was.Auth {
			return rft.Errorf(rft.KindInternal, "the place of a connection cannot change")
		}
		c.Updated = t.now
		if err := t.update(ctx, connections.name, c.UID, connections.fields(&c)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return c, err
}

// UncheckedConnections returns connections of every account that were last
// probed before a time, the longest waiting first.
func (db *DB) UncheckedConnections(ctx context.Context, before time.Time, limit int) (all []Connection, err error) {
	err = db.read(ctx, func(t *tx) error {
		all, err = connections.all(ctx, t, "WHERE checked < ? AND state <> ? ORDER BY checked, uid LIMIT ?", micros(before), ConnectionPending, limit)
		return err
	})
	return all, err
}

// IssuerKey is a signing key of the token issuer.
type IssuerKey struct {
	ID      string          // kid
	Ordinal int64           // 1, 2, ...: the next key is the one after
	Public  json.RawMessage // JWK
	Sealed  []byte          // PKCS #8 under the operator's key
	Created time.Time
	UseFrom time.Time // it signs from then on, until its successor does
	Retired time.Time // zero = not taken out of use by hand
}

var issuerKeys = table[IssuerKey]{
	name: "issuer_keys",
	fields: func(k *IssuerKey) []field {
		return []field{{"id", &k.ID}, {"ordinal", &k.Ordinal}, {"public_jwk", &k.Public}, {"sealed", &k.Sealed}, {"created", &k.Created}, {"use_from", &k.UseFrom}, {"retired", &k.Retired}}
	},
}

// IssuerKeys returns the issuer's keys in order.
func (db *DB) IssuerKeys(ctx context.Context) (all []IssuerKey, err error) {
	err = db.read(ctx, func(t *tx) error {
		all, err = issuerKeys.all(ctx, t, "ORDER BY ordinal")
		return err
	})
	return all, err
}

// AddIssuerKey adds a key; false when another replica has added one of the same
// ordinal.
func (db *DB) AddIssuerKey(ctx context.Context, k IssuerKey, act Act) (added bool, err error) {
	err = db.write(ctx, func(t *tx) error {
		if added, err = t.insertNew(ctx, issuerKeys.name, issuerKeys.fields(&k)); err != nil || !added {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return added, err
}

// PromoteIssuerKey makes a key sign from now on, and retires those before it.
func (db *DB) PromoteIssuerKey(ctx context.Context, id string, now time.Time, act Act) error {
	return db.write(ctx, func(t *tx) error {
		k, ok, err := issuerKeys.one(ctx, t, "id = ?", id)
		if err := found(ok, err, "issuer key"); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "UPDATE issuer_keys SET use_from = ? WHERE id = ?", micros(now), id); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "UPDATE issuer_keys SET retired = ? WHERE ordinal < ? AND retired = 0", micros(now), k.Ordinal); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
}

// DeleteIssuerKey forgets a key for good.
func (db *DB) DeleteIssuerKey(ctx context.Context, id string, act Act) error {
	return db.write(ctx, func(t *tx) error {
		n, err := t.exec(ctx, "DELETE FROM issuer_keys WHERE id = ?", id)
		if err != nil || n == 0 {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
}
