package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// Kinds of keys: made by hand, or for a while in exchange for another issuer's
// token.
const (
	KeyKind     = "key"
	KeyLogin    = "login"
	KeyWorkload = "workload"
)

// Credential is everything that a presented key stands for.
type Credential struct {
	Key     APIKey
	User    User
	Account Account
	Role    *Role // of a user with a custom role; nil = none, or it is gone
}

// Credential returns what the key with this hash stands for, read at one instant
// so that what was revoked, changed or suspended counts from the next request.
// NOT_FOUND when there is no such key or it has expired.
func (db *DB) Credential(ctx context.Context, hash []byte) (Credential, error) {
	return db.credential(ctx, "hash = ?", hash)
}

// CredentialByID is Credential for a key that was presented before: what was
// signed for it names the key, and holds as long as the key does.
func (db *DB) CredentialByID(ctx context.Context, id string) (Credential, error) {
	return db.credential(ctx, "id = ?", id)
}

func (db *DB) credential(ctx context.Context, where string, arg any) (c Credential, err error) {
	err = db.read(ctx, func(t *tx) error {
		var ok bool
		c.Key, ok, err = apiKeys.one(ctx, t, where, arg)
		if ok && !c.Key.Expires.IsZero() && !t.now.Before(c.Key.Expires) {
			ok = false
		}
		if err := found(ok, err, "API key"); err != nil {
			return err
		}
		c.User, ok, err = users.one(ctx, t, "account = ? AND id = ?", c.Key.Account, c.Key.User)
		if err := found(ok, err, "API key"); err != nil {
			return err
		}
		if c.Account, err = t.account(ctx, c.Key.Account); err != nil {
			return err
		}
		if c.User.PermissionPreset == "" {
			return nil
		}
		r, ok, err := roles.one(ctx, t, "account = ? AND id = ?", c.Key.Account, c.User.PermissionPreset)
		if ok {
			c.Role = &r
		}
		return err
	})
	return c, err
}

// RotateAPIKey adds the successor of a key and lets the old one expire at until,
// unless it would do so earlier.
func (db *DB) RotateAPIKey(ctx context.Context, account, user, id string, next APIKey, until time.Time, act Act) (APIKey, error) {
	err := db.write(ctx, func(t *tx) error {
		old, ok, err := apiKeys.one(ctx, t, "account = ? AND user_id = ? AND id = ? AND kind = ?", account, user, id, KeyKind)
		if ok && !old.Expires.IsZero() && !t.now.Before(old.Expires) {
			ok = false
		}
		if err := found(ok, err, userName(account, user)+"/apiKeys/"+id); err != nil {
			return err
		}
		next.Account, next.User, next.Kind, next.Scope, next.Replaces = account, user, old.Kind, old.Scope, old.ID
		next.DisplayName, next.Annotations, next.Created, next.LastUsed = old.DisplayName, old.Annotations, t.now, time.Time{}
		if err := t.insert(ctx, apiKeys.name, apiKeys.fields(&next)); err != nil {
			return err
		}
		if old.Expires.IsZero() || until.Before(old.Expires) {
			if _, err := t.exec(ctx, "UPDATE api_keys SET expires = ? WHERE id = ?", micros(until), old.ID); err != nil {
				return err
			}
		}
		return t.audit(ctx, act, "OK")
	})
	return next, err
}

// APIKey returns a key of a user.
func (db *DB) APIKey(ctx context.Context, account, user, id string) (k APIKey, err error) {
	err = db.read(ctx, func(t *tx) error {
		var ok bool
		k, ok, err = apiKeys.one(ctx, t, "account = ? AND user_id = ? AND id = ?", account, user, id)
		return found(ok, err, userName(account, user)+"/apiKeys/"+id)
	})
	return k, err
}

// AccountKeys returns every key of an account that has not expired, for reviews.
func (db *DB) AccountKeys(ctx context.Context, account string) (keys []APIKey, err error) {
	err = db.read(ctx, func(t *tx) error {
		keys, err = apiKeys.all(ctx, t, "WHERE account = ? AND (expires = 0 OR expires > ?) ORDER BY user_id, id", account, micros(t.now))
		return err
	})
	return keys, err
}

