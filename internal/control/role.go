package control

import (
	"context"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// ListRoles lists the custom roles of an account.
func (c *Control) ListRoles(ctx context.Context, who Caller, account string, q ListQuery) (*api.RoleList, error) {
	if err := c.allow(ctx, who, authz.ListRoles, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	scope := "roles/" + account
	o, err := q.options(scope, "")
	if err != nil {
		return nil, err
	}
	p, err := c.DB.ListRoles(ctx, account, o)
	if err != nil {
		return nil, err
	}
	return &api.RoleList{Roles: items(p.Items, wireRole), Page: q.page(scope, p.Next, p.Total)}, nil
}

// GetRole returns a custom role.
func (c *Control) GetRole(ctx context.Context, who Caller, account, id string) (*api.Role, error) {
	if err := c.allow(ctx, who, authz.GetRole, account, roleName(account, id)); err != nil {
		return nil, err
	}
	r, err := c.DB.Role(ctx, account, id)
	if err != nil {
		return nil, err
	}
	w := wireRole(r)
	return &w, nil
}

// PutRole creates a custom role, or replaces its policies. They count from the
// next request on.
func (c *Control) PutRole(ctx context.Context, who Caller, account, id string, r *api.Role) (*api.Role, error) {
	if err := c.allow(ctx, who, authz.CreateRole, account, roleName(account, id)); err != nil {
		return nil, err
	}
	if err := rft.CheckID("roleId", id); err != nil {
		return nil, err
	}
	if err := checkDisplayName(r.DisplayName); err != nil {
		return nil, err
	}
	if _, err := authz.CompileRole("policy", id, r.Policy); err != nil {
		return nil, err
	}
	row := store.Role{Account: account, ID: id, DisplayName: r.DisplayName, Policy: r.Policy, CreatedBy: who.Name}
	made, err := c.DB.PutRole(ctx, row, who.act("PutRole", roleName(account, id), "policySha256", sha256Hex([]byte(r.Policy))))
	if err != nil {
		return nil, err
	}
	w := wireRole(made)
	return &w, nil
}

// DeleteRole deletes a custom role that nobody has.
func (c *Control) DeleteRole(ctx context.Context, who Caller, account, id string) error {
	if err := c.allow(ctx, who, authz.DeleteRole, account, roleName(account, id)); err != nil {
		return err
	}
	return c.DB.DeleteRole(ctx, account, id, who.act("DeleteRole", roleName(account, id)))
}

func roleName(account, id string) string {
	return rft.Name{Account: account, Collection: "roles", ID: id}.String()
}

func wireRole(r store.Role) api.Role {
	return api.Role{Name: roleName(r.Account, r.ID), DisplayName: r.DisplayName, Policy: r.Policy, CreatedBy: r.CreatedBy, CreateTime: api.At(r.Created), UpdateTime: api.At(r.Updated)}
}
