package seal

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"testing"
)

func TestSigningKey(t *testing.T) {
	kek := testRing(t)
	k, err := NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal(kek)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenSigningKey(kek, sealed)
	if err != nil || again.Public().ID() != k.Public().ID() {
		t.Fatalf("%v", err)
	}
	sig, err := again.Sign([]byte("message"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := ParseVerifyingKey([]byte(k.Public().PEM()))
	if err != nil || v.ID() != k.Public().ID() || !v.Verify([]byte("message"), sig) {
		t.Errorf("%v", err)
	}
	if v.Verify([]byte("messagf"), sig) || v.Verify([]byte("message"), sig[:len(sig)-1]) || v.Verify([]byte("message"), append(bytes.Clone(sig), 0)) || (VerifyingKey{}).Verify([]byte("message"), sig) {
		t.Error("a wrong signature verifies")
	}
	if _, err := OpenSigningKey(testRing(t), sealed); !errors.Is(err, ErrDamaged) {
		t.Errorf("another ring: %v", err)
	}
	// What is sealed for another purpose is no signing key.
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := SealBytes(kek, der, []byte("something else"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenSigningKey(kek, foreign); !errors.Is(err, ErrDamaged) {
		t.Errorf("another purpose: %v", err)
	}
}

func TestVerifyingKeyForm(t *testing.T) {
	k, err := NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	good := k.Public().PEM()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, key any) string {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	for name, bad := range map[string]string{"empty": "", "text": "x", "two": good + good, "tail": good + "x", "P-384": encode("PUBLIC KEY", &p384.PublicKey), "Ed25519": encode("PUBLIC KEY", ed),
		"another type": encode("EC PUBLIC KEY", k.key.Public()), "long": good + string(bytes.Repeat([]byte("\n"), maxKeyPEMBytes))} {
		if _, err := ParseVerifyingKey([]byte(bad)); err == nil {
			t.Errorf("%s is a key", name)
		}
	}
	if _, err := ParseVerifyingKey([]byte(good + "\n ")); err != nil {
		t.Error(err)
	}
}
