package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// GetModelPolicy returns what an account demands of its models.
func (c *Control) GetModelPolicy(ctx context.Context, who Caller, account string) (*api.ModelPolicy, error) {
	if err := c.allow(ctx, who, authz.GetModelPolicy, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	p, err := c.Catalog.Policy(ctx, account)
	if err != nil {
		return nil, err
	}
	return wirePolicy(p), nil
}

// SetModelPolicy replaces it. raw is read strictly: a misspelt rule must not
// pass for none.
func (c *Control) SetModelPolicy(ctx context.Context, who Caller, account string, raw []byte) (*api.ModelPolicy, error) {
	name := rft.AccountName(account)
	if err := c.allow(ctx, who, authz.SetModelPolicy, account, name); err != nil {
		return nil, err
	}
	p, err := provenance.ParsePolicy(raw)
	if err != nil {
		return nil, err
	}
	rules, err := json.Marshal(p)
	if err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "the policy cannot be stored")
	}
	sum := sha256.Sum256(rules)
	act := who.act("SetModelPolicy", name, "policy", "sha256:"+hex.EncodeToString(sum[:]))
	if _, err := c.DB.SetModelPolicy(ctx, store.ModelPolicy{Account: account, Rules: rules, UpdatedBy: who.Name}, act); err != nil {
		return nil, err
	}
	return wirePolicy(p), nil
}

func wirePolicy(p provenance.Policy) *api.ModelPolicy {
	w := &api.ModelPolicy{RequireSignature: p.RequireSignature, TrustedKeys: p.TrustedKeys, Destinations: p.Destinations, RequireApproval: p.RequireApproval}
	for _, t := range p.Require {
		w.Require = append(w.Require, api.ResultThreshold(t))
	}
	return w
}

// SignModel signs a model as it lies there, in the caller's name.
func (c *Control) SignModel(ctx context.Context, who Caller, account, id string) (*api.Model, error) {
	name := modelName(account, id)
	if err := c.allow(ctx, who, authz.SignModel, account, name); err != nil {
		return nil, err
	}
	m, err := c.DB.Model(ctx, account, id)
	if err != nil {
		return nil, err
	}
	if m, err = c.Catalog.SignModel(ctx, m, who.Name, who.act("SignModel", name)); err != nil {
		return nil, err
	}
	w := wireModel(m)
	return &w, nil
}

// GetModelAttestation returns the signed statements about a model, verified.
func (c *Control) GetModelAttestation(ctx context.Context, who Caller, account, id string) (*api.ModelAttestation, error) {
	if err := c.allow(ctx, who, authz.GetModel, account, modelName(account, id)); err != nil {
		return nil, err
	}
	m, err := c.DB.Model(ctx, account, id)
	if err != nil {
		return nil, err
	}
	if account != who.Account && !m.Public {
		return nil, authz.NotFound(m.Name())
	}
	a, err := c.Catalog.Attestation(ctx, m)
	if err != nil {
		return nil, rft.Wrap(rft.KindOf(err), err, "%s: %s", m.Name(), rft.PublicMessage(err))
	}
	w := &api.ModelAttestation{Model: m.Name(), Key: a.Key.ID()}
	for _, f := range a.Files {
		switch f.Name {
		case provenance.FileBundle:
			w.Signature = f.Data
		case provenance.FileProvenance:
			w.Provenance = f.Data
		case provenance.FileBOM:
			w.BOM = f.Data
		}
	}
	return w, nil
}

// GetSigningKey returns the public keys that models of this installation verify
// with. They are no secret; who holds a key of any account may know them.
func (c *Control) GetSigningKey(ctx context.Context, who Caller, account string) (*api.SigningKey, error) {
	if err := c.allow(ctx, who, authz.GetSigningKey, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	return c.signingKey(ctx)
}

// RotateSigningKey makes a new key sign models from now on.
func (c *Control) RotateSigningKey(ctx context.Context, who Caller, account string) (*api.SigningKey, error) {
	if err := c.allow(ctx, who, authz.RotateSigningKey, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	if !who.Operator {
		return nil, rft.Errorf(rft.KindPermissionDenied, "the signing key belongs to the installation; its operator rotates it")
	}
	if _, err := c.Catalog.SigningKeys().Rotate(ctx, who.act("RotateSigningKey", "")); err != nil {
		return nil, err
	}
	return c.signingKey(ctx)
}

func (c *Control) signingKey(ctx context.Context) (*api.SigningKey, error) {
	keys, err := c.Catalog.SigningKeys().Verifiers(ctx)
	if err != nil {
		return nil, err
	}
	out := &api.SigningKey{ID: keys[0].ID(), PEM: keys[0].PEM()}
	for _, k := range keys[1:] {
		out.Retired = append(out.Retired, api.SigningKey{ID: k.ID(), PEM: k.PEM()})
	}
	return out, nil
}

// Bounds of a registry login.
const maxLoginBytes = 16 << 10

// SetRegistryLogin stores the password of an OCI registry, or removes it.
func (c *Control) SetRegistryLogin(ctx context.Context, who Caller, account string, l *api.RegistryLogin) error {
	name := rft.AccountName(account)
	if err := c.allow(ctx, who, authz.SetRegistryLogin, account, name); err != nil {
		return err
	}
	if _, err := provenance.ParseOCI("oci://" + l.Host + "/repository:tag"); err != nil {
		return rft.FieldErrorf("host", "host: %q is not the host of a registry", clip(l.Host, 100))
	}
	if l.Password != "" && (l.Username == "" || len(l.Username) > 256 || len(l.Password) > maxLoginBytes) {
		return rft.FieldErrorf("username", "username: a login has a username of at most 256 and a password of at most %d bytes", maxLoginBytes)
	}
	act := who.act("SetRegistryLogin", name, "registry", l.Host, "username", l.Username)
	return c.Catalog.SetRegistryLogin(ctx, account, l.Host, catalog.Login{Username: l.Username, Password: seal.NewSecret(l.Password)}, act)
}