// IdentityProvider is an issuer of tokens that an account trusts.
type IdentityProvider struct {
	UID         string
	Account     string
	ID          string
	DisplayName string
	Kind        string // KeyLogin, KeyWorkload
	Issuer      string
	Audience    string // that tokens must be for; the client id of sign-ins
	// Config is authz.Trust: who the subjects are here.
	Config    json.RawMessage
	CreatedBy string
	Created   time.Time
	Updated   time.Time
}

// Name is the provider's resource name.
func (p IdentityProvider) Name() string { return providerName(p.Account, p.ID) }

func providerName(account, id string) string {
	return rft.Name{Account: account, Collection: "identityProviders", ID: id}.String()
}

var providers = table[IdentityProvider]{
	name: "identity_providers",
	fields: func(p *IdentityProvider) []field {
		return []field{{"uid", &p.UID}, {"account", &p.Account}, {"id", &p.ID}, {"display_name", &p.DisplayName}, {"kind", &p.Kind}, {"issuer", &p.Issuer},
			{"audience", &p.Audience}, {"config", &p.Config}, {"created_by", &p.CreatedBy}, {"created", &p.Created}, {"updated", &p.Updated}}
	},
	filter: columns{"display_name": "display_name", "issuer": "issuer", "kind": "kind"},
}

// CreateIdentityProvider adds an issuer that an account trusts.
func (db *DB) CreateIdentityProvider(ctx context.Context, p IdentityProvider, act Act) (IdentityProvider, error) {
	err := db.write(ctx, func(t *tx) error {
		p.UID, p.Created, p.Updated = NewUID(), t.now, t.now
		if ok, err := t.insertNew(ctx, providers.name, providers.fields(&p)); err != nil || !ok {
			return exists(err, p.Name())
		}
		return t.audit(ctx, act, "OK")
	})
	return p, err
}

// IdentityProvider returns an issuer that an account trusts.
func (db *DB) IdentityProvider(ctx context.Context, account, id string) (p IdentityProvider, err error) {
	err = db.read(ctx, func(t *tx) error {
		var ok bool
		p, ok, err = providers.one(ctx, t, "account = ? AND id = ?", account, id)
		return found(ok, err, providerName(account, id))
	})
	return p, err
}

// ListIdentityProviders lists the issuers that an account trusts.
func (db *DB) ListIdentityProviders(ctx context.Context, account string, o ListOptions) (p Page[IdentityProvider], err error) {
	l, err := newListing(o, providers.filter)
	if err != nil {
		return p, err
	}
	l.and("account = ?", account)
	err = db.read(ctx, func(t *tx) error {
		p, err = providers.page(ctx, t, l, o.After)
		return err
	})
	return p, err
}

// DeleteIdentityProvider ends the trust in an issuer. Tokens that were given in
// exchange go too, at once.
func (db *DB) DeleteIdentityProvider(ctx context.Context, account, id string, act Act) error {
	return db.write(ctx, func(t *tx) error {
		n, err := t.exec(ctx, "DELETE FROM identity_providers WHERE account = ? AND id = ?", account, id)
		if err := found(n == 1, err, providerName(account, id)); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM api_keys WHERE account = ? AND kind <> ? AND replaces = ?", account, KeyKind, providerName(account, id)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
}

// SignIn is a foreign token that was verified and what it is exchanged for.
type SignIn struct {
	Issuer  string
	Subject string
	Token   string    // id of the foreign token, or its digest: each is taken once
	Expires time.Time // of the foreign token
	// User is who the subject is. With Create, the user is made when the subject
	// is seen for the first time; otherwise it must be there.
	User   User
	Create bool
	Key    APIKey
}

// ErrTokenUsed says that a foreign token was exchanged before.
var ErrTokenUsed = rft.Errorf(rft.KindUnauthenticated, "the token was used before; ask the issuer for a new one")

// ExchangeToken records the use of a foreign token, finds or makes the user of
// its subject, and adds the key that stands for both, all or nothing.
func (db *DB) ExchangeToken(ctx context.Context, s SignIn, act Act) (k APIKey, u User, err error) {
	err = db.write(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, "DELETE FROM token_uses WHERE expires < ?", micros(t.now)); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM api_keys WHERE kind <> ? AND expires < ?", KeyKind, micros(t.now)); err != nil {
			return err
		}
		n, err := t.exec(ctx, "INSERT INTO token_uses (account, issuer, token, expires) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
			s.User.Account, s.Issuer, s.Token, micros(s.Expires))
		if err != nil {
			return err
		}
		if n != 1 {
			return ErrTokenUsed
		}
		if u, err = t.userOf(ctx, s); err != nil {
			return err
		}
		k = s.Key
		k.Account, k.User, k.Created = u.Account, u.ID, t.now
		if err := t.insert(ctx, apiKeys.name, apiKeys.fields(&k)); err != nil {
			return err
		}
		act.Actor, act.ActorID, act.ActorKind, act.APIKeyID = u.Principal(), userName(u.Account, u.ID), ActorUser, k.ID
		if k.Kind == KeyWorkload {
			act.ActorKind = ActorWorkload
		}
		return t.audit(ctx, act, "OK")
	})
	return k, u, err
}

