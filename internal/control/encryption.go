package control

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

func encryptionKeyName(account string) string { return rft.AccountName(account) + "/encryptionKey" }

// GetEncryptionKey returns an account's key-encryption key, and whether it
// serves at this moment.
func (c *Control) GetEncryptionKey(ctx context.Context, who Caller, account string) (*api.EncryptionKey, error) {
	if err := c.allow(ctx, who, authz.GetEncryptionKey, account, encryptionKeyName(account)); err != nil {
		return nil, err
	}
	return c.encryptionKey(ctx, account, 0)
}

// encryptionKey is the answer of every operation here.
func (c *Control) encryptionKey(ctx context.Context, account string, rewrapped int) (*api.EncryptionKey, error) {
	keys := c.Catalog.Keys()
	rows, err := keys.List(ctx, account)
	if err != nil {
		return nil, err
	}
	var out *api.EncryptionKey
	var before []api.EncryptionKey
	for _, row := range rows {
		w := api.EncryptionKey{KeyID: row.UID, Kind: row.Kind, State: row.State, CreateTime: api.At(row.Created), CreatedBy: row.CreatedBy}
		_ = json.Unmarshal(row.Settings, &w.Settings) // written by SetEncryptionKey
		if !row.Current {
			before = append(before, w)
			continue
		}
		w.Name, w.Versions, w.Rewrapped = encryptionKeyName(account), keys.Versions(row), rewrapped
		status := wireStatus(store.StatusOf(keys.Check(ctx, row.AccountUID)))
		w.Status = &status
		out = &w
	}
	if out == nil {
		return nil, authz.NotFound(encryptionKeyName(account))
	}
	out.Before = before
	return out, nil
}

// SetEncryptionKey gives an account another key, after having tried it, and
// wraps every data key of the account anew. Should that break off, the key
// before still opens the rest, and RotateEncryptionKey goes on with it.
func (c *Control) SetEncryptionKey(ctx context.Context, who Caller, account string, k *api.EncryptionKey) (*api.EncryptionKey, error) {
	name := encryptionKeyName(account)
	if err := c.allow(ctx, who, authz.SetEncryptionKey, account, name); err != nil {
		return nil, err
	}
	n := custody.NewKey{Kind: k.Kind, By: who.Name, Settings: json.RawMessage("{}")}
	var err error
	if k.Settings != nil {
		if n.Settings, err = json.Marshal(k.Settings); err != nil {
			return nil, rft.FieldErrorf("settings", "settings: must be a JSON object")
		}
	}
	if k.Credential != nil {
		raw, err := json.Marshal(k.Credential)
		if err != nil || len(raw) > maxSecretBytes {
			return nil, rft.FieldErrorf("credential", "credential: must be a JSON object of at most %d bytes", maxSecretBytes)
		}
		n.Credential = seal.NewSecret(string(raw))
	}
	if _, err := c.Catalog.Keys().Set(ctx, account, n, who.act("SetEncryptionKey", name)); err != nil {
		return nil, err
	}
	return c.rewrap(ctx, who, account)
}

// RotateEncryptionKey gives a local key a new version; a service has its own.
// Either way every data key of the account is wrapped anew, under the newest
// version. Content is not touched.
func (c *Control) RotateEncryptionKey(ctx context.Context, who Caller, account string) (*api.EncryptionKey, error) {
	name := encryptionKeyName(account)
	if err := c.allow(ctx, who, authz.RotateEncryptionKey, account, name); err != nil {
		return nil, err
	}
	row, err := c.Catalog.Keys().NewVersion(ctx, account)
	if err != nil {
		return nil, err
	}
	if err := c.DB.Record(ctx, who.act("RotateEncryptionKey", name, "key", row.UID, "kind", row.Kind), nil); err != nil {
		return nil, err
	}
	return c.rewrap(ctx, who, account)
}

// rewrap wraps every data key of an account anew, under its current key.
func (c *Control) rewrap(ctx context.Context, who Caller, account string) (*api.EncryptionKey, error) {
	a, err := c.DB.Account(ctx, account)
	if err != nil {
		return nil, err
	}
	n, err := c.Catalog.Rewrap(context.WithoutCancel(ctx), a, who.act("", "")) // half of it is no use to anybody
	act := who.act("RewrapDataKeys", encryptionKeyName(account), "envelopes", strconv.Itoa(n))
	if e := c.DB.Record(context.WithoutCancel(ctx), act, err); e != nil && err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	return c.encryptionKey(ctx, account, n)
}

// DisableEncryptionKey makes everything that is sealed under an account's key
// useless until it is enabled. When it answers, nothing of it is left in memory:
// the account's children are gone.
func (c *Control) DisableEncryptionKey(ctx context.Context, who Caller, account string) (*api.EncryptionKey, error) {
	return c.setKeyState(ctx, who, account, store.KeyDisabled, "DisableEncryptionKey")
}

// EnableEncryptionKey ends a DisableEncryptionKey.
func (c *Control) EnableEncryptionKey(ctx context.Context, who Caller, account string) (*api.EncryptionKey, error) {
	return c.setKeyState(ctx, who, account, store.KeyEnabled, "EnableEncryptionKey")
}

func (c *Control) setKeyState(ctx context.Context, who Caller, account, state, method string) (*api.EncryptionKey, error) {
	name := encryptionKeyName(account)
	if err := c.allow(ctx, who, authz.DisableEncryptionKey, account, name); err != nil {
		return nil, err
	}
	if err := c.Catalog.Keys().SetState(context.WithoutCancel(ctx), account, state, who.act(method, name)); err != nil {
		return nil, err
	}
	return c.encryptionKey(ctx, account, 0)
}

// ShredEncryptionKey destroys an account's key, and with it everything that was
// ever sealed under it, in backups too.
func (c *Control) ShredEncryptionKey(ctx context.Context, who Caller, account string, r *api.ShredRequest) (*api.EncryptionKey, error) {
	name := encryptionKeyName(account)
	if err := c.allow(ctx, who, authz.ShredEncryptionKey, account, name); err != nil {
		return nil, err
	}
	if r.Confirm != rft.AccountName(account) {
		return nil, rft.FieldErrorf("confirm", "confirm: must be %s: models, uploads and checkpoints of this account are lost for good", rft.AccountName(account))
	}
	if err := c.Catalog.Shred(context.WithoutCancel(ctx), account, who.act("ShredEncryptionKey", name)); err != nil {
		return nil, err
	}
	return c.encryptionKey(ctx, account, 0)
}

// keyed gives the reason of an account's key to a failure that it caused: a
// child that was stopped because of the key only knows that it was stopped.
func (c *Control) keyed(ctx context.Context, account string, err error) error {
	if err == nil {
		return nil
	}
	if k := c.Catalog.Keys().CheckAccount(context.WithoutCancel(ctx), account); custody.IsRefusal(k) || custody.IsOutage(k) {
		return k
	}
	return err
}
