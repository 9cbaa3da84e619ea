package cli

import (
	"strings"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

type secretCmd struct {
	Create secretCreateCmd `cmd:"" help:"Store a secret; its value comes from a file or standard input and never comes out."`
	List   secretListCmd   `cmd:"" help:"List secrets, without their values."`
	Get    secretGetCmd    `cmd:"" help:"Show a secret without its value."`
	Update secretUpdateCmd `cmd:"" help:"Replace the value of a secret, or rename its key."`
	Delete secretDeleteCmd `cmd:"" help:"Destroy a secret."`
}

// secretCreateCmd has no flag for the value: what is on a command line can be read
// by every process of the host.
type secretCreateCmd struct {
	ID      string `arg:"" help:"Id of the new secret."`
	KeyName string `name:"key-name" help:"What programs call it, such as WANDB_API_KEY; the id by default." placeholder:"NAME"`
	From    string `default:"-" help:"File with the value, - = standard input; one newline at its end is left out." placeholder:"PATH"`
}

// Run implements a command.
func (c *secretCreateCmd) Run(a *app) error {
	client, account, id, err := a.named("ID", c.ID, rft.Secrets)
	if err != nil {
		return err
	}
	value, err := a.secretValue(c.From)
	if err != nil {
		return err
	}
	name := rft.Name{Account: account, Collection: rft.Secrets, ID: id}
	s := &api.Secret{Name: name.String(), KeyName: c.KeyName, Value: value}
	if s.KeyName == "" {
		s.KeyName = id
	}
	made, err := client.CreateSecret(a.ctx, account, s)
	if err != nil {
		return err
	}
	return a.show(made)
}

// secretValue reads a value, without the newline that editors and echo put behind
// it.
func (a *app) secretValue(from string) (string, error) {
	raw, err := a.readInput(from, maxSecret)
	if err != nil {
		return "", err
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	if value == "" {
		return "", rft.FieldErrorf("from", "--from: there is no value; write it to standard input, or name a file that holds it")
	}
	return value, nil
}

type secretListCmd struct{}

// Run implements a command.
func (c *secretListCmd) Run(a *app) error {
	return listing(a, "ID KEY", func(client *api.Client, account string, o api.ListOptions) ([]api.Secret, api.Page, error) {
		l, err := client.ListSecrets(a.ctx, account, o)
		return l.Secrets, l.Page, err
	}, func(s api.Secret) []string { return []string{id(s.Name), s.KeyName} })
}

type secretGetCmd struct {
	ID string `arg:"" help:"The secret." complete:"secrets"`
}

// Run implements a command.
func (c *secretGetCmd) Run(a *app) error {
	return showing(a, "ID", c.ID, rft.Secrets, func(client *api.Client, account, id string) (*api.Secret, error) {
		return client.GetSecret(a.ctx, account, id)
	})
}

type secretUpdateCmd struct {
	ID      string  `arg:"" help:"The secret." complete:"secrets"`
	KeyName *string `name:"key-name" help:"The new name of its key." placeholder:"NAME"`
	From    *string `help:"File with the new value, - = standard input; without it the value stays." placeholder:"PATH"`
}

// Run implements a command.
func (c *secretUpdateCmd) Run(a *app) error {
	s, fields := &api.Secret{}, changes{}
	set(&fields, "keyName", &s.KeyName, c.KeyName)
	if c.From != nil {
		value, err := a.secretValue(*c.From)
		if err != nil {
			return err
		}
		set(&fields, "value", &s.Value, &value)
	}
	if err := fields.some("--from", "--key-name"); err != nil {
		return err
	}
	return showing(a, "ID", c.ID, rft.Secrets, func(client *api.Client, account, id string) (*api.Secret, error) {
		return client.UpdateSecret(a.ctx, account, id, s, fields...)
	})
}

type secretDeleteCmd struct {
	ID string `arg:"" help:"The secret." complete:"secrets"`
}

// Run implements a command.
func (c *secretDeleteCmd) Run(a *app) error {
	return doing(a, "deleted", "ID", c.ID, rft.Secrets, func(client *api.Client, account, id string) error {
		return client.DeleteSecret(a.ctx, account, id)
	})
}
