package control

import (
	"context"
	"strings"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
)

// target finds what a model string means and authorises the caller to sample
// from it. The forms are those of the contract:
//
//	accounts/a/models/m                              a model, deployed on first use
//	accounts/a/models/m#accounts/a/deployments/d     a model on a given deployment
//	accounts/a/deployments/d                         the deployment's base, or its merged addon
//	accounts/a/deployedModels/id                     a loaded model
//	a/m, a/m#a/d, m                                  shorthands
func (c *Control) target(ctx context.Context, who Caller, ref string, chat bool) (t serving.Target, m store.Model, err error) {
	action := authz.Complete
	if chat {
		action = authz.Chat
	}
	if ref == "" {
		return t, m, rft.FieldErrorf("model", "model: is required")
	}
	n, on, err := parseTarget(ref, who.Account)
	if err != nil {
		// A string that names nothing is a model that is not there.
		if e := c.allow(ctx, who, action, who.Account, ref); e != nil {
			return t, m, e
		}
		return t, m, notServed()
	}
	if err := c.allow(ctx, who, action, n.Account, n.String()); err != nil {
		return t, m, err
	}
	m, err = c.resolveTarget(ctx, who.Account, n, on, !strings.Contains(ref, "/"))
	if err != nil {
		return t, m, err
	}
	if m.State != store.StateReady {
		return t, m, notServed()
	}
	if err := c.Catalog.Keys().CheckAccount(ctx, who.Account); err != nil {
		return t, m, err
	}
	t, err = targetOf(ctx, c.DB, who.Account, m)
	return t, m, err
}

// targetOf names m to the router: a child belongs to the account that asks
// and to one version of a base.
func targetOf(ctx context.Context, db *store.DB, account string, m store.Model) (serving.Target, error) {
	if m.Kind == store.KindBase {
		return serving.Target{Account: account, Base: m.Name(), BaseDigest: m.Digest}, nil
	}
	base, err := db.ModelByUID(ctx, m.BaseUID)
	if err != nil {
		return serving.Target{}, err
	}
	return serving.Target{Account: account, Base: base.Name(), BaseDigest: base.Digest, Adapter: m.Name(), AdapterID: m.Digest}, nil
}

func notServed() error {
	return &rft.Error{Kind: rft.KindNotFound, Message: "Model not found, inaccessible, and/or not deployed", Field: "model"}
}

// parseTarget reads a model string into the resource it names and, after '#',
// the deployment.
func parseTarget(ref, account string) (n, on rft.Name, err error) {
	first, second, hasDeployment := strings.Cut(ref, "#")
	if hasDeployment {
		if on, err = rft.ParseName("model", longName(second, rft.Deployments), account, rft.Deployments); err != nil {
			return n, on, err
		}
	}
	first = longName(first, rft.Models)
	for _, c := range []rft.Collection{rft.Models, rft.Deployments, rft.Deployed} {
		if n, err = rft.ParseName("model", first, account, c); err == nil {
			return n, on, nil
		}
	}
	return n, on, err
}

// longName expands the shorthand account/id.
func longName(s string, c rft.Collection) string {
	a, id, ok := strings.Cut(s, "/")
	if !ok || a == "accounts" || strings.Contains(id, "/") {
		return s
	}
	return rft.Name{Account: a, Collection: c, ID: id}.String()
}

func (c *Control) resolveTarget(ctx context.Context, account string, n, on rft.Name, bare bool) (store.Model, error) {
	switch n.Collection {
	case rft.Deployments:
		return c.deploymentModel(ctx, n)
	case rft.Deployed:
		d, err := c.DB.DeployedModel(ctx, n.Account, n.ID)
		if err != nil {
			return store.Model{}, err
		}
		return c.model(ctx, "model", d.Model, account)
	}
	ref := n.String()
	if bare {
		ref = n.ID
	}
	m, err := c.model(ctx, "model", ref, account)
	if err != nil {
		return m, err
	}
	if on.ID != "" {
		return m, c.checkDeployment(ctx, account, m, on)
	}
	if c.ManualDeployments {
		return m, c.checkDeployed(ctx, account, m)
	}
	return m, nil
}

