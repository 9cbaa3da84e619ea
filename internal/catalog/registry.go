package catalog

import (
	"context"
	"encoding/json"

	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// Login is how an account signs in to an OCI registry.
type Login struct {
	Username string
	Password seal.Secret // empty = none is stored
}

func loginAAD(account, host string) []byte {
	return []byte("firekeep/registry-login\x00" + account + "\x00" + host)
}

// RegistryLogin opens the login of an account at a registry.
func (c *Catalog) RegistryLogin(ctx context.Context, account, host string) (Login, error) {
	row, ok, err := c.db.RegistryLogin(ctx, account, host)
	if err != nil || !ok {
		return Login{}, err
	}
	password, err := seal.OpenBytes(c.vault.host(), row.Sealed, loginAAD(account, host))
	if err != nil {
		return Login{}, rft.Wrap(rft.KindDataLoss, err, "the login for %s does not open; store it again", host)
	}
	return Login{Username: row.Username, Password: seal.NewSecret(string(password))}, nil
}

// SetRegistryLogin stores a login, or removes it when it has no password.
func (c *Catalog) SetRegistryLogin(ctx context.Context, account, host string, l Login, act store.Act) error {
	row := store.RegistryLogin{Account: account, Host: host, UpdatedBy: act.Actor}
	if !l.Password.Empty() {
		sealed, err := seal.SealBytes(c.vault.host(), []byte(l.Password.Reveal()), loginAAD(account, host))
		if err != nil {
			return rft.Wrap(rft.KindInternal, err, "the login cannot be sealed")
		}
		row.Username, row.Sealed = l.Username, sealed
	}
	return c.db.SetRegistryLogin(ctx, row, act)
}

// MayLeave asks the account's policy whether a model may go to a destination.
func (c *Catalog) MayLeave(ctx context.Context, account string, m store.Model, spec ExportSpec, record *provenance.Statement) error {
	p, err := c.Policy(ctx, account)
	if err != nil {
		return err
	}
	if err := p.AllowDestination(spec.URL); err != nil {
		return err
	}
	if err := p.AllowResults(record); err != nil {
		return err
	}
	if !p.RequireApproval {
		return nil
	}
	if spec.Approval == "" {
		return rft.Errorf(rft.KindPermissionDenied, "the account's policy requires another principal's approval for this export")
	}
	r, err := c.db.ExportRequest(ctx, account, spec.Approval)
	if err != nil {
		return err
	}
	if r.State != store.ExportApproved || r.ModelUID != m.UID || r.ModelDigest != m.Digest || r.Destination != spec.URL {
		return rft.Errorf(rft.KindPermissionDenied, "what was approved is not this version of %s for %s", m.Name(), spec.URL)
	}
	return nil
}

// Destination checks where an export is to go and returns its one spelling.
func Destination(url string) (string, error) {
	if provenance.IsOCI(url) {
		to, err := provenance.ParseOCI(url)
		return to.String(), err
	}
	to, err := ExportURL(url)
	return to.String(), err
}

// JSON is the spec as a job carries it.
func (s ExportSpec) JSON() (json.RawMessage, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "the export cannot be described")
	}
	return raw, nil
}
