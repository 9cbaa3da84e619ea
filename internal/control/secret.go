package control

import (
	"context"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// maxKeyName bounds what programs call a secret.
const maxKeyName = 200

// ListSecrets lists secrets, without their values.
func (c *Control) ListSecrets(ctx context.Context, who Caller, account string, q ListQuery) (*api.SecretList, error) {
	if err := c.allow(ctx, who, authz.ListSecrets, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	scope := "secrets/" + account
	o, err := q.options(scope, "")
	if err != nil {
		return nil, err
	}
	p, err := c.DB.ListSecrets(ctx, account, o)
	if err != nil {
		return nil, err
	}
	return &api.SecretList{Secrets: items(p.Items, wireSecret), Page: q.page(scope, p.Next, p.Total)}, nil
}

// GetSecret returns a secret without its value.
func (c *Control) GetSecret(ctx context.Context, who Caller, account, id string) (*api.Secret, error) {
	if err := c.allow(ctx, who, authz.GetSecret, account, secretName(account, id)); err != nil {
		return nil, err
	}
	s, err := c.DB.Secret(ctx, account, id)
	if err != nil {
		return nil, err
	}
	w := wireSecret(s)
	return &w, nil
}

// CreateSecret seals a value under the account's key. Nobody can read it back.
func (c *Control) CreateSecret(ctx context.Context, who Caller, account string, r *api.Secret) (*api.Secret, error) {
	if err := c.allow(ctx, who, authz.CreateSecret, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	if r.Name == "" {
		return nil, rft.FieldErrorf("name", "name: is required: accounts/%s/secrets/ and an id", account)
	}
	n, err := rft.ParseName("name", r.Name, account, rft.Secrets)
	if err != nil {
		return nil, err
	}
	if n.Account != account {
		return nil, rft.FieldErrorf("name", "name: names another account than the request's path")
	}
	if err := checkKeyName(r.KeyName); err != nil {
		return nil, err
	}
	if err := checkSecretValue(r.Value); err != nil {
		return nil, err
	}
	row := store.Secret{UID: store.NewUID(), Account: account, ID: n.ID, KeyName: r.KeyName, CreatedBy: who.Name}
	if row.Sealed, err = c.Catalog.SealSecret(row, []byte(r.Value)); err != nil {
		return nil, err
	}
	made, err := c.DB.CreateSecret(ctx, row, who.act("CreateSecret", row.Name()))
	if err != nil {
		return nil, err
	}
	w := wireSecret(made)
	return &w, nil
}

// UpdateSecret changes name or value of a secret.
func (c *Control) UpdateSecret(ctx context.Context, who Caller, account, id string, p api.Patch) (*api.Secret, error) {
	name := secretName(account, id)
	if err := c.allow(ctx, who, authz.UpdateSecret, account, name); err != nil {
		return nil, err
	}
	old, err := c.DB.Secret(ctx, account, id)
	if err != nil {
		return nil, err
	}
	w := wireSecret(old)
	if err := p.Apply(&w); err != nil {
		return nil, badPatch(err)
	}
	if err := checkKeyName(w.KeyName); err != nil {
		return nil, err
	}
	var sealed []byte
	if p.Has("value") {
		if err := checkSecretValue(w.Value); err != nil {
			return nil, err
		}
		if sealed, err = c.Catalog.SealSecret(old, []byte(w.Value)); err != nil {
			return nil, err
		}
	}
	made, err := c.DB.UpdateSecret(ctx, account, id, who.act("UpdateSecret", name), func(row *store.Secret) error {
		if row.UID != old.UID {
			return rft.Errorf(rft.KindAborted, "%s was made anew meanwhile; try again", name)
		}
		row.KeyName = w.KeyName
		if sealed != nil {
			row.Sealed = sealed
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	w = wireSecret(made)
	return &w, nil
}

// DeleteSecret destroys a secret.
func (c *Control) DeleteSecret(ctx context.Context, who Caller, account, id string) error {
	name := secretName(account, id)
	if err := c.allow(ctx, who, authz.DeleteSecret, account, name); err != nil {
		return err
	}
	return c.DB.DeleteSecret(ctx, account, id, who.act("DeleteSecret", name))
}

func checkKeyName(s string) error {
	if s == "" || len(s) > maxKeyName {
		return rft.FieldErrorf("keyName", "keyName: want 1 to %d bytes", maxKeyName)
	}
	return nil
}

func checkSecretValue(v string) error {
	if len(v) > catalog.MaxSecretBytes {
		return rft.FieldErrorf("value", "value: is longer than %d bytes", catalog.MaxSecretBytes)
	}
	return nil
}

func secretName(account, id string) string { return store.Secret{Account: account, ID: id}.Name() }

// wireSecret shows everything but the value: the row has it sealed only.
func wireSecret(s store.Secret) api.Secret {
	return api.Secret{Name: s.Name(), KeyName: s.KeyName}
}
