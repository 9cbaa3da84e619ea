package cli

import (
	"strings"
	"time"

	"github.com/firekeep/firekeep/api"
)

type keyCmd struct {
	Create keyCreateCmd `cmd:"" help:"Create a key; it is shown once."`
	Rotate keyRotateCmd `cmd:"" help:"Make the successor of a key; the old one works on for a while."`
	List   keyListCmd   `cmd:"" help:"List keys."`
	Delete keyDeleteCmd `cmd:"" help:"Revoke a key at once."`
}

type keyCreateCmd struct {
	User    string        `default:"admin" aliases:"service-account" help:"Whose key." complete:"users"`
	Role    string        `help:"Create the user first, with this role: admin, user, contributor or inference-user." enum:"admin,user,contributor,inference-user," default:"" placeholder:"ROLE"`
	Name    string        `help:"Shown in lists."`
	Expires time.Duration `help:"Life of the key, such as 720h; 90 days by default." placeholder:"DURATION"`
	// Scopes are said with the key: it never does more than its user may.
	OnlyRole     []string `help:"Narrow the key to what this role may do." placeholder:"ROLE"`
	OnlyAction   []string `help:"Narrow the key to these actions, such as models.get or inference.*." placeholder:"ACTION"`
	OnlyResource []string `help:"Narrow the key to these resources, such as accounts/main/models/m*." placeholder:"NAME"`
}

// Run implements a command.
func (c *keyCreateCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	if c.Role != "" {
		if _, err := client.CreateUser(a.ctx, account, c.User, &api.User{Role: c.Role, ServiceAccount: true}); err != nil {
			return err
		}
	}
	k := &api.APIKey{DisplayName: c.Name}
	if c.Expires > 0 {
		k.ExpireTime = api.At(time.Now().Add(c.Expires))
	}
	if len(c.OnlyRole)+len(c.OnlyAction)+len(c.OnlyResource) > 0 {
		k.Scope = &api.KeyScope{Roles: c.OnlyRole, Actions: c.OnlyAction, Resources: c.OnlyResource}
	}
	made, err := client.CreateAPIKey(a.ctx, account, c.User, k)
	if err != nil {
		return err
	}
	return a.show(made)
}

type keyListCmd struct {
	User string `default:"admin" help:"Whose keys." complete:"users"`
}

// Run implements a command.
func (c *keyListCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	keys, err := all(func(o api.ListOptions) ([]api.APIKey, api.Page, error) {
		l, err := client.ListAPIKeys(a.ctx, account, c.User, o)
		return l.APIKeys, l.Page, err
	})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, k := range keys {
		rows = append(rows, []string{k.KeyID, strings.ReplaceAll(k.DisplayName, "\t", " "), at(k.CreateTime), at(k.ExpireTime), at(k.LastUsed)})
	}
	return a.table(keys, "ID NAME CREATED EXPIRES USED", rows)
}

type keyDeleteCmd struct {
	ID   string `arg:"" help:"Id of the key."`
	User string `default:"admin" help:"Whose key." complete:"users"`
}

// Run implements a command.
func (c *keyDeleteCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	if err := client.DeleteAPIKey(a.ctx, account, c.User, c.ID); err != nil {
		return err
	}
	return a.done("revoked %s", c.ID)
}
