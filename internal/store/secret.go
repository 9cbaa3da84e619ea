package store

import (
	"context"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// Secret is a named value of an account, sealed. Nothing returns the value.
type Secret struct {
	UID       string
	Account   string
	ID        string
	KeyName   string // what programs call it ("WOLFRAM_ALPHA_API_KEY")
	Sealed    []byte
	CreatedBy string
	Created   time.Time
	Updated   time.Time
}

// Name is the secret's resource name.
func (s Secret) Name() string {
	return rft.Name{Account: s.Account, Collection: rft.Secrets, ID: s.ID}.String()
}

var secrets = table[Secret]{
	name: "secrets",
	fields: func(s *Secret) []field {
		return []field{{"uid", &s.UID}, {"account", &s.Account}, {"id", &s.ID}, {"key_name", &s.KeyName}, {"sealed", &s.Sealed},
			{"created_by", &s.CreatedBy}, {"created", &s.Created}, {"updated", &s.Updated}}
	},
	filter: columns{"name": "id", "key_name": "key_name", "create_time": "created@", "update_time": "updated@"},
}

// CreateSecret adds a secret.
func (db *DB) CreateSecret(ctx context.Context, s Secret, act Act) (Secret, error) {
	err := db.write(ctx, func(t *tx) error {
		s.Created, s.Updated = t.now, t.now
		if s.UID == "" {
			s.UID = NewUID() // the sealed value may already be bound to it
		}
		if ok, err := t.insertNew(ctx, secrets.name, secrets.fields(&s)); err != nil || !ok {
			return exists(err, s.Name())
		}
		return t.audit(ctx, act, "OK")
	})
	return s, err
}

// Secret returns a secret.
func (db *DB) Secret(ctx context.Context, account, id string) (s Secret, err error) {
	err = db.read(ctx, func(t *tx) error {
		s, err = secret(ctx, t, account, id)
		return err
	})
	return s, err
}

func secret(ctx context.Context, t *tx, account, id string) (Secret, error) {
	s, ok, err := secrets.one(ctx, t, "account = ? AND id = ?", account, id)
	return s, found(ok, err, Secret{Account: account, ID: id}.Name())
}

// ListSecrets lists the secrets of an account.
func (db *DB) ListSecrets(ctx context.Context, account string, o ListOptions) (p Page[Secret], err error) {
	l, err := newListing(o, secrets.filter)
	if err != nil {
		return p, err
	}
	l.and("account = ?", account)
	err = db.read(ctx, func(t *tx) error {
		p, err = secrets.page(ctx, t, l, o.After)
		return err
	})
	return p, err
}

// AllSecrets returns every secret of an account.
func (db *DB) AllSecrets(ctx context.Context, account string) (all []Secret, err error) {
	err = db.read(ctx, func(t *tx) error {
		all, err = secrets.all(ctx, t, "WHERE account = ? ORDER BY id", account)
		return err
	})
	return all, err
}

// UpdateSecret changes a secret within one transaction.
func (db *DB) UpdateSecret(ctx context.Context, account, id string, act Act, change func(*Secret) error) (s Secret, err error) {
	err = db.write(ctx, func(t *tx) error {
		if s, err = secret(ctx, t, account, id); err != nil {
			return err
		}
		uid, created := s.UID, s.Created
		if err := change(&s); err != nil {
			return err
		}
		s.UID, s.Account, s.ID, s.Created, s.Updated = uid, account, id, created, t.now
		if err := t.update(ctx, secrets.name, s.UID, secrets.fields(&s)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return s, err
}

// DeleteSecret removes a secret with its sealed value.
func (db *DB) DeleteSecret(ctx context.Context, account, id string, act Act) error {
	return db.write(ctx, func(t *tx) error {
		n, err := t.exec(ctx, "DELETE FROM secrets WHERE account = ? AND id = ?", account, id)
		if err := found(n == 1, err, Secret{Account: account, ID: id}.Name()); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
}