// userOf is the user of a subject.
func (t *tx) userOf(ctx context.Context, s SignIn) (u User, err error) {
	if !s.Create {
		u, ok, err := users.one(ctx, t, "account = ? AND id = ?", s.User.Account, s.User.ID)
		return u, found(ok, err, userName(s.User.Account, s.User.ID))
	}
	u, ok, err := users.one(ctx, t, "account = ? AND id = (SELECT user_id FROM identities WHERE account = ? AND issuer = ? AND subject = ?)",
		s.User.Account, s.User.Account, s.Issuer, s.Subject)
	if err != nil {
		return u, err
	}
	if ok {
		// The issuer's word on who may do what counts at every sign-in.
		u.Email, u.DisplayName, u.Role, u.PermissionPreset, u.Updated = s.User.Email, s.User.DisplayName, s.User.Role, s.User.PermissionPreset, t.now
		return u, t.update(ctx, users.name, u.UID, users.fields(&u))
	}
	u = s.User
	u.UID, u.Created, u.Updated = NewUID(), t.now, t.now
	if ok, err = t.insertNew(ctx, users.name, users.fields(&u)); err != nil || !ok {
		return u, exists(err, userName(u.Account, u.ID))
	}
	_, err = t.exec(ctx, "INSERT INTO identities (account, issuer, subject, user_id, created) VALUES (?, ?, ?, ?, ?)", u.Account, s.Issuer, s.Subject, u.ID, micros(t.now))
	return u, err
}

// AccessReview is a review that somebody signed off.
type AccessReview struct {
	UID      string
	Account  string
	ID       string
	Digest   string // sha256:hex of Content
	Content  json.RawMessage
	SignedBy string
	Comment  string
	Created  time.Time
}

var reviews = table[AccessReview]{
	name: "access_reviews",
	fields: func(r *AccessReview) []field {
		return []field{{"uid", &r.UID}, {"account", &r.Account}, {"id", &r.ID}, {"digest", &r.Digest}, {"content", &r.Content},
			{"signed_by", &r.SignedBy}, {"comment", &r.Comment}, {"created", &r.Created}}
	},
	filter: columns{"signed_by": "signed_by", "digest": "digest", "create_time": "created@", "update_time": "created@"},
}

// CreateAccessReview keeps a review that was signed off.
func (db *DB) CreateAccessReview(ctx context.Context, r AccessReview, act Act) (AccessReview, error) {
	err := db.write(ctx, func(t *tx) error {
		r.UID, r.Created = NewUID(), t.now
		if ok, err := t.insertNew(ctx, reviews.name, reviews.fields(&r)); err != nil || !ok {
			return exists(err, rft.Name{Account: r.Account, Collection: "accessReviews", ID: r.ID}.String())
		}
		return t.audit(ctx, act, "OK")
	})
	return r, err
}

// ListAccessReviews lists the reviews that were signed off.
func (db *DB) ListAccessReviews(ctx context.Context, account string, o ListOptions) (p Page[AccessReview], err error) {
	l, err := newListing(o, reviews.filter)
	if err != nil {
		return p, err
	}
	l.and("account = ?", account)
	err = db.read(ctx, func(t *tx) error {
		p, err = reviews.page(ctx, t, l, o.After)
		return err
	})
	return p, err
}
