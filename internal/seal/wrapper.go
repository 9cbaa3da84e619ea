package seal

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"
)

// Wrapper is a key-encryption key that wraps data keys: a Keyring, or a key that
// a key management service holds and never gives away. Every error wraps one of
// ErrRefused, ErrUnreachable and ErrDamaged; callers decide by these alone.
type Wrapper interface {
	// Wrap encrypts a data key of at most MaxDataKeyBytes.
	Wrap(ctx context.Context, key []byte, b Binding) ([]byte, error)
	// Unwrap returns the data key that was wrapped for the same Binding.
	Unwrap(ctx context.Context, wrapped []byte, b Binding) ([]byte, error)
}

// MaxDataKeyBytes is the size that every Wrapper takes.
const MaxDataKeyBytes = 512

var (
	// ErrRefused says that the key's owner does not let it be used: it is
	// disabled or deleted, or our access to it was taken away.
	ErrRefused = errors.New("seal: the key may not be used")
	// ErrUnreachable says that the key's service did not answer; trying again
	// may help.
	ErrUnreachable = errors.New("seal: the key cannot be reached")
)

// Binding is what a wrapped data key is bound to: it opens for this account and
// this artefact only. Key management services that show callers' context in
// their own logs and policies get the two by name.
type Binding struct {
	Account  string // immutable id
	Artefact string // its place in the home bucket, or what else names it once and for all
}

// Bytes is the associated data of the wrapping. Lengths go first, so that no two
// bindings have the same bytes.
func (b Binding) Bytes() []byte {
	out := []byte("firekeep/datakey/1\x00")
	for _, part := range []string{b.Account, b.Artefact} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(part)))
		out = append(out, part...)
	}
	return out
}

// Names of the parts of a Binding where a service takes named values.
const (
	ContextAccount  = "firekeep-account"
	ContextArtefact = "firekeep-artefact"
)

// Context is the binding as named values.
func (b Binding) Context() map[string]string {
	return map[string]string{ContextAccount: b.Account, ContextArtefact: b.Artefact}
}

// Wrap implements Wrapper under the ring's current key.
func (k *Keyring) Wrap(_ context.Context, key []byte, b Binding) ([]byte, error) {
	return k.Encrypt(key, b.Bytes())
}

// Unwrap implements Wrapper under any key of the ring.
func (k *Keyring) Unwrap(_ context.Context, wrapped []byte, b Binding) ([]byte, error) {
	key, err := k.Decrypt(wrapped, b.Bytes())
	if err != nil {
		return nil, ErrDamaged
	}
	return key, nil
}

// InnerKeyBytes is the size of the key of SealInner.
const InnerKeyBytes = 32

// SealInner seals a data key under a key that is used once, for services that
// wrap but know no associated data. Same key, other plaintext: never.
func SealInner(key, plaintext, aad []byte) ([]byte, error) {
	c, err := subtle.NewAESGCM(key)
	if err != nil {
		return nil, err
	}
	return c.Encrypt(plaintext, aad)
}

// OpenInner opens what SealInner sealed. The only error is ErrDamaged.
func OpenInner(key, sealed, aad []byte) ([]byte, error) {
	c, err := subtle.NewAESGCM(key)
	if err != nil {
		return nil, ErrDamaged
	}
	plain, err := c.Decrypt(sealed, aad)
	if err != nil {
		return nil, ErrDamaged
	}
	return plain, nil
}
