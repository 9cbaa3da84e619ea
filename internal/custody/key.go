package custody

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// KindLocal is a key in a keyring file of this host.
const KindLocal = "local"

// current is the account's key for new things. An account that has none gets a
// local one: nobody has to configure anything to be safe.
func (k *Keys) current(ctx context.Context, account string) (store.AccountKey, error) {
	row, err := k.DB.CurrentKey(ctx, account)
	if rft.KindOf(err) != rft.KindNotFound {
		return row, err
	}
	a, err := k.DB.AccountOfUID(ctx, account)
	if err != nil {
		return row, err
	}
	row = store.AccountKey{UID: store.NewUID(), Account: a.ID, AccountUID: a.UID, Kind: KindLocal, Settings: json.RawMessage("{}"), CreatedBy: "firekeep"}
	row, err = k.adopt(ctx, row, "", store.Act{Account: a.ID, Actor: "firekeep", Method: "CreateAccountKey", Resource: keyName(a.ID),
		Detail: map[string]string{"key": row.UID, "kind": KindLocal}})
	if rft.KindOf(err) == rft.KindAborted { // another was faster
		return k.DB.CurrentKey(ctx, account)
	}
	return row, err
}

// keyName is the resource name of an account's key.
func keyName(account string) string { return rft.AccountName(account) + "/encryptionKey" }

// adopt makes row the current key after it has wrapped and unwrapped its proof:
// a key that cannot do both would lose data.
func (k *Keys) adopt(ctx context.Context, row store.AccountKey, was string, act store.Act) (store.AccountKey, error) {
	if row.Kind == KindLocal {
		if err := k.makeLocal(row.AccountUID); err != nil {
			return row, err
		}
	}
	proof, err := seal.NewDataKey()
	if err != nil {
		return row, rft.Wrap(rft.KindInternal, err, "no data key can be made")
	}
	row.State = store.KeyEnabled
	if row.Proof, err = k.wrap(ctx, row, proof, proofOf(row)); err != nil {
		return row, err
	}
	e, _, err := seal.ParseEnvelope(row.Proof)
	if err == nil {
		_, err = k.unwrapWith(ctx, row, proofOf(row), e)
	}
	if err != nil {
		return row, err
	}
	return k.DB.AddAccountKey(ctx, row, was, act)
}

// wrapper is the key of a row.
func (k *Keys) wrapper(row store.AccountKey) (seal.Wrapper, error) {
	if row.Kind == KindLocal {
		return localKey{k.localPath(row.AccountUID)}, nil
	}
	if k.Services == nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, &Refusal{}, "%s needs a key management service, which this server does not know", k.name(row))
	}
	c := k.of(row.AccountUID)
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.wrappers[row.UID]; w != nil {
		return w, nil
	}
	secret, err := k.credential(row)
	if err != nil {
		return nil, err
	}
	w, err := k.Services.Open(row.Kind, row.Settings, secret)
	if err == nil {
		c.wrappers[row.UID] = w
	}
	return w, err
}

// credentialAAD binds a service's credential to its key.
func credentialAAD(row store.AccountKey) []byte {
	return []byte("firekeep/account-key/1\x00" + row.AccountUID + "\x00" + row.UID)
}

func (k *Keys) credential(row store.AccountKey) (seal.Secret, error) {
	if len(row.Credential) == 0 {
		return seal.Secret{}, nil
	}
	b, err := seal.OpenBytes(k.Host, row.Credential, credentialAAD(row))
	if err != nil {
		return seal.Secret{}, rft.Wrap(rft.KindDataLoss, err, "the credential of %s does not open with this host's key", k.name(row))
	}
	return seal.NewSecret(string(b)), nil
}

// localKey is a keyring file. It is read anew for every use: an operator who
// takes the file away has taken the key away.
type localKey struct{ path string }

func (l localKey) open() (*seal.Keyring, error) {
	ring, err := seal.OpenKeyring(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: its file is gone: %w", seal.ErrRefused, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", seal.ErrRefused, err)
	}
	return ring, nil
}

// Wrap implements seal.Wrapper.
func (l localKey) Wrap(ctx context.Context, key []byte, b seal.Binding) ([]byte, error) {
	ring, err := l.open()
	if err != nil {
		return nil, err
	}
	return ring.Wrap(ctx, key, b)
}

// Unwrap implements seal.Wrapper.
func (l localKey) Unwrap(ctx context.Context, wrapped []byte, b seal.Binding) ([]byte, error) {
	ring, err := l.open()
	if err != nil {
		return nil, err
	}
	return ring.Unwrap(ctx, wrapped, b)
}

func (k *Keys) localPath(account string) string { return filepath.Join(k.Dir, account+".json") }

// makeLocal makes the keyring of an account unless it is there.
func (k *Keys) makeLocal(account string) error {
	if err := os.MkdirAll(k.Dir, 0o700); err != nil {
		return rft.Wrap(rft.KindUnavailable, err, "the directory of keys cannot be created")
	}
	if _, err := seal.OpenOrCreateKeyring(k.localPath(account)); err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "the keyring %s cannot be opened", k.localPath(account))
	}
	return nil
}

// destroyLocal overwrites and removes the keyring of an account. On storage that
// moves blocks about, only an encrypted disk makes sure that nothing is left.
func (k *Keys) destroyLocal(account string) error {
	path := k.localPath(account)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		var info fs.FileInfo
		if info, err = f.Stat(); err == nil {
			_, err = f.WriteAt(make([]byte, info.Size()), 0)
		}
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err = errors.Join(err, os.Remove(path)); err != nil {
		return rft.Wrap(rft.KindUnavailable, err, "the keyring of the account cannot be destroyed; try again")
	}
	return nil
}
