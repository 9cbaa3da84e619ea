package provenance

import (
	"context"
	"sync"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// Keys are the keys of this installation: the one that signs, and those that
// did and still verify. They are read from the store at first use, the first one
// is made then. It is safe for concurrent use.
type Keys struct {
	db  *store.DB
	kek seal.KEK

	mu      sync.Mutex
	current *seal.SigningKey
	all     []seal.VerifyingKey
}

// NewKeys returns the keys that db holds, sealed under kek.
func NewKeys(db *store.DB, kek seal.KEK) *Keys { return &Keys{db: db, kek: kek} }

// Signer returns the key that signs, and makes it at first use.
func (k *Keys) Signer(ctx context.Context) (*seal.SigningKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.load(ctx, false); err != nil {
		return nil, err
	}
	return k.current, nil
}

// Verifiers returns the keys that models of this installation may be signed with.
func (k *Keys) Verifiers(ctx context.Context) ([]seal.VerifyingKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.load(ctx, false); err != nil {
		return nil, err
	}
	return k.all, nil
}

// Reload reads the keys again: another process may have rotated them.
func (k *Keys) Reload(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.load(ctx, true)
}

// Rotate makes a new key current. Models that were signed before keep verifying.
func (k *Keys) Rotate(ctx context.Context, act store.Act) (seal.VerifyingKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.load(ctx, true); err != nil {
		return seal.VerifyingKey{}, err
	}
	if err := k.add(ctx, k.current.Public().ID(), act); err != nil {
		return seal.VerifyingKey{}, err
	}
	if err := k.load(ctx, true); err != nil {
		return seal.VerifyingKey{}, err
	}
	return k.current.Public(), nil
}

func (k *Keys) load(ctx context.Context, again bool) error {
	if k.current != nil && !again {
		return nil
	}
	if k.kek == nil {
		return rft.Errorf(rft.KindFailedPrecondition, "this process has no key that opens the model signing key")
	}
	rows, err := k.db.SigningKeys(ctx)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		err := k.add(ctx, "", store.Act{Actor: "firekeep", Method: "CreateSigningKey"})
		if err != nil && rft.KindOf(err) != rft.KindAborted { // another process was faster
			return err
		}
		if rows, err = k.db.SigningKeys(ctx); err != nil {
			return err
		}
	}
	var current *seal.SigningKey
	var all []seal.VerifyingKey
	for _, row := range rows {
		key, err := seal.OpenSigningKey(k.kek, row.Sealed)
		if k := rft.KindOf(err); k != "" && k != rft.KindUnknown {
			return err
		}
		if err != nil || key.Public().ID() != row.ID {
			return rft.Wrap(rft.KindDataLoss, err, "the model signing key %s does not open: it or the key-encryption key was changed", short(row.ID))
		}
		if row.Retired.IsZero() {
			current = key
		}
		all = append(all, key.Public())
	}
	if current == nil {
		return rft.Errorf(rft.KindDataLoss, "the database names no current model signing key")
	}
	k.current, k.all = current, all
	return nil
}

// add makes a key and stores it.
func (k *Keys) add(ctx context.Context, replaces string, act store.Act) error {
	key, err := seal.NewSigningKey()
	if err != nil {
		return rft.Wrap(rft.KindInternal, err, "no model signing key can be made")
	}
	sealed, err := key.Seal(k.kek)
	if err != nil {
		return rft.Wrap(rft.KindUnavailable, err, "the model signing key cannot be sealed")
	}
	id := key.Public().ID()
	act.Resource, act.Detail = "signingKeys/"+id[:16], map[string]string{"key": id}
	return k.db.AddSigningKey(ctx, store.SigningKey{ID: id, Sealed: sealed}, replaces, act)
}
