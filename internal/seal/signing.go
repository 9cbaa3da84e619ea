package seal

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
)

// SigningKey signs statements about models: ECDSA on P-256 with SHA-256, the
// one algorithm that every verifier of model signatures must know.
type SigningKey struct {
	key    *ecdsa.PrivateKey
	public VerifyingKey
}

// signingAAD keeps a sealed signing key from being taken for anything else.
var signingAAD = []byte("firekeep/model-signing-key/1")

// NewSigningKey makes a key.
func NewSigningKey() (*SigningKey, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, errors.New("seal: no signing key can be made")
	}
	return signingKey(k)
}

func signingKey(k *ecdsa.PrivateKey) (*SigningKey, error) {
	v, err := verifyingKey(&k.PublicKey)
	if err != nil {
		return nil, err
	}
	return &SigningKey{key: k, public: v}, nil
}

// Seal wraps the private part under kek.
func (k *SigningKey) Seal(kek KEK) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, errors.New("seal: a signing key cannot be written")
	}
	return SealBytes(kek, der, signingAAD)
}

// OpenSigningKey opens what Seal wrote.
func OpenSigningKey(kek KEK, sealed []byte) (*SigningKey, error) {
	der, err := OpenBytes(kek, sealed, signingAAD)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	k, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || k.Curve != elliptic.P256() {
		return nil, ErrDamaged // the cause could quote key material
	}
	return signingKey(k)
}

// Sign returns the ASN.1 form of a signature over message.
func (k *SigningKey) Sign(message []byte) ([]byte, error) {
	sum := sha256.Sum256(message)
	sig, err := ecdsa.SignASN1(rand.Reader, k.key, sum[:])
	if err != nil {
		return nil, errors.New("seal: the message cannot be signed")
	}
	return sig, nil
}

// Public is the half that verifies.
func (k *SigningKey) Public() VerifyingKey { return k.public }

// VerifyingKey is the public half of a SigningKey.
type VerifyingKey struct {
	key *ecdsa.PublicKey
	pem string
	id  string
}

func verifyingKey(k *ecdsa.PublicKey) (VerifyingKey, error) {
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return VerifyingKey{}, errors.New("seal: a public key cannot be written")
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	sum := sha256.Sum256(text)
	return VerifyingKey{key: k, pem: string(text), id: hex.EncodeToString(sum[:])}, nil
}

// maxKeyPEMBytes bounds a public key file.
const maxKeyPEMBytes = 4096

// ParseVerifyingKey reads a public key in PEM (SubjectPublicKeyInfo, P-256) and
// refuses anything beside it.
func ParseVerifyingKey(text []byte) (VerifyingKey, error) {
	if len(text) > maxKeyPEMBytes {
		return VerifyingKey{}, errors.New("seal: the public key is too long")
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" || len(trimSpace(rest)) > 0 {
		return VerifyingKey{}, errors.New("seal: not one PEM block of type PUBLIC KEY")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	k, ok := parsed.(*ecdsa.PublicKey)
	if err != nil || !ok || k.Curve != elliptic.P256() {
		return VerifyingKey{}, errors.New("seal: not an ECDSA key on P-256")
	}
	return verifyingKey(k)
}

func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\r' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

// PEM is the key as verifiers read it.
func (v VerifyingKey) PEM() string { return v.pem }

// ID names the key: hex SHA-256 of its PEM form, the hint of model signatures.
func (v VerifyingKey) ID() string { return v.id }

// Verify reports whether sig is a signature over message.
func (v VerifyingKey) Verify(message, sig []byte) bool {
	if v.key == nil {
		return false
	}
	sum := sha256.Sum256(message)
	return ecdsa.VerifyASN1(v.key, sum[:], sig)
}
