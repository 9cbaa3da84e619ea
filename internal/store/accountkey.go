package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// States of an account's key-encryption key.
const (
	KeyEnabled  = "ENABLED"
	KeyDisabled = "DISABLED"
	// KeyShredded is for good: what it wrapped never opens again.
	KeyShredded = "SHREDDED"
)

// AccountKey is a key-encryption key of an account: the current one, or one
// before it that still opens what it wrapped. The key itself is never here.
type AccountKey struct {
	UID        string // what envelopes name it by
	Account    string // id, for people
	AccountUID string
	Kind       string          // "local", "aws-kms", ...
	Settings   json.RawMessage // name, region: nothing secret
	Credential []byte          // what the service asks for, sealed under the host's key
	Proof      []byte          // an envelope that protects nothing: it shows whether the key may still be used
	State      string
	Current    bool
	CreatedBy  string
	Created    time.Time
	Updated    time.Time
}

var accountKeys = table[AccountKey]{
	name: "account_keys",
	fields: func(k *AccountKey) []field {
		return []field{{"uid", &k.UID}, {"account", &k.Account}, {"account_uid", &k.AccountUID}, {"kind", &k.Kind}, {"settings", &k.Settings},
			{"credential", &k.Credential}, {"proof", &k.Proof}, {"state", &k.State}, {"is_current", &k.Current}, {"created_by", &k.CreatedBy},
			{"created", &k.Created}, {"updated", &k.Updated}}
	},
}

// AccountOfUID returns the account with this immutable id.
func (db *DB) AccountOfUID(ctx context.Context, uid string) (a Account, err error) {
	err = db.read(ctx, func(t *tx) error {
		var ok bool
		a, ok, err = accounts.one(ctx, t, "uid = ?", uid)
		return found(ok, err, "account")
	})
	return a, err
}

// CurrentKey returns the key that new things of an account are sealed under.
func (db *DB) CurrentKey(ctx context.Context, accountUID string) (k AccountKey, err error) {
	err = db.read(ctx, func(t *tx) error {
		var ok bool
		k, ok, err = accountKeys.one(ctx, t, "account_uid = ? AND is_current = 1", accountUID)
		return found(ok, err, "account key")
	})
	return k, err
}

// AccountKey returns a key of an account by its UID.
func (db *DB) AccountKey(ctx context.Context, accountUID, uid string) (k AccountKey, err error) {
	err = db.read(ctx, func(t *tx) error {
		var ok bool
		k, ok, err = accountKeys.one(ctx, t, "account_uid = ? AND uid = ?", accountUID, uid)
		return found(ok, err, "account key")
	})
	return k, err
}

// EncryptionKeys returns all keys of an account, the oldest first.
func (db *DB) EncryptionKeys(ctx context.Context, accountUID string) (all []AccountKey, err error) {
	err = db.read(ctx, func(t *tx) error {
		all, err = accountKeys.all(ctx, t, "WHERE account_uid = ? ORDER BY created, uid", accountUID)
		return err
	})
	return all, err
}

// AddAccountKey makes k the current key of its account; the one before it stays
// and opens what it wrapped. With was, the UID of the current key as the caller
// knows it ("" = none yet), two that add at once do not overwrite each other:
// the later gets ABORTED.
func (db *DB) AddAccountKey(ctx context.Context, k AccountKey, was string, act Act) (AccountKey, error) {
	err := db.write(ctx, func(t *tx) error {
		now, ok, err := accountKeys.one(ctx, t, "account_uid = ? AND is_current = 1", k.AccountUID)
		switch {
		case err != nil:
			return err
		case ok && now.UID != was, !ok && was != "":
			return rft.Errorf(rft.KindAborted, "the key of %s was changed meanwhile; look and try again", rft.AccountName(k.Account))
		case ok && now.State == KeyShredded:
			return rft.Errorf(rft.KindFailedPrecondition, "the key of %s was destroyed", rft.AccountName(k.Account))
		}
		if _, err := t.exec(ctx, "UPDATE account_keys SET is_current = 0, updated = ? WHERE account_uid = ? AND is_current = 1", t.now.UnixMicro(), k.AccountUID); err != nil {
			return err
		}
		k.State, k.Current, k.Created, k.Updated = KeyEnabled, true, t.now, t.now
		if k.Credential == nil {
			k.Credential = []byte{} // a local key needs none; NULL is something else
		}
		if err := t.insert(ctx, accountKeys.name, accountKeys.fields(&k)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return k, err
}

// SetKeyState changes the state of all keys of an account. A shredded key stays
// one; shredding forgets credentials and proofs.
func (db *DB) SetKeyState(ctx context.Context, accountUID, state string, act Act) error {
	return db.write(ctx, func(t *tx) error {
		k, ok, err := accountKeys.one(ctx, t, "account_uid = ? AND is_current = 1", accountUID)
		switch {
		case err != nil || !ok:
			return found(ok, err, "account key")
		case k.State == KeyShredded && state != KeyShredded:
			return rft.Errorf(rft.KindFailedPrecondition, "the key of %s was destroyed; nothing brings it back", rft.AccountName(k.Account))
		}
		set := "UPDATE account_keys SET state = ?, updated = ?"
		args := []any{state, t.now.UnixMicro()}
		if state == KeyShredded {
			set += ", credential = ?, proof = ?"
			args = append(args, []byte{}, []byte{})
		}
		if _, err := t.exec(ctx, set+" WHERE account_uid = ?", append(args, accountUID)...); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
}
