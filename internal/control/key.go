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
	expires, err := c.keyExpiry("apiKey.expireTime", k.ExpireTime.Time)
	if err != nil {
		return nil, err
	}
	scope := scopeOf(k.Scope)
	if err := scope.Check("apiKey.scope"); err != nil {
		return nil, err
	}
	if err := mayMint(who, scope); err != nil {
		return nil, err
	}
	u, err := c.DB.User(ctx, account, user)
	if err != nil {
		return nil, err
	}
	made := seal.NewAPIKey()
	row := authz.KeyRow(made, account, user, orElse(k.DisplayName, "default"), expires)
	row.Annotations, row.Scope, row.CreatedBy = k.Annotations, scope.String(), who.Name
	saved, err := c.DB.CreateAPIKey(ctx, row, who.act("CreateApiKey", userName(account, user)+"/apiKeys/"+row.ID, "keyId", row.ID, "scope", row.Scope))
	if err != nil {
		return nil, err
	}
	w := wireKey(saved, u)
	w.Key = made.Text.Reveal() // the one time it is shown
	return &w, nil
}

// keyExpiry is when a new key ends: every key does.
func (c *Control) keyExpiry(field string, asked time.Time) (time.Time, error) {
	now := c.now()
	switch {
	case asked.IsZero():
		return now.Add(defaultKeyLife), nil
	case !asked.After(now):
		return asked, rft.FieldErrorf(field, "%s: lies in the past", field)
	case asked.After(now.Add(maxKeyLife)):
		return asked, rft.FieldErrorf(field, "%s: lies more than 365 days ahead", field)
	}
	return asked, nil
}

// mayMint keeps keys from making keys that outlive or outdo them.
func mayMint(who Caller, scope *authz.Scope) error {
	switch {
	case who.KeyKind == store.KeyWorkload:
		return rft.Errorf(rft.KindPermissionDenied, "a workload's token makes no keys; exchange another token when this one ends")
	case !scope.Within(who.Scope):
		return rft.Errorf(rft.KindPermissionDenied, "this API key is scoped, and makes only keys of exactly its own scope; use another key")
	}
	return nil
}

func scopeOf(s *api.KeyScope) *authz.Scope {
	if s == nil {
		return nil
	}
	out := &authz.Scope{Actions: s.Actions, Resources: s.Resources}
	for _, r := range s.Roles {
		out.Roles = append(out.Roles, authz.Role(r))
	}
	return out
}

func wireScope(s *authz.Scope) *api.KeyScope {
	if s == nil {
		return nil
	}
	out := &api.KeyScope{Actions: s.Actions, Resources: s.Resources}
	for _, r := range s.Roles {
		out.Roles = append(out.Roles, string(r))
	}
	return out
}

// Overlap of a rotation: how long the old key works on.
const (
	defaultOverlap = 24 * time.Hour
	maxOverlap     = 30 * 24 * time.Hour
)

// RotateAPIKey makes the successor of a key, of the same scope, and lets the old
// one end after the overlap.
func (c *Control) RotateAPIKey(ctx context.Context, who Caller, account, user string, r *api.RotateAPIKeyRequest) (*api.APIKey, error) {
	if err := c.allowOwned(ctx, who, authz.RotateKey, account, userName(account, user), user); err != nil {
		return nil, err
	}
	if r.KeyID == "" {
		return nil, rft.FieldErrorf("keyId", "keyId: is required")
	}
	overlap := defaultOverlap
	if r.OverlapSeconds != nil {
		overlap = time.Duration(*r.OverlapSeconds) * time.Second
	}
	if overlap < 0 || overlap > maxOverlap {
		return nil, rft.FieldErrorf("overlapSeconds", "overlapSeconds: must be 0 to %d", int64(maxOverlap/time.Second))
	}
	expires, err := c.keyExpiry("expireTime", r.ExpireTime.Time)
	if err != nil {
		return nil, err
	}
	u, err := c.DB.User(ctx, account, user)
	if err != nil {
		return nil, err
	}
	old, err := c.DB.APIKey(ctx, account, user, clip(r.KeyID, 40))
	if err != nil {
		return nil, err
	}
	if err := mayMint(who, authz.ParseScope(old.Scope)); err != nil {
		return nil, err
	}
	made := seal.NewAPIKey()
	row := authz.KeyRow(made, account, user, "", expires)
	row.CreatedBy = who.Name
	act := who.act("RotateApiKey", userName(account, user)+"/apiKeys/"+row.ID, "replaces", old.ID, "overlap", overlap.String())
	saved, err := c.DB.RotateAPIKey(ctx, account, user, old.ID, row, c.now().Add(overlap), act)
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
		Secure: true, Email: u.Email, Prefix: k.Prefix, Annotations: k.Annotations,
		Scope: wireScope(authz.ParseScope(k.Scope)), Kind: k.Kind, Replaces: k.Replaces}
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
