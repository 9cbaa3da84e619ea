package provenance

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// Attestation is the three files that stand beside a model.
type Attestation struct {
	Bundle, Provenance, BOM []byte
}

// Attest signs a model: the record of how it came to be, the bill of materials
// over the same facts, and the bundle over both and the files that leave with
// the model. What never leaves (an optimiser's state) is among r's subjects only.
func Attest(k *seal.SigningKey, name string, leaves []Resource, r Record, b BOM) (Attestation, error) {
	var a Attestation
	var err error
	if a.Provenance, err = SignRecord(k, r); err != nil {
		return a, err
	}
	if a.BOM, err = b.JSON(r); err != nil {
		return a, err
	}
	files := append([]Resource{{Name: FileProvenance, SHA256: Sum(a.Provenance)}, {Name: FileBOM, SHA256: Sum(a.BOM)}}, leaves...)
	a.Bundle, err = SignModel(k, name, files)
	return a, err
}

// Sum is the SHA-256 of b in hex.
func Sum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Checked is an attestation whose signatures hold.
type Checked struct {
	Key    seal.VerifyingKey
	Bundle *Bundle
	Record *Statement
}

// Check verifies bundle and provenance with one of the keys. The files that they
// speak of are the caller's to compare, see Digest.
func Check(bundle, provenance []byte, keys []seal.VerifyingKey) (*Checked, error) {
	b, err := ParseBundle(bundle)
	if err != nil {
		return nil, err
	}
	k, err := b.Verify(keys)
	if err != nil {
		return nil, err
	}
	if b.Digest(FileProvenance) != Sum(provenance) {
		return nil, rft.Errorf(rft.KindDataLoss, "the provenance is not the one that was signed with the model")
	}
	r, err := ParseRecord(provenance)
	if err != nil {
		return nil, err
	}
	if err := r.Verify(k); err != nil {
		return nil, err
	}
	for _, s := range r.Subjects {
		if signed := b.Digest(s.Name); signed != "" && signed != s.SHA256 {
			return nil, rft.Errorf(rft.KindDataLoss, "signature and provenance disagree about %q", clip(s.Name))
		}
	}
	return &Checked{Key: k, Bundle: b, Record: r}, nil
}

// Digest returns the signed digest of a file of the model in hex, "" when
// nothing signed speaks of it.
func (c *Checked) Digest(name string) string {
	if d := c.Bundle.Digest(name); d != "" {
		return d
	}
	return c.Record.Digest(name)
}
