package authz

import (
	"context"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// Keys authenticates API keys against the store.
type Keys struct {
	DB *store.DB
	// Operator is the account whose admins publish models; "" = none.
	Operator string
	// OperatorKeys are the hashes of the operator's credentials. They lie in files
	// of the server, never in the database: whoever can write there is no operator.
	OperatorKeys [][]byte
	// Defaults are the limits of accounts that have none of their own.
	Defaults Limits

	mu       sync.Mutex
	touched  map[string]time.Time // key id -> when its use was last recorded
	compiled map[string]*Policies // role uid and update -> its policies
	buckets  map[string]*bucket   // account -> requests
}

// touchEvery is how often the use of a key is recorded.
const touchEvery = time.Minute

// maxCompiled bounds the roles that are kept compiled.
const maxCompiled = 1024

// errKey says nothing about why: a stranger learns neither that an id exists nor
// that a key was revoked.
func errKey() error {
	return rft.Errorf(rft.KindUnauthenticated, "the API key is missing, not valid, or was revoked")
}

// Authenticate returns the principal that holds key. It costs one read by the
// key's hash, whatever is presented.
func (k *Keys) Authenticate(ctx context.Context, key string) (Principal, error) {
	if _, err := seal.ParseOperatorKey(key); err == nil {
		return k.operator(key)
	}
	if _, err := seal.ParseAPIKey(key); err != nil {
		return Principal{}, errKey()
	}
	c, err := k.DB.Credential(ctx, seal.HashAPIKey(key))
	if err != nil {
		if rft.KindOf(err) == rft.KindNotFound {
			return Principal{}, errKey()
		}
		return Principal{}, err
	}
	if !seal.MatchAPIKey(c.Key.Hash, key) {
		return Principal{}, errKey()
	}
	p, err := k.admitted(c)
	if err != nil {
		return Principal{}, err
	}
	k.touch(ctx, c.Key.ID)
	return p, nil
}

// Recall returns the principal of a key that was presented before, by the key's
// id. It is for what the server itself signed in the name of that key; a key
// that was revoked since, or whose user or account is gone, is nobody's.
func (k *Keys) Recall(ctx context.Context, id string) (Principal, error) {
	c, err := k.DB.CredentialByID(ctx, id)
	if rft.KindOf(err) == rft.KindNotFound {
		return Principal{}, errKey()
	}
	if err != nil {
		return Principal{}, err
	}
	return k.admitted(c)
}

// admitted is who holds a credential, if the account is one that may act.
func (k *Keys) admitted(c store.Credential) (Principal, error) {
	switch c.Account.State {
	case store.AccountDeleted:
		return Principal{}, errKey()
	case store.AccountSuspended:
		return Principal{}, rft.Errorf(rft.KindPermissionDenied, "the account is suspended; ask the operator of this server")
	}
	return k.principal(c)
}

// operator compares with every credential, so that the time tells nothing.
func (k *Keys) operator(key string) (Principal, error) {
	match := false
	for _, h := range k.OperatorKeys {
		match = seal.MatchAPIKey(h, key) || match
	}
	if !match {
		return Principal{}, errKey()
	}
	return Principal{User: "operator", Name: "operator", Role: Operator, KeyID: "operator"}, nil
}

// principal is who holds a credential.
func (k *Keys) principal(c store.Credential) (Principal, error) {
	role := Role(c.User.Role)
	p := Principal{Account: c.Account.ID, User: c.User.ID, Name: c.User.Principal(), Email: c.User.Email, Service: c.User.ServiceAccount, Role: role, KeyID: c.Key.ID, KeyKind: c.Key.Kind,
		Scope: ParseScope(c.Key.Scope), Home: c.Account.ID == k.Operator, Operator: c.Account.ID == k.Operator && role == Admin, Limits: k.Defaults.with(c.Account.Quotas)}
	if role == Operator {
		return Principal{}, errKey() // no user is one, whatever the row says
	}
	if role != Custom || c.Role == nil {
		return p, nil // a custom role that is gone grants nothing
	}
	var err error
	p.Policies, err = k.policies(*c.Role)
	return p, err
}

// policies compiles a custom role once per version.
func (k *Keys) policies(r store.Role) (*Policies, error) {
	version := r.UID + r.Updated.Format(time.RFC3339Nano)
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.compiled[version]; p != nil {
		return p, nil
	}
	p, err := CompileRole("policy", r.ID, r.Policy)
	if err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "the stored policies of the role %s cannot be read", r.ID)
	}
	if k.compiled == nil || len(k.compiled) >= maxCompiled {
		k.compiled = map[string]*Policies{}
	}
	k.compiled[version] = p
	return p, nil
}

// touch records that a key was used, now and then; a failure to do so stops
// nobody.
func (k *Keys) touch(ctx context.Context, id string) {
	k.mu.Lock()
	due := time.Since(k.touched[id]) >= touchEvery
	if due {
		if k.touched == nil {
			k.touched = map[string]time.Time{}
		}
		k.touched[id] = time.Now()
	}
	k.mu.Unlock()
	if due {
		_ = k.DB.TouchAPIKey(context.WithoutCancel(ctx), id)
	}
}

// Forget drops what is remembered of a deleted key.
func (k *Keys) Forget(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.touched, id)
}

// KeyRow is the stored form of a new key.
func KeyRow(k seal.APIKey, account, user, displayName string, expires time.Time) store.APIKey {
	return store.APIKey{ID: k.ID, Account: account, User: user, DisplayName: displayName, Prefix: k.Text.Reveal()[:6], Hash: k.Hash, Kind: store.KeyKind, Expires: expires}
}

// PrincipalOf is who a user would be with a key of this scope, for reviews.
func (k *Keys) PrincipalOf(a store.Account, u store.User, role *store.Role, scope string) (Principal, error) {
	return k.principal(store.Credential{Key: store.APIKey{Scope: scope}, User: u, Account: a, Role: role})
}
