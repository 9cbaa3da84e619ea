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
	// Operator is the account whose admins operate the server; "" = none.
	Operator string

	mu      sync.Mutex
	touched map[string]time.Time // key id -> when its use was last recorded
}

// touchEvery is how often the use of a key is recorded.
const touchEvery = time.Minute

// errKey says nothing about why: a stranger learns neither that an id exists nor
// that a key was revoked.
func errKey() error {
	return rft.Errorf(rft.KindUnauthenticated, "the API key is missing, not valid, or was revoked")
}

// Authenticate returns the principal that holds key. It costs one read by the
// key's hash, whatever is presented.
func (k *Keys) Authenticate(ctx context.Context, key string) (Principal, error) {
	if _, err := seal.ParseAPIKey(key); err != nil {
		return Principal{}, errKey()
	}
	row, u, err := k.DB.APIKeyByHash(ctx, seal.HashAPIKey(key))
	if err != nil {
		if rft.KindOf(err) == rft.KindNotFound {
			return Principal{}, errKey()
		}
		return Principal{}, err
	}
	if !seal.MatchAPIKey(row.Hash, key) {
		return Principal{}, errKey()
	}
	k.touch(ctx, row.ID)
	return Principal{Account: row.Account, User: u.ID, Name: u.Principal(), Email: u.Email, Role: Role(u.Role), KeyID: row.ID,
		Operator: row.Account == k.Operator && Role(u.Role) == Admin}, nil
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
	return store.APIKey{ID: k.ID, Account: account, User: user, DisplayName: displayName, Prefix: k.Text.Reveal()[:6], Hash: k.Hash, Expires: expires}
}