// deploymentModel is the deployment's merged addon, if it takes one, or its base.
func (c *Control) deploymentModel(ctx context.Context, n rft.Name) (store.Model, error) {
	d, err := c.DB.Deployment(ctx, n.Account, n.ID)
	if err != nil {
		return store.Model{}, err
	}
	if err := c.used(ctx, d); err != nil {
		return store.Model{}, err
	}
	if d.EnableHotReload {
		p, err := c.DB.ListDeployedModels(ctx, n.Account, store.ListOptions{Limit: 1, OrderBy: []store.Order{{Field: "create_time", Desc: true}},
			Filter: []store.Term{{Field: "deployment", Op: "=", Value: d.Name()}}})
		if err != nil {
			return store.Model{}, err
		}
		if len(p.Items) > 0 {
			return c.model(ctx, "model", p.Items[0].Model, n.Account)
		}
	}
	return c.model(ctx, "model", d.BaseModel, n.Account)
}

func (c *Control) checkDeployment(ctx context.Context, account string, m store.Model, on rft.Name) error {
	if on.Account != account {
		return authz.NotFound(on.String())
	}
	d, err := c.DB.Deployment(ctx, on.Account, on.ID)
	if err != nil {
		return err
	}
	if err := fits(m, d, true); err != nil {
		return err
	}
	return c.used(ctx, d)
}

// checkDeployed is for servers that deploy nothing by themselves.
func (c *Control) checkDeployed(ctx context.Context, account string, m store.Model) error {
	one := func(field string) store.ListOptions {
		return store.ListOptions{Limit: 1, Filter: []store.Term{{Field: field, Op: "=", Value: m.Name()}}}
	}
	loaded, err := c.DB.ListDeployedModels(ctx, account, one("model"))
	if err != nil {
		return err
	}
	served, err := c.DB.ListDeployments(ctx, account, one("base_model"))
	if err != nil {
		return err
	}
	if len(loaded.Items)+len(served.Items) == 0 {
		return notServed()
	}
	return nil
}

// ListServed lists the models that the caller can sample from.
func (c *Control) ListServed(ctx context.Context, who Caller) (*api.ServedModelList, error) {
	if err := c.allow(ctx, who, authz.ListServed, who.Account, rft.AccountName(who.Account)); err != nil {
		return nil, err
	}
	out := &api.ServedModelList{Object: "list", Data: []api.ServedModel{}}
	for _, account := range []string{who.Account, rft.OperatorAccount} {
		ready := []store.Term{{Field: "state", Op: "=", Value: store.StateReady}}
		if account != who.Account {
			ready = append(ready, store.Term{Field: "public", Op: "=", Value: "true"})
		} else if account == rft.OperatorAccount {
			continue
		}
		for after := ""; ; {
			p, err := c.DB.ListModels(ctx, account, store.ListOptions{Limit: 200, After: after, Filter: ready})
			if err != nil {
				return nil, err
			}
			out.Data = append(out.Data, items(p.Items, wireServed)...)
			if after = p.Next; after == "" {
				break
			}
		}
	}
	return out, nil
}

// GetServed returns one model that the caller can sample from.
func (c *Control) GetServed(ctx context.Context, who Caller, ref string) (*api.ServedModel, error) {
	n, err := rft.ParseName("model", ref, who.Account, rft.Models)
	if err != nil {
		n = rft.Name{Account: who.Account, Collection: rft.Models, ID: ref}
	}
	if e := c.allow(ctx, who, authz.GetServed, n.Account, n.String()); e != nil {
		return nil, e
	}
	if err != nil {
		return nil, notServed()
	}
	m, err := c.model(ctx, "model", ref, who.Account)
	if err != nil {
		return nil, err
	}
	if m.State != store.StateReady {
		return nil, notServed()
	}
	w := wireServed(m)
	return &w, nil
}

func wireServed(m store.Model) api.ServedModel {
	return api.ServedModel{ID: m.Name(), Object: "model", OwnedBy: m.Account, Created: m.Created.Unix(), ContextLength: m.ContextLength,
		Kind: m.Kind, SupportsChat: m.HasChat || m.Kind == store.KindAdapter}
}
