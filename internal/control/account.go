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

// ListAccounts lists what the caller may see: its own account. Clients that
// discover their account this way need exactly one.
func (c *Control) ListAccounts(ctx context.Context, who Caller, _ ListQuery) (*api.AccountList, error) {
	if err := c.allow(ctx, who, authz.ListAccounts, who.Account, rft.AccountName(who.Account)); err != nil {
		return nil, err
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

func wireAccount(a store.Account) api.Account {
	return api.Account{Name: rft.AccountName(a.ID), DisplayName: a.DisplayName, CreateTime: api.At(a.Created), UpdateTime: api.At(a.Updated),
		AccountType: "ENTERPRISE", Email: a.Email, State: "READY", Status: wireStatus(store.OK()), SuspendState: "UNSUSPENDED"}
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
	role, err := authz.ParseRole("role", u.Role)
	if err != nil {
		return nil, err
	}
	if err := checkDisplayName(u.DisplayName); err != nil {
		return nil, err
	}
	if len(u.Email) > 254 || strings.ContainsAny(u.Email, "\r\n\x00 ") {
		return nil, rft.FieldErrorf("email", "email: is not an address")
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
	row := store.User{Account: account, ID: id, DisplayName: u.DisplayName, Email: u.Email, Role: string(role), ServiceAccount: u.ServiceAccount}
	made, err := c.DB.CreateUser(ctx, row, who.act("CreateUser", userName(account, id), "role", string(role)))
	if err != nil {
		return nil, err
	}
	w := wireUser(made)
	return &w, nil
}

func userName(account, id string) string {
	return rft.Name{Account: account, Collection: rft.Users, ID: id}.String()
}

func wireUser(u store.User) api.User {
	return api.User{Name: userName(u.Account, u.ID), DisplayName: u.DisplayName, ServiceAccount: u.ServiceAccount, CreateTime: api.At(u.Created),
		UpdateTime: api.At(u.Updated), Role: u.Role, Email: u.Email, State: "READY", Status: wireStatus(store.OK())}
}

func wireStatus(s store.Status) api.Status { return api.Status{Code: s.Code, Message: s.Message} }

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
