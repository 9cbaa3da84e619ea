package custody

import (
	"context"
	"encoding/json"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// NewKey is what an account wants its key to be.
type NewKey struct {
	Kind       string
	Settings   json.RawMessage
	Credential seal.Secret
	By         string
}

// List returns the keys of an account, the current one last made first.
func (k *Keys) List(ctx context.Context, id string) ([]store.AccountKey, error) {
	a, err := k.DB.Account(ctx, id)
	if err != nil {
		return nil, err
	}
	if _, err := k.current(ctx, a.UID); err != nil {
		return nil, err
	}
	return k.DB.EncryptionKeys(ctx, a.UID)
}

// Describe names a key for people, without the account.
func (k *Keys) Describe(row store.AccountKey) string {
	if row.Kind == KindLocal || k.Services == nil {
		return row.Kind
	}
	return k.Services.Describe(row.Kind, row.Settings)
}

// Set gives an account another key. It is tried before it is taken; the one
// before it still opens what it wrapped, until Rewrap has been over all of it.
func (k *Keys) Set(ctx context.Context, id string, n NewKey, act store.Act) (store.AccountKey, error) {
	a, err := k.DB.Account(ctx, id)
	if err != nil {
		return store.AccountKey{}, err
	}
	was, err := k.current(ctx, a.UID)
	if err != nil {
		return was, err
	}
	if err := k.usable(was); err != nil {
		return was, err
	}
	row := store.AccountKey{UID: store.NewUID(), Account: a.ID, AccountUID: a.UID, Kind: n.Kind, Settings: n.Settings, CreatedBy: n.By}
	switch {
	case n.Kind == KindLocal && was.Kind == KindLocal:
		return was, rft.Errorf(rft.KindFailedPrecondition, "the key of %s is a local one already; `firekeep kek rotate` gives it a new version", rft.AccountName(id))
	case n.Kind == KindLocal:
		row.Settings = json.RawMessage("{}")
	case k.Services == nil:
		return was, rft.FieldErrorf("kind", "kind: %q is not known here", n.Kind)
	default:
		if err := k.Services.Check(n.Kind, n.Settings, n.Credential); err != nil {
			return was, err
		}
	}
	if !n.Credential.Empty() {
		if row.Credential, err = seal.SealBytes(k.Host, []byte(n.Credential.Reveal()), credentialAAD(row)); err != nil {
			return was, rft.Wrap(rft.KindInternal, err, "the credential cannot be sealed")
		}
	}
	act.Detail = map[string]string{"key": row.UID, "kind": row.Kind, "name": k.Describe(row), "before": was.UID}
	return k.adopt(ctx, row, was.UID, act)
}

// NewVersion gives a local key a new version, which wraps from now on; the old
// ones still open what they wrapped. Keys of services have their own versions.
func (k *Keys) NewVersion(ctx context.Context, id string) (store.AccountKey, error) {
	a, err := k.DB.Account(ctx, id)
	if err != nil {
		return store.AccountKey{}, err
	}
	row, err := k.current(ctx, a.UID)
	if err != nil {
		return row, err
	}
	if err := k.usable(row); err != nil || row.Kind != KindLocal {
		return row, err
	}
	ring, err := localKey{k.localPath(a.UID)}.open()
	if err == nil {
		err = ring.Rotate()
	}
	if err != nil {
		return row, k.failure(row, err)
	}
	return row, nil
}

// Versions is how many versions a local key has; 0 for others.
func (k *Keys) Versions(row store.AccountKey) int {
	if row.Kind != KindLocal {
		return 0
	}
	ring, err := localKey{k.localPath(row.AccountUID)}.open()
	if err != nil {
		return 0
	}
	return ring.Keys()
}

// SetState disables or enables the keys of an account. When it returns, nothing
// of a disabled account is in memory any more.
func (k *Keys) SetState(ctx context.Context, id, state string, act store.Act) error {
	a, err := k.DB.Account(ctx, id)
	if err != nil {
		return err
	}
	row, err := k.current(ctx, a.UID)
	if err != nil {
		return err
	}
	if err := k.DB.SetKeyState(ctx, a.UID, state, act); err != nil {
		return err
	}
	if row.State = state; state != store.KeyEnabled {
		k.lose(a.UID, k.usable(row))
	}
	return nil
}

// Shred destroys the keys of an account for good: local ones with their file,
// those of services by forgetting how to reach them. The caller removes the
// envelopes, without which a service's key opens nothing either.
func (k *Keys) Shred(ctx context.Context, id string, act store.Act) error {
	a, err := k.DB.Account(ctx, id)
	if err != nil {
		return err
	}
	if _, err := k.current(ctx, a.UID); err != nil { // so that there is a row that says so
		return err
	}
	if err := k.SetState(ctx, id, store.KeyShredded, act); err != nil {
		return err
	}
	return k.destroyLocal(a.UID)
}
