package store

import (
	"context"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

var accounts = table[Account]{
	name: "accounts",
	fields: func(a *Account) []field {
		return []field{{"uid", &a.UID}, {"id", &a.ID}, {"display_name", &a.DisplayName}, {"email", &a.Email},
			{"state", &a.State}, {"quotas", &a.Quotas}, {"created", &a.Created}, {"updated", &a.Updated}}
	},
	filter: columns{"state": "state", "display_name": "display_name"},
}

var users = table[User]{
	name: "users",
	fields: func(u *User) []field {
		return []field{{"uid", &u.UID}, {"account", &u.Account}, {"id", &u.ID}, {"display_name", &u.DisplayName}, {"email", &u.Email}, {"role", &u.Role},
			{"permission_preset", &u.PermissionPreset}, {"service_account", &u.ServiceAccount}, {"created", &u.Created}, {"updated", &u.Updated}}
	},
	filter: columns{"name": "id", "email": "email", "role": "role", "display_name": "display_name", "service_account": "service_account#"},
}

var apiKeys = table[APIKey]{
	name: "api_keys",
	fields: func(k *APIKey) []field {
		return []field{{"id", &k.ID}, {"account", &k.Account}, {"user_id", &k.User}, {"display_name", &k.DisplayName}, {"prefix", &k.Prefix},
			{"hash", &k.Hash}, {"annotations", &k.Annotations}, {"kind", &k.Kind}, {"scope", &k.Scope}, {"replaces", &k.Replaces}, {"created_by", &k.CreatedBy},
			{"created", &k.Created}, {"expires", &k.Expires}, {"last_used", &k.LastUsed}}
	},
	filter: columns{"display_name": "display_name", "prefix": "prefix", "kind": "kind", "update_time": "created@"},
}

// CreateAccount adds an account. UID and times are set here, as in every Create.
func (db *DB) CreateAccount(ctx context.Context, a Account, act Act) (Account, error) {
	err := db.write(ctx, func(t *tx) error {
		a.UID, a.Created, a.Updated, a.State = NewUID(), t.now, t.now, AccountActive
		if a.Quotas == nil {
			a.Quotas = map[string]Quota{}
		}
		if ok, err := t.insertNew(ctx, accounts.name, accounts.fields(&a)); err != nil || !ok {
			return exists(err, rft.AccountName(a.ID))
		}
		return t.audit(ctx, act, "OK")
	})
	return a, err
}

// Account returns the account with this id.
func (db *DB) Account(ctx context.Context, id string) (a Account, err error) {
	err = db.read(ctx, func(t *tx) error {
		var ok bool
		a, ok, err = accounts.one(ctx, t, "id = ?", id)
		return found(ok, err, rft.AccountName(id))
	})
	return a, err
}

// ListAccounts lists every account; which of them a caller may see is control's to say.
func (db *DB) ListAccounts(ctx context.Context, o ListOptions) (p Page[Account], err error) {
	l, err := newListing(o, accounts.filter)
	if err != nil {
		return p, err
	}
	err = db.read(ctx, func(t *tx) error {
		p, err = accounts.page(ctx, t, l, o.After)
		return err
	})
	return p, err
}

// CreateUser adds a user or service account.
func (db *DB) CreateUser(ctx context.Context, u User, act Act) (User, error) {
	err := db.write(ctx, func(t *tx) error {
		u.UID, u.Created, u.Updated = NewUID(), t.now, t.now
		if ok, err := t.insertNew(ctx, users.name, users.fields(&u)); err != nil || !ok {
			return exists(err, userName(u.Account, u.ID))
		}
		return t.audit(ctx, act, "OK")
	})
	return u, err
}

// User returns a user.
func (db *DB) User(ctx context.Context, account, id string) (u User, err error) {
	err = db.read(ctx, func(t *tx) error {
		var ok bool
		u, ok, err = users.one(ctx, t, "account = ? AND id = ?", account, id)
		return found(ok, err, userName(account, id))
	})
	return u, err
}

// UpdateUser changes display name, email, role and preset of a user, unless somebody
// else changed the role since seen was read: a change of a name would give it back.
func (db *DB) UpdateUser(ctx context.Context, u, seen User, act Act) (User, error) {
	err := db.write(ctx, func(t *tx) error {
		old, ok, err := users.one(ctx, t, "account = ? AND id = ?", u.Account, u.ID)
		if err := found(ok, err, userName(u.Account, u.ID)); err != nil {
			return err
		}
		if old.Role != seen.Role || old.PermissionPreset != seen.PermissionPreset {
			return rft.Errorf(rft.KindAborted, "%s got another role meanwhile; read it again and repeat the change", userName(u.Account, u.ID))
		}
		old.DisplayName, old.Email, old.Role, old.PermissionPreset, old.Updated = u.DisplayName, u.Email, u.Role, u.PermissionPreset, t.now
		u = old
		if err := t.update(ctx, users.name, u.UID, users.fields(&u)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return u, err
}

// ListUsers lists the users of an account.
func (db *DB) ListUsers(ctx context.Context, account string, o ListOptions) (p Page[User], err error) {
	l, err := newListing(o, users.filter)
	if err != nil {
		return p, err
	}
	l.and("account = ?", account)
	err = db.read(ctx, func(t *tx) error {
		p, err = users.page(ctx, t, l, o.After)
		return err
	})
	return p, err
}

// CreateAPIKey adds a key of a user; the caller made its id and hash.
func (db *DB) CreateAPIKey(ctx context.Context, k APIKey, act Act) (APIKey, error) {
	err := db.write(ctx, func(t *tx) error {
		_, ok, err := users.one(ctx, t, "account = ? AND id = ?", k.Account, k.User)
		if err := found(ok, err, userName(k.Account, k.User)); err != nil {
			return err
		}
		k.Created, k.LastUsed = t.now, time.Time{}
		if k.Kind == "" {
			k.Kind = KeyKind
		}
		if ok, err := t.insertNew(ctx, apiKeys.name, apiKeys.fields(&k)); err != nil || !ok {
			return exists(err, userName(k.Account, k.User)+"/apiKeys/"+k.ID)
		}
		return t.audit(ctx, act, "OK")
	})
	return k, err
}

// APIKeyByHash returns the key with this hash and its user; NOT_FOUND when there
// is none, UNAUTHENTICATED when it has expired.
func (db *DB) APIKeyByHash(ctx context.Context, hash []byte) (k APIKey, u User, err error) {
	err = db.read(ctx, func(t *tx) error {
		var ok bool
		k, ok, err = apiKeys.one(ctx, t, "hash = ?", hash)
		if err := found(ok, err, "API key"); err != nil {
			return err
		}
		if !k.Expires.IsZero() && !t.now.Before(k.Expires) {
			return rft.Errorf(rft.KindUnauthenticated, "the API key has expired")
		}
		u, ok, err = users.one(ctx, t, "account = ? AND id = ?", k.Account, k.User)
		return found(ok, err, userName(k.Account, k.User))
	})
	return k, u, err
}

// ListAPIKeys lists the keys of a user.
func (db *DB) ListAPIKeys(ctx context.Context, account, user string, o ListOptions) (p Page[APIKey], err error) {
	l, err := newListing(o, apiKeys.filter)
	if err != nil {
		return p, err
	}
	l.and("account = ? AND user_id = ?", account, user)
	err = db.read(ctx, func(t *tx) error {
		p, err = apiKeys.page(ctx, t, l, o.After)
		return err
	})
	return p, err
}

// DeleteAPIKey removes a key.
func (db *DB) DeleteAPIKey(ctx context.Context, account, user, id string, act Act) error {
	return db.write(ctx, func(t *tx) error {
		n, err := t.exec(ctx, "DELETE FROM api_keys WHERE account = ? AND user_id = ? AND id = ?", account, user, id)
		if err := found(n == 1, err, userName(account, user)+"/apiKeys/"+id); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
}

// TouchAPIKey records when a key was used, to the minute: a key in use costs
// one write per minute, not one per request.
func (db *DB) TouchAPIKey(ctx context.Context, id string) error {
	return db.write(ctx, func(t *tx) error {
		minute := t.now.Truncate(time.Minute).UnixMicro()
		_, err := t.exec(ctx, "UPDATE api_keys SET last_used = ? WHERE id = ? AND last_used < ?", minute, id, minute)
		return err
	})
}

func userName(account, id string) string {
	return rft.Name{Account: account, Collection: rft.Users, ID: id}.String()
}

// found turns "no row" into NOT_FOUND.
func found(ok bool, err error, name string) error {
	if err == nil && !ok {
		return rft.Errorf(rft.KindNotFound, "%s not found", name)
	}
	return err
}

// exists turns "key taken" into ALREADY_EXISTS; err is the insert's error.
func exists(err error, name string) error {
	if err == nil {
		return rft.Errorf(rft.KindAlreadyExists, "%s already exists", name)
	}
	return err
}
