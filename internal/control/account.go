package control

import (
	"context"
	"strings"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// VerifyKey says whose key the caller holds.
func (c *Control) VerifyKey(ctx context.Context, who Caller) (api.Identity, error) {
	if err := c.allow(ctx, who, authz.VerifyKey, who.Account, rft.AccountName(who.Account)); err != nil {
		return api.Identity{}, err
	}
	return api.Identity{Account: who.Account, Email: who.Email}, nil
}

// ListAccounts lists what the caller may see: its own account, and for the
// operator every tenant. Clients that
// discover their account this way need exactly one.
func (c *Control) ListAccounts(ctx context.Context, who Caller, q ListQuery) (*api.AccountList, error) {
	if err := c.allow(ctx, who, authz.ListAccounts, who.Account, rft.AccountName(who.Account)); err != nil {
		return nil, err
	}
	if who.Role == authz.Operator {
		return c.listTenants(ctx, q)
	}
	a, err := c.DB.Account(ctx, who.Account)
	if err != nil {
		return nil, err
	}
	return &api.AccountList{Accounts: []api.Account{wireAccount(a)}, Page: api.Page{TotalSize: 1}}, nil
}

// GetAccount returns the caller's account.
func (c *Control) GetAccount(ctx context.Context, who Caller, account string) (*api.Account, error) {
	if err := c.allow(ctx, who, authz.GetAccount, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	a, err := c.DB.Account(ctx, account)
	if err != nil {
		return nil, err
	}
	w := wireAccount(a)
	return &w, nil
}

// listTenants lists every account; deleted ones are names only and stay away.
func (c *Control) listTenants(ctx context.Context, q ListQuery) (*api.AccountList, error) {
	const scope = "accounts"
	o, err := q.options(scope, "")
	if err != nil {
		return nil, err
	}
	o.Filter = append(o.Filter, store.Term{Field: "state", Op: "!=", Value: store.AccountDeleted})
	p, err := c.DB.ListAccounts(ctx, o)
	if err != nil {
		return nil, err
	}
	return &api.AccountList{Accounts: items(p.Items, wireAccount), Page: q.page(scope, p.Next, p.Total)}, nil
}

func wireAccount(a store.Account) api.Account {
	w := api.Account{Name: rft.AccountName(a.ID), DisplayName: a.DisplayName, CreateTime: api.At(a.Created), UpdateTime: api.At(a.Updated),
		AccountType: "ENTERPRISE", Email: a.Email, State: "READY", Status: wireStatus(store.OK()), SuspendState: "UNSUSPENDED"}
	switch a.State {
	case store.AccountSuspended:
		w.SuspendState = "OTHER"
	case store.AccountDeleted:
		w.State = "DELETING"
	}
	return w
}

// ListUsers lists the users of an account.
func (c *Control) ListUsers(ctx context.Context, who Caller, account string, q ListQuery) (*api.UserList, error) {
	if err := c.allow(ctx, who, authz.ListUsers, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	scope := "users/" + account
	o, err := q.options(scope, "")
	if err != nil {
		return nil, err
	}
	p, err := c.DB.ListUsers(ctx, account, o)
	if err != nil {
		return nil, err
	}
	return &api.UserList{Users: items(p.Items, wireUser), Page: q.page(scope, p.Next, p.Total)}, nil
}

// GetUser returns a user.
func (c *Control) GetUser(ctx context.Context, who Caller, account, id string) (*api.User, error) {
	if err := c.allowOwned(ctx, who, authz.GetUser, account, userName(account, id), id); err != nil {
		return nil, err
	}
	u, err := c.DB.User(ctx, account, id)
	if err != nil {
		return nil, err
	}
	w := wireUser(u)
	return &w, nil
}

// CreateUser adds a person or a service account.
func (c *Control) CreateUser(ctx context.Context, who Caller, account, id string, u *api.User) (*api.User, error) {
	if err := c.allow(ctx, who, authz.CreateUser, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	role, err := c.roleOf(ctx, account, u)
	if err != nil {
		return nil, err
	}
	if err := checkDisplayName(u.DisplayName); err != nil {
		return nil, err
	}
	if err := checkEmail(u.Email); err != nil {
		return nil, err
	}
	if id == "" {
		id, _, _ = strings.Cut(strings.ToLower(u.Email), "@")
	}
	if id == "" {
		return nil, rft.FieldErrorf("userId", "userId: give an id in the query, or an email")
	}
	if err := rft.CheckID("userId", id); err != nil {
		return nil, err
	}
	row := store.User{Account: account, ID: id, DisplayName: u.DisplayName, Email: u.Email, Role: string(role), PermissionPreset: u.PermissionPreset,
		ServiceAccount: u.ServiceAccount}
	made, err := c.DB.CreateUser(ctx, row, who.act("CreateUser", userName(account, id), "role", string(role)))
	if err != nil {
		return nil, err
	}
	w := wireUser(made)
	return &w, nil
}

// UpdateUser changes name, address and role of a user, from the next request on.
func (c *Control) UpdateUser(ctx context.Context, who Caller, account, id string, p api.Patch) (*api.User, error) {
	name := userName(account, id)
	if err := c.allow(ctx, who, authz.UpdateUser, account, name); err != nil {
		return nil, err
	}
	old, err := c.DB.User(ctx, account, id)
	if err != nil {
		return nil, err
	}
	u := wireUser(old)
	if err := p.Apply(&u); err != nil {
		return nil, badPatch(err)
	}
	if u.Role != old.Role && !p.Has("permissionPreset") {
		u.PermissionPreset = "" // it belonged to the role before
	}
	role, err := c.roleOf(ctx, account, &u)
	if err != nil {
		return nil, err
	}
	if err := checkDisplayName(u.DisplayName); err != nil {
		return nil, err
	}
	if err := checkEmail(u.Email); err != nil {
		return nil, err
	}
	if id == who.User && role != authz.Admin {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "%s is you: let another admin change your role", name)
	}
	row := store.User{Account: account, ID: id, DisplayName: u.DisplayName, Email: u.Email, Role: string(role), PermissionPreset: u.PermissionPreset}
	made, err := c.DB.UpdateUser(ctx, row, old, who.act("UpdateUser", name, "role", string(role), "permissionPreset", u.PermissionPreset, "roleBefore", old.Role))
	if err != nil {
		return nil, err
	}
	w := wireUser(made)
	return &w, nil
}

// roleOf reads the role of a request; a custom one must be there.
func (c *Control) roleOf(ctx context.Context, account string, u *api.User) (authz.Role, error) {
	role, err := authz.ParseRole("role", u.Role, u.PermissionPreset)
	if err != nil || role != authz.Custom {
		return role, err
	}
	if _, err := c.DB.Role(ctx, account, u.PermissionPreset); err != nil {
		if rft.KindOf(err) == rft.KindNotFound {
			return "", rft.FieldErrorf("permissionPreset", "permissionPreset: the account has no role %s", u.PermissionPreset)
		}
		return "", err
	}
	return role, nil
}

// checkEmail bounds addresses.
func checkEmail(s string) error {
	if len(s) > 254 || strings.ContainsAny(s, "\r\n\x00 ") {
		return rft.FieldErrorf("email", "email: is not an address")
	}
	return nil
}

func userName(account, id string) string {
	return rft.Name{Account: account, Collection: rft.Users, ID: id}.String()
}

func wireUser(u store.User) api.User {
	return api.User{Name: userName(u.Account, u.ID), DisplayName: u.DisplayName, ServiceAccount: u.ServiceAccount, CreateTime: api.At(u.Created),
		UpdateTime: api.At(u.Updated), Role: u.Role, PermissionPreset: u.PermissionPreset, Email: u.Email, State: "READY", Status: wireStatus(store.OK())}
}

func wireStatus(s store.Status) api.Status { return api.Status{Code: s.Code, Message: s.Message} }

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
