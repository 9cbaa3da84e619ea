package control

import (
	"context"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// Authenticate finds out who holds an API key.
func (c *Control) Authenticate(ctx context.Context, key string) (authz.Principal, error) {
	return c.Keys.Authenticate(ctx, key)
}

// ListAPIKeys lists a user's keys; the keys themselves nobody can read.
func (c *Control) ListAPIKeys(ctx context.Context, who Caller, account, user string, q ListQuery) (*api.APIKeyList, error) {
	if err := c.allowOwned(ctx, who, authz.ListKeys, account, userName(account, user), user); err != nil {
		return nil, err
	}
	u, err := c.DB.User(ctx, account, user)
	if err != nil {
		return nil, err
	}
	scope := "apiKeys/" + account + "/" + user
	o, err := q.options(scope, "")
	if err != nil {
		return nil, err
	}
	p, err := c.DB.ListAPIKeys(ctx, account, user, o)
	if err != nil {
		return nil, err
	}
	return &api.APIKeyList{APIKeys: items(p.Items, func(k store.APIKey) api.APIKey { return wireKey(k, u) }), Page: q.page(scope, p.Next, p.Total)}, nil
}

// Limits of the life of a key.
const (
	defaultKeyLife = 90 * 24 * time.Hour
	maxKeyLife     = 365 * 24 * time.Hour
)

// CreateAPIKey makes a key for a user. The answer is the only place where it
// is ever shown.
func (c *Control) CreateAPIKey(ctx context.Context, who Caller, account, user string, k *api.APIKey) (*api.APIKey, error) {
	if err := c.allowOwned(ctx, who, authz.CreateKey, account, userName(account, user), user); err != nil {
		return nil, err
	}
	if k == nil {
		k = &api.APIKey{}
	}
	if err := checkDisplayName(k.DisplayName); err != nil {
		return nil, err
	}
	if err := checkAnnotations("apiKey.annotations", k.Annotations); err != nil {
		return nil, err
	}
	now := c.now()
	expires := k.ExpireTime.Time
	switch {
	case expires.IsZero():
		expires = now.Add(defaultKeyLife)
	case !expires.After(now):
		return nil, rft.FieldErrorf("apiKey.expireTime", "apiKey.expireTime: lies in the past")
	case expires.After(now.Add(maxKeyLife)):
		return nil, rft.FieldErrorf("apiKey.expireTime", "apiKey.expireTime: lies more than 365 days ahead")
	}
	u, err := c.DB.User(ctx, account, user)
	if err != nil {
		return nil, err
	}
	made := seal.NewAPIKey()
	row := authz.KeyRow(made, account, user, orElse(k.DisplayName, "default"), expires)
	row.Annotations = k.Annotations
	saved, err := c.DB.CreateAPIKey(ctx, row, who.act("CreateApiKey", userName(account, user)+"/apiKeys/"+row.ID, "keyId", row.ID))
	if err != nil {
		return nil, err
	}
	w := wireKey(saved, u)
	w.Key = made.Text.Reveal() // the one time it is shown
	return &w, nil
}

// DeleteAPIKey revokes a key at once.
func (c *Control) DeleteAPIKey(ctx context.Context, who Caller, account, user, keyID string) error {
	if err := c.allowOwned(ctx, who, authz.DeleteKey, account, userName(account, user), user); err != nil {
		return err
	}
	if keyID == "" {
		return rft.FieldErrorf("keyId", "keyId: is required")
	}
	if err := c.DB.DeleteAPIKey(ctx, account, user, clip(keyID, 40), who.act("DeleteApiKey", userName(account, user)+"/apiKeys/"+clip(keyID, 40))); err != nil {
		return err
	}
	c.Keys.Forget(keyID)
	return nil
}

func wireKey(k store.APIKey, u store.User) api.APIKey {
	return api.APIKey{KeyID: k.ID, DisplayName: k.DisplayName, CreateTime: api.At(k.Created), ExpireTime: api.At(k.Expires), LastUsed: api.At(k.LastUsed),
		Secure: true, Email: u.Email, Prefix: k.Prefix, Annotations: k.Annotations}
}

// checkAnnotations bounds what users attach to a resource.
func checkAnnotations(field string, m map[string]string) error {
	if len(m) > 32 {
		return rft.FieldErrorf(field, "%s: at most 32 entries", field)
	}
	for k, v := range m {
		if k == "" || len(k) > 128 || len(v) > 1024 {
			return rft.FieldErrorf(field, "%s: keys are 1 to 128 bytes long, values at most 1024", field)
		}
	}
	return nil
}
