package custody

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/firekeep/firekeep/internal/seal"
)

// Sealer is the account's key as what seals small secrets in rows of the
// database, such as those of connections: seal.SealBytes takes it. What the
// host's own key sealed, in homes of the first format, still opens.
func (k *Keys) Sealer(account string) seal.KEK { return &sealer{k, account} }

type sealer struct {
	keys    *Keys
	account string // id
}

// secretOf names a secret in bindings by its associated data.
func secretOf(aad []byte) string {
	sum := sha256.Sum256(aad)
	return "secret " + hex.EncodeToString(sum[:])
}

// Encrypt implements seal.KEK.
func (s *sealer) Encrypt(key, aad []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.keys.Patience)
	defer cancel()
	a, err := s.keys.DB.Account(ctx, s.account)
	if err != nil {
		return nil, err
	}
	row, err := s.keys.current(ctx, a.UID)
	if err != nil {
		return nil, err
	}
	if err := s.keys.usable(row); err != nil {
		return nil, err
	}
	w, err := s.keys.wrapper(row)
	if err != nil {
		return nil, err
	}
	wrapped, err := w.Wrap(ctx, key, seal.Binding{Account: a.UID, Artefact: secretOf(aad)})
	if err != nil {
		return nil, s.keys.failure(row, err)
	}
	return seal.Envelope{KeyID: row.UID, Wrapped: wrapped}.Bytes(), nil
}

// Decrypt implements seal.KEK. Whoever opens a secret records what for, so it is
// not recorded here.
func (s *sealer) Decrypt(envelope, aad []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.keys.Patience)
	defer cancel()
	a, err := s.keys.DB.Account(ctx, s.account)
	if err != nil {
		return nil, err
	}
	if err := s.keys.Check(ctx, a.UID); err != nil {
		return nil, err
	}
	e, rest, err := seal.ParseEnvelope(envelope)
	if err != nil {
		return s.keys.Host.Decrypt(envelope, aad)
	}
	if len(rest) > 0 {
		return nil, seal.ErrDamaged
	}
	row, err := s.keys.DB.AccountKey(ctx, a.UID, e.KeyID)
	if err != nil {
		return nil, err
	}
	if err := s.keys.usable(row); err != nil {
		return nil, err
	}
	w, err := s.keys.wrapper(row)
	if err != nil {
		return nil, err
	}
	key, err := w.Unwrap(ctx, e.Wrapped, seal.Binding{Account: a.UID, Artefact: secretOf(aad)})
	if err != nil {
		return nil, s.keys.failure(row, err)
	}
	return key, nil
}
