package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// SigningKey is a key that signs models. Sealed holds the private part; the
// public part is derived from it and stored nowhere, so that a row which does
// not open under the KEK is no key.
type SigningKey struct {
	ID      string // hint of the public key
	Sealed  []byte
	Created time.Time
	Retired time.Time // zero = the current one
}

var signingKeys = table[SigningKey]{
	name: "signing_keys",
	fields: func(k *SigningKey) []field {
		return []field{{"id", &k.ID}, {"sealed", &k.Sealed}, {"created", &k.Created}, {"retired", &k.Retired}}
	},
}

// SigningKeys returns every key, the current one first.
func (db *DB) SigningKeys(ctx context.Context) (keys []SigningKey, err error) {
	err = db.read(ctx, func(t *tx) error {
		keys, err = signingKeys.all(ctx, t, "ORDER BY CASE WHEN retired = 0 THEN 0 ELSE 1 END, created DESC, id")
		return err
	})
	return keys, err
}

// AddSigningKey makes k the current key in the place of the one named replaces
// ("" = there is none yet). It is refused with ABORTED when another process was
// faster.
func (db *DB) AddSigningKey(ctx context.Context, k SigningKey, replaces string, act Act) error {
	return db.write(ctx, func(t *tx) error {
		now, ok, err := signingKeys.one(ctx, t, "retired = 0")
		if err != nil {
			return err
		}
		if ok != (replaces != "") || now.ID != replaces {
			return rft.Errorf(rft.KindAborted, "another process changed the signing key")
		}
		if _, err := t.exec(ctx, "UPDATE signing_keys SET retired = ? WHERE retired = 0", t.now.UnixMicro()); err != nil {
			return err
		}
		k.Created, k.Retired = t.now, time.Time{}
		if err := t.insert(ctx, signingKeys.name, signingKeys.fields(&k)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
}

// Attest records where the signed statements about a READY model lie. Digest is
// what the statements speak of: a model that changed meanwhile is refused.
func (db *DB) Attest(ctx context.Context, uid, digest, attestation, attestationDigest string, act Act) (before Model, err error) {
	err = db.write(ctx, func(t *tx) error {
		m, ok, err := models.one(ctx, t, "uid = ? AND state = ?", uid, StateReady)
		if err := found(ok, err, "model"); err != nil {
			return err
		}
		if m.Digest != digest {
			return rft.Errorf(rft.KindAborted, "%s changed while it was being signed", m.Name())
		}
		before = m
		m.Attestation, m.AttestationDigest = attestation, attestationDigest
		if err := t.update(ctx, models.name, m.UID, models.fields(&m)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return before, err
}

// ModelPolicy is what an account demands of models that come in and go out.
type ModelPolicy struct {
	Account   string
	Rules     json.RawMessage // provenance.Policy
	UpdatedBy string
	Updated   time.Time
}

var modelPolicies = table[ModelPolicy]{
	name: "model_policies",
	fields: func(p *ModelPolicy) []field {
		return []field{{"account", &p.Account}, {"rules", &p.Rules}, {"updated_by", &p.UpdatedBy}, {"updated", &p.Updated}}
	},
}

// ModelPolicy returns an account's policy; ok is false when it never set one.
func (db *DB) ModelPolicy(ctx context.Context, account string) (p ModelPolicy, ok bool, err error) {
	err = db.read(ctx, func(t *tx) error {
		p, ok, err = modelPolicies.one(ctx, t, "account = ?", account)
		return err
	})
	return p, ok, err
}

// SetModelPolicy replaces an account's policy.
func (db *DB) SetModelPolicy(ctx context.Context, p ModelPolicy, act Act) (ModelPolicy, error) {
	err := db.write(ctx, func(t *tx) error {
		p.Updated = t.now
		if _, err := t.exec(ctx, "DELETE FROM model_policies WHERE account = ?", p.Account); err != nil {
			return err
		}
		if err := t.insert(ctx, modelPolicies.name, modelPolicies.fields(&p)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return p, err
}

// RegistryLogin is the sealed password of an OCI registry.
type RegistryLogin struct {
	Account   string
	Host      string
	Username  string
	Sealed    []byte
	UpdatedBy string
	Updated   time.Time
}

var registryLogins = table[RegistryLogin]{
	name: "registry_logins",
	fields: func(l *RegistryLogin) []field {
		return []field{{"account", &l.Account}, {"host", &l.Host}, {"username", &l.Username}, {"sealed", &l.Sealed}, {"updated_by", &l.UpdatedBy}, {"updated", &l.Updated}}
	},
}

// RegistryLogin returns the login of an account at a registry.
func (db *DB) RegistryLogin(ctx context.Context, account, host string) (l RegistryLogin, ok bool, err error) {
	err = db.read(ctx, func(t *tx) error {
		l, ok, err = registryLogins.one(ctx, t, "account = ? AND host = ?", account, host)
		return err
	})
	return l, ok, err
}

// SetRegistryLogin replaces a login; one without a username removes it.
func (db *DB) SetRegistryLogin(ctx context.Context, l RegistryLogin, act Act) error {
	return db.write(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, "DELETE FROM registry_logins WHERE account = ? AND host = ?", l.Account, l.Host); err != nil {
			return err
		}
		if l.Username != "" {
			l.Updated = t.now
			if err := t.insert(ctx, registryLogins.name, registryLogins.fields(&l)); err != nil {
				return err
			}
		}
		return t.audit(ctx, act, "OK")
	})
}

// Now is the store's clock, which statements about its rows use too.
func (db *DB) Now() time.Time { return db.now().UTC().Truncate(time.Microsecond) }
