package api

import (
	"context"
	"encoding/json"
	"io"
	"net/url"
	"strings"
)

// ListAccounts lists the accounts that the key may see: its own, or every tenant
// for the operator's.
func (c *Client) ListAccounts(ctx context.Context, o ListOptions) (*AccountList, error) {
	return get[AccountList](ctx, c, "/v1/accounts", o.values())
}

// CreateAccount makes a tenant; the answer holds its first key. It needs the
// operator's key, as the four below do.
func (c *Client) CreateAccount(ctx context.Context, id string, a *Account) (*NewAccount, error) {
	return post[NewAccount](ctx, c, "/v1/accounts", url.Values{"accountId": {id}}, a)
}

// SuspendAccount refuses a tenant's keys.
func (c *Client) SuspendAccount(ctx context.Context, id string) (*Account, error) {
	return post[Account](ctx, c, path(id)+":suspend", nil, struct{}{})
}

// ResumeAccount lets a suspended tenant go on.
func (c *Client) ResumeAccount(ctx context.Context, id string) (*Account, error) {
	return post[Account](ctx, c, path(id)+":resume", nil, struct{}{})
}

// DeleteAccount deletes a tenant and all that it holds; ABORTED while jobs end.
func (c *Client) DeleteAccount(ctx context.Context, id string) error {
	return c.call(ctx, "DELETE", path(id), nil, nil, nil)
}

// ListQuotas lists the limits of an account.
func (c *Client) ListQuotas(ctx context.Context, account string) (*QuotaList, error) {
	return get[QuotaList](ctx, c, path(account, "quotas"), nil)
}

// UpdateQuota changes a limit of an account.
func (c *Client) UpdateQuota(ctx context.Context, account, id string, q *Quota) (*Quota, error) {
	return patchMasked(ctx, c, path(account, "quotas", id), nil, q)
}

// UpdateUser changes the named fields of a user: displayName, email, role,
// permissionPreset.
func (c *Client) UpdateUser(ctx context.Context, account, id string, u *User, fields ...string) (*User, error) {
	return patchMasked(ctx, c, path(account, "users", id), fields, u)
}

// RotateAPIKey makes the successor of a key; the answer is the only one that
// holds it.
func (c *Client) RotateAPIKey(ctx context.Context, account, user string, r *RotateAPIKeyRequest) (*APIKey, error) {
	return post[APIKey](ctx, c, path(account, "users", user, "apiKeys")+":rotate", nil, r)
}

// ListRoles lists the custom roles of an account.
func (c *Client) ListRoles(ctx context.Context, account string, o ListOptions) (*RoleList, error) {
	return get[RoleList](ctx, c, path(account, "roles"), o.values())
}

// GetRole returns a custom role.
func (c *Client) GetRole(ctx context.Context, account, id string) (*Role, error) {
	return get[Role](ctx, c, path(account, "roles", id), nil)
}

// PutRole creates a custom role or replaces its policies.
func (c *Client) PutRole(ctx context.Context, account, id string, r *Role) (*Role, error) {
	return post[Role](ctx, c, path(account, "roles"), nil, CreateRoleRequest{id, r})
}

// DeleteRole deletes a custom role that no user has.
func (c *Client) DeleteRole(ctx context.Context, account, id string) error {
	return c.call(ctx, "DELETE", path(account, "roles", id), nil, nil, nil)
}

// ListIdentityProviders lists the issuers that an account trusts.
func (c *Client) ListIdentityProviders(ctx context.Context, account string, o ListOptions) (*IdentityProviderList, error) {
	return get[IdentityProviderList](ctx, c, path(account, "identityProviders"), o.values())
}

// CreateIdentityProvider trusts an issuer.
func (c *Client) CreateIdentityProvider(ctx context.Context, account, id string, p *IdentityProvider) (*IdentityProvider, error) {
	return post[IdentityProvider](ctx, c, path(account, "identityProviders"), nil, CreateIdentityProviderRequest{id, p})
}

// DeleteIdentityProvider ends the trust in an issuer.
func (c *Client) DeleteIdentityProvider(ctx context.Context, account, id string) error {
	return c.call(ctx, "DELETE", path(account, "identityProviders", id), nil, nil, nil)
}

// AccessReview says who may do what in an account now.
func (c *Client) AccessReview(ctx context.Context, account string) (*AccessReview, error) {
	return get[AccessReview](ctx, c, path(account, "accessReview"), nil)
}

// ListAccessReviews lists the reviews that were signed off.
func (c *Client) ListAccessReviews(ctx context.Context, account string, o ListOptions) (*AccessReviewList, error) {
	return get[AccessReviewList](ctx, c, path(account, "accessReviews"), o.values())
}

// SignAccessReview signs off the review with this digest.
func (c *Client) SignAccessReview(ctx context.Context, account string, r *SignReviewRequest) (*AccessReview, error) {
	return post[AccessReview](ctx, c, path(account, "accessReviews"), nil, r)
}

// ExchangeToken exchanges another issuer's token for one of this server.
// provider is accounts/{account}/identityProviders/{id}. It needs no key, and is
// not repeated: a token is taken once.
func (c *Client) ExchangeToken(ctx context.Context, provider, token string) (*Token, error) {
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "audience": {provider},
		"subject_token": {token}, "subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"}}
	once := *c
	once.Attempts, once.Key = 1, ""
	resp, err := once.send(ctx, "POST", "/v1/token", nil, "application/x-www-form-urlencoded", bytesOf([]byte(form.Encode())))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := &Token{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(out); err != nil || strings.TrimSpace(out.AccessToken) == "" {
		return nil, &Error{Kind: "UNKNOWN", HTTP: resp.StatusCode, Message: "the server's answer is not a token; is the base URL right?"}
	}
	return out, nil
}
