package control

import (
	"context"
	"encoding/json"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// providers is the collection of identity providers.
const providers rft.Collection = "identityProviders"

// ListProviders lists the issuers that an account trusts.
func (c *Control) ListProviders(ctx context.Context, who Caller, account string, q ListQuery) (*api.IdentityProviderList, error) {
	if err := c.allow(ctx, who, authz.ListProviders, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	scope := "identityProviders/" + account
	o, err := q.options(scope, "")
	if err != nil {
		return nil, err
	}
	p, err := c.DB.ListIdentityProviders(ctx, account, o)
	if err != nil {
		return nil, err
	}
	return &api.IdentityProviderList{IdentityProviders: items(p.Items, wireProvider), Page: q.page(scope, p.Next, p.Total)}, nil
}

// GetProvider returns an issuer that an account trusts.
func (c *Control) GetProvider(ctx context.Context, who Caller, account, id string) (*api.IdentityProvider, error) {
	name := rft.Name{Account: account, Collection: providers, ID: id}.String()
	if err := c.allow(ctx, who, authz.GetProvider, account, name); err != nil {
		return nil, err
	}
	p, err := c.DB.IdentityProvider(ctx, account, id)
	if err != nil {
		return nil, err
	}
	w := wireProvider(p)
	return &w, nil
}

// CreateProvider trusts an issuer.
func (c *Control) CreateProvider(ctx context.Context, who Caller, account, id string, p *api.IdentityProvider) (*api.IdentityProvider, error) {
	if err := c.allow(ctx, who, authz.CreateProvider, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	if p == nil {
		p = &api.IdentityProvider{}
	}
	if err := c.checkProvider(p); err != nil {
		return nil, err
	}
	id, err := newID("identityProviderId", id)
	if err != nil {
		return nil, err
	}
	trust := trustOf(p.Trust)
	if err := trust.Check("identityProvider.trust", p.Kind); err != nil {
		return nil, err
	}
	if trust.User != "" {
		if err := c.checkWorkloadUser(ctx, account, trust.User); err != nil {
			return nil, err
		}
	}
	config, err := json.Marshal(trust)
	if err != nil {
		return nil, err
	}
	row := store.IdentityProvider{Account: account, ID: id, DisplayName: p.DisplayName, Kind: p.Kind, Issuer: p.OIDCConfig.IssuerURL,
		Audience: p.OIDCConfig.ClientID, Config: config, CreatedBy: who.Name}
	made, err := c.DB.CreateIdentityProvider(ctx, row, who.act("CreateIdentityProvider", row.Name(), "issuer", row.Issuer, "audience", row.Audience, "kind", row.Kind))
	if err != nil {
		return nil, err
	}
	w := wireProvider(made)
	return &w, nil
}

func (c *Control) checkProvider(p *api.IdentityProvider) error {
	if err := checkDisplayName(p.DisplayName); err != nil {
		return err
	}
	o := p.OIDCConfig
	switch {
	case p.Kind != store.KeyLogin && p.Kind != store.KeyWorkload:
		return rft.FieldErrorf("identityProvider.kind", `identityProvider.kind: must be "login" or "workload"`)
	case o == nil || o.IssuerURL == "":
		return rft.FieldErrorf("identityProvider.oidcConfig.issuerUrl", "identityProvider.oidcConfig.issuerUrl: is required")
	case o.ClientID == "" || len(o.ClientID) > 255:
		return rft.FieldErrorf("identityProvider.oidcConfig.clientId", "identityProvider.oidcConfig.clientId: is required: the audience that tokens must be for, of 255 bytes at most")
	}
	return c.Tokens.CheckIssuer("identityProvider.oidcConfig.issuerUrl", o.IssuerURL)
}

// checkWorkloadUser keeps people from being impersonated by jobs.
func (c *Control) checkWorkloadUser(ctx context.Context, account, id string) error {
	u, err := c.DB.User(ctx, account, id)
	if rft.KindOf(err) == rft.KindNotFound || (err == nil && !u.ServiceAccount) {
		return rft.FieldErrorf("identityProvider.trust.user", "identityProvider.trust.user: the account has no service account %s", clip(id, 63))
	}
	return err
}

// DeleteProvider ends the trust in an issuer; tokens given in exchange end too.
func (c *Control) DeleteProvider(ctx context.Context, who Caller, account, id string) error {
	name := rft.Name{Account: account, Collection: providers, ID: id}.String()
	if err := c.allow(ctx, who, authz.DeleteProvider, account, name); err != nil {
		return err
	}
	return c.DB.DeleteIdentityProvider(ctx, account, id, who.act("DeleteIdentityProvider", name))
}

func wireProvider(p store.IdentityProvider) api.IdentityProvider {
	w := api.IdentityProvider{Name: p.Name(), DisplayName: p.DisplayName, OIDCConfig: &api.OIDCConfig{IssuerURL: p.Issuer, ClientID: p.Audience}, Kind: p.Kind,
		CreatedBy: p.CreatedBy, CreateTime: api.At(p.Created), State: "READY", Status: wireStatus(store.OK())}
	w.Trust = wireTrust(p.Config)
	return w
}

func trustOf(t *api.Trust) *authz.Trust {
	if t == nil {
		t = &api.Trust{}
	}
	out := &authz.Trust{Subject: t.Subject, Claims: t.Claims, User: t.User, GroupsClaim: t.GroupsClaim, DefaultRole: authz.Role(t.DefaultRole),
		Scope: scopeOf(t.Scope), LifeSeconds: int64(t.LifeSeconds)}
	for group, role := range t.Roles {
		if out.Roles == nil {
			out.Roles = map[string]authz.Role{}
		}
		out.Roles[group] = authz.Role(role)
	}
	return out
}

func wireTrust(config json.RawMessage) *api.Trust {
	var t authz.Trust
	if json.Unmarshal(config, &t) != nil {
		return nil // CreateProvider wrote it
	}
	out := &api.Trust{Subject: t.Subject, Claims: t.Claims, User: t.User, GroupsClaim: t.GroupsClaim, DefaultRole: string(t.DefaultRole),
		Scope: wireScope(t.Scope), LifeSeconds: api.Int64(t.LifeSeconds)}
	for group, role := range t.Roles {
		if out.Roles == nil {
			out.Roles = map[string]string{}
		}
		out.Roles[group] = string(role)
	}
	return out
}
