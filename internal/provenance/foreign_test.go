package provenance_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"

	"github.com/firekeep/firekeep/internal/seal"
)

// foreign gives our key to an implementation of DSSE that is not ours.
type foreign struct{ key seal.VerifyingKey }

func (f foreign) Verify(_ context.Context, data, sig []byte) error {
	if !f.key.Verify(data, sig) {
		return errors.New("no")
	}
	return nil
}

func (f foreign) KeyID() (string, error) { return f.key.ID(), nil }

func (f foreign) Public() crypto.PublicKey {
	block, _ := pem.Decode([]byte(f.key.PEM()))
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		panic(err)
	}
	return k
}
