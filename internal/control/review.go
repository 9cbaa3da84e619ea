package control

import (
	"context"
	"encoding/json"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Actions that stand for the columns of a review: whoever may do one of them, to
// anything of the account, is in that column.
var (
	reviewRead       = []authz.Action{authz.GetDataset, authz.StepMetrics, authz.GetModel}
	reviewTrain      = []authz.Action{authz.CreateStep, authz.CreateSFTJob, authz.CreateDPOJob}
	reviewServe      = []authz.Action{authz.Chat, authz.Complete, authz.CreateDeployment, authz.CreateDeployedModel}
	reviewExport     = []authz.Action{authz.ExportModel}
	reviewAdminister = []authz.Action{authz.CreateUser, authz.UpdateUser, authz.CreateRole, authz.CreateConnection, authz.CreateProvider}
)

// ReviewAccess says who may do what in an account, asking the same policies that
// decide about requests, and lists every key that works.
func (c *Control) ReviewAccess(ctx context.Context, who Caller, account string) (*api.AccessReview, error) {
	if err := c.allow(ctx, who, authz.ReviewAccess, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	return c.review(ctx, account)
}

func (c *Control) review(ctx context.Context, account string) (*api.AccessReview, error) {
	a, err := c.DB.Account(ctx, account)
	if err != nil {
		return nil, err
	}
	out := &api.AccessReview{Account: account, Users: []api.AccessOfUser{}, Trusts: []api.AccessTrust{}}
	keys, err := c.DB.AccountKeys(ctx, account)
	if err != nil {
		return nil, err
	}
	byUser := map[string][]api.AccessKey{}
	for _, k := range keys {
		byUser[k.User] = append(byUser[k.User], api.AccessKey{KeyID: k.ID, DisplayName: k.DisplayName, Kind: k.Kind, Scope: wireScope(authz.ParseScope(k.Scope)),
			CreateTime: api.At(k.Created), ExpireTime: api.At(k.Expires), LastUsed: api.At(k.LastUsed)})
	}
	named, err := c.reviewedResources(ctx, account)
	if err != nil {
		return nil, err
	}
	err = pages(func(o store.ListOptions) (store.Page[store.User], error) { return c.DB.ListUsers(ctx, account, o) }, func(u store.User) error {
		entry, err := c.accessOf(ctx, a, u, named)
		if err != nil {
			return err
		}
		if entry.Keys = byUser[u.ID]; entry.Keys == nil {
			entry.Keys = []api.AccessKey{}
		}
		out.Users = append(out.Users, entry)
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = pages(func(o store.ListOptions) (store.Page[store.IdentityProvider], error) {
		return c.DB.ListIdentityProviders(ctx, account, o)
	}, func(p store.IdentityProvider) error {
		out.Trusts = append(out.Trusts, api.AccessTrust{Provider: p.Name(), Kind: p.Kind, Issuer: p.Issuer, Audience: p.Audience, Trust: wireTrust(p.Config)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	out.Digest, err = reviewDigest(*out)
	return out, err
}

// accessOf asks the policies about every action: on something of the account that
// is not the user's, on something that is, and by name on each resource, which
// tells where a custom role makes a difference.
func (c *Control) accessOf(ctx context.Context, a store.Account, u store.User, named []authz.Resource) (api.AccessOfUser, error) {
	out := api.AccessOfUser{User: u.ID, Email: u.Email, ServiceAccount: u.ServiceAccount, Role: u.Role, Preset: u.PermissionPreset, Actions: []string{}, OwnActions: []string{}}
	var role *store.Role
	if u.PermissionPreset != "" {
		r, err := c.DB.Role(ctx, a.ID, u.PermissionPreset)
		if err != nil && rft.KindOf(err) != rft.KindNotFound {
			return out, err
		}
		if err == nil {
			role = &r
		}
	}
	p, err := c.Keys.PrincipalOf(a, u, role, "")
	if err != nil {
		return out, err
	}
	may := func(action authz.Action, r authz.Resource) bool {
		return authz.Decide(p, action, r).Allowed
	}
	for _, action := range authz.Actions() {
		whole := authz.Resource{Account: a.ID, Name: rft.AccountName(a.ID)}
		own := whole
		own.Owner = u.ID
		switch {
		case may(action, whole):
			out.Actions = append(out.Actions, string(action))
		case may(action, own):
			out.OwnActions = append(out.OwnActions, string(action))
		}
		if p.Role != authz.Custom {
			continue // the contract's roles look at owners only
		}
		for _, r := range named {
			if may(action, r) != may(action, whole) {
				if out.SomeActions == nil {
					out.SomeActions = map[string][]string{}
				}
				out.SomeActions[string(action)] = append(out.SomeActions[string(action)], r.Name)
			}
		}
	}
	column := func(actions []authz.Action) bool {
		for _, action := range actions {
			own := authz.Resource{Account: a.ID, Name: rft.AccountName(a.ID), Owner: u.ID}
			if may(action, own) || len(out.SomeActions[string(action)]) > 0 {
				return true
			}
		}
		return false
	}
	out.Read, out.Train, out.Serve = column(reviewRead), column(reviewTrain), column(reviewServe)
	out.Export, out.Administer = column(reviewExport), column(reviewAdminister)
	return out, nil
}

// maxReviewed bounds the resources that a custom role is asked about one by one.
const maxReviewed = 1000

// reviewedResources are the models and datasets of an account. More than a
// thousand are refused: a review that leaves some out would be wrong.
func (c *Control) reviewedResources(ctx context.Context, account string) (out []authz.Resource, err error) {
	roles, err := c.DB.ListRoles(ctx, account, store.ListOptions{Limit: 1})
	if err != nil || roles.Total == 0 {
		return nil, err
	}
	add := func(name, owner string) error {
		if len(out) >= maxReviewed {
			return rft.Errorf(rft.KindFailedPrecondition, "the account has custom roles and more than %d models and datasets; delete some before the review", maxReviewed)
		}
		out = append(out, authz.Resource{Account: account, Name: name, Owner: owner})
		return nil
	}
	err = pages(func(o store.ListOptions) (store.Page[store.Model], error) { return c.DB.ListModels(ctx, account, o) },
		func(m store.Model) error { return add(m.Name(), "") })
	if err != nil {
		return nil, err
	}
	err = pages(func(o store.ListOptions) (store.Page[store.Dataset], error) {
		return c.DB.ListDatasets(ctx, account, o)
	},
		func(d store.Dataset) error { return add(d.Name(), d.CreatedBy) })
	return out, err
}

// reviewDigest is over a review without what changes by using it.
func reviewDigest(r api.AccessReview) (string, error) {
	users := make([]api.AccessOfUser, len(r.Users))
	for i, u := range r.Users {
		keys := make([]api.AccessKey, 0, len(u.Keys))
		for _, k := range u.Keys {
			if k.Kind != store.KeyKind {
				continue // sessions come and go; who may have one is in trusts
			}
			k.LastUsed = api.Time{}
			keys = append(keys, k)
		}
		u.Keys = keys
		users[i] = u
	}
	b, err := json.Marshal(struct {
		Account string
		Users   []api.AccessOfUser
		Trusts  []api.AccessTrust
	}{r.Account, users, r.Trusts})
	return "sha256:" + sha256Hex(b), err
}

// SignReview signs off the review with this digest. When access has changed
// since, there is nothing to sign: look again.
func (c *Control) SignReview(ctx context.Context, who Caller, account string, r *api.SignReviewRequest) (*api.AccessReview, error) {
	if err := c.allow(ctx, who, authz.SignReview, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	if len(r.Comment) > 1000 {
		return nil, rft.FieldErrorf("comment", "comment: is longer than 1000 bytes")
	}
	now, err := c.review(ctx, account)
	if err != nil {
		return nil, err
	}
	if r.Digest != now.Digest {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "access has changed since this review; look at it again and sign %s", now.Digest)
	}
	content, err := json.Marshal(now)
	if err != nil {
		return nil, err
	}
	id, err := newID("accessReviewId", "")
	if err != nil {
		return nil, err
	}
	row := store.AccessReview{Account: account, ID: id, Digest: now.Digest, Content: content, SignedBy: who.Name, Comment: r.Comment}
	made, err := c.DB.CreateAccessReview(ctx, row, who.act("SignAccessReview", reviewName(account, id), "digest", now.Digest))
	if err != nil {
		return nil, err
	}
	return wireReview(made)
}

// ListReviews lists the reviews that were signed off, whole.
func (c *Control) ListReviews(ctx context.Context, who Caller, account string, q ListQuery) (*api.AccessReviewList, error) {
	if err := c.allow(ctx, who, authz.ListReviews, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	scope := "accessReviews/" + account
	o, err := q.options(scope, "create_time desc")
	if err != nil {
		return nil, err
	}
	p, err := c.DB.ListAccessReviews(ctx, account, o)
	if err != nil {
		return nil, err
	}
	out := &api.AccessReviewList{AccessReviews: []api.AccessReview{}, Page: q.page(scope, p.Next, p.Total)}
	for _, r := range p.Items {
		w, err := wireReview(r)
		if err != nil {
			return nil, err
		}
		out.AccessReviews = append(out.AccessReviews, *w)
	}
	return out, nil
}

func reviewName(account, id string) string {
	return rft.Name{Account: account, Collection: "accessReviews", ID: id}.String()
}

func wireReview(r store.AccessReview) (*api.AccessReview, error) {
	w := &api.AccessReview{}
	if err := json.Unmarshal(r.Content, w); err != nil {
		return nil, rft.Wrap(rft.KindDataLoss, err, "the stored review %s cannot be read", r.ID)
	}
	w.Name, w.CreateTime, w.SignedBy, w.Comment = reviewName(r.Account, r.ID), api.At(r.Created), r.SignedBy, r.Comment
	return w, nil
}
