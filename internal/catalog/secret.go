package catalog

import (
	"context"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// MaxSecretBytes bounds the value of a secret.
const MaxSecretBytes = 64 << 10

// secretAAD binds a sealed value to its secret: in another row it does not open.
func secretAAD(s store.Secret) []byte { return []byte("firekeep/secret\x00" + s.UID) }

// SealSecret seals the value of a secret under its account's key.
func (c *Catalog) SealSecret(s store.Secret, value []byte) ([]byte, error) {
	b, err := seal.SealBytes(c.Keys().Sealer(s.Account), value, secretAAD(s))
	if err != nil && rft.KindOf(err) == rft.KindUnknown {
		err = rft.Wrap(rft.KindInternal, err, "the secret cannot be sealed")
	}
	return b, err
}

// OpenSecret opens the value of a secret of account, for what runs in its name.
// No operation of the API returns it.
func (c *Catalog) OpenSecret(ctx context.Context, account, field, ref string) (seal.Secret, error) {
	n, err := rft.ParseName(field, ref, account, rft.Secrets)
	if err != nil {
		return seal.Secret{}, err
	}
	if n.Account != account {
		return seal.Secret{}, rft.Errorf(rft.KindNotFound, "%s not found", n)
	}
	s, err := c.db.Secret(ctx, n.Account, n.ID)
	if err != nil {
		return seal.Secret{}, err
	}
	plain, err := seal.OpenBytes(c.Keys().Sealer(account), s.Sealed, secretAAD(s))
	if err != nil {
		return seal.Secret{}, broken(err, n.String())
	}
	defer clear(plain)
	return seal.NewSecret(string(plain)), nil
}

// resealSecrets seals the values of an account's secrets anew, under the newest
// version of its key. A value that is set meanwhile is not undone.
func (c *Catalog) resealSecrets(ctx context.Context, account string, act store.Act) (n int, err error) {
	all, err := c.db.AllSecrets(ctx, account)
	for _, s := range all {
		plain, err := seal.OpenBytes(c.Keys().Sealer(account), s.Sealed, secretAAD(s))
		if err != nil {
			return n, err
		}
		fresh, err := c.SealSecret(s, plain)
		clear(plain)
		if err != nil {
			return n, err
		}
		act.Method, act.Resource = "RewrapDataKeys", s.Name()
		_, err = c.db.UpdateSecret(ctx, account, s.ID, act, func(now *store.Secret) error {
			if string(now.Sealed) == string(s.Sealed) {
				now.Sealed = fresh
			}
			return nil
		})
		if err != nil && rft.KindOf(err) != rft.KindNotFound {
			return n, err
		}
		n++
	}
	return n, err
}
