package seal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
)

func sealed(t testing.TB, k *Keyring, b Binding, plain, aad []byte) (Envelope, []byte) {
	t.Helper()
	key, err := NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	e, err := key.Wrap(context.Background(), k, "key1", b)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := key.NewWriter(&out, aad)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return e, out.Bytes()
}

func unseal(k Wrapper, e Envelope, b Binding, file, aad []byte) ([]byte, error) {
	key, err := e.Unwrap(context.Background(), k, b)
	if err != nil {
		return nil, err
	}
	r, err := key.NewReader(bytes.NewReader(file), aad)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// TestDataKey rewraps an envelope and opens an untouched file with it; changes
// each bit of a small file, and cuts it at each length.
func TestDataKey(t *testing.T) {
	k, b, aad := testRing(t), Binding{"account", "artefact/"}, []byte("artefact/file")
	plain := []byte("a small secret")
	e, file := sealed(t, k, b, plain, aad)
	if got, err := unseal(k, e, b, file, aad); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("%q, %v", got, err)
	}
	key, err := e.Unwrap(t.Context(), k, b)
	if err != nil {
		t.Fatal(err)
	}
	other := testRing(t)
	again, err := key.Wrap(t.Context(), other, "key2", b)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := unseal(other, again, b, file, aad); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("rewrapped: %q, %v", got, err)
	}
	if _, err := unseal(k, again, b, file, aad); !errors.Is(err, ErrDamaged) {
		t.Errorf("the old key opens what the new one wrapped: %v", err)
	}
	for _, wrong := range []Binding{{"account2", "artefact/"}, {"account", "artefact"}, {"accountartefact/", ""}, {"", "accountartefact/"}} {
		if _, err := unseal(k, e, wrong, file, aad); !errors.Is(err, ErrDamaged) {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	if _, err := unseal(k, e, b, file, []byte("artefact/other")); !errors.Is(err, ErrDamaged) {
		t.Errorf("another file: %v", err)
	}
	for i := range file {
		for bit := range 8 {
			bad := bytes.Clone(file)
			bad[i] ^= 1 << bit
			if got, err := unseal(k, e, b, bad, aad); !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d bit %d: %q, %v", i, bit, got, err)
			}
		}
		if _, err := unseal(k, e, b, file[:i], aad); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	_, foreign := sealed(t, k, b, plain, aad)
	if _, err := unseal(k, e, b, foreign, aad); !errors.Is(err, ErrDamaged) {
		t.Errorf("a file of another data key: %v", err)
	}
}

// TestEnvelopeBits changes each bit of an envelope and cuts it at each length.
func TestEnvelopeBits(t *testing.T) {
	k, b := testRing(t), Binding{"account", "artefact/"}
	e, file := sealed(t, k, b, []byte("x"), nil)
	raw := e.Bytes()
	open := func(raw []byte) error {
		e, rest, err := ParseEnvelope(raw)
		if err != nil {
			return err
		}
		if len(rest) > 0 {
			return ErrDamaged
		}
		if e.KeyID != "key1" { // no key has this name
			return ErrDamaged
		}
		_, err = unseal(k, e, b, file, nil)
		return err
	}
	if err := open(raw); err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			bad := bytes.Clone(raw)
			bad[i] ^= 1 << bit
			if err := open(bad); !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d bit %d: %v", i, bit, err)
			}
		}
		if err := open(raw[:i]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

// refusing is a key that does not serve.
type refusing struct{ err error }

func (r refusing) Encrypt(_, _ []byte) ([]byte, error) { return nil, r.err }
func (r refusing) Decrypt(_, _ []byte) ([]byte, error) { return nil, r.err }

// TestKeyThatRefuses checks that a key which does not serve is not called damage.
func TestKeyThatRefuses(t *testing.T) {
	sealed, err := SealBytes(testRing(t), []byte("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, why := range []error{ErrRefused, ErrUnreachable} {
		if _, err := OpenBytes(refusing{why}, sealed, nil); !errors.Is(err, why) {
			t.Errorf("opens: %v", err)
		}
		if _, err := SealBytes(refusing{why}, []byte("x"), nil); !errors.Is(err, why) {
			t.Errorf("seals: %v", err)
		}
	}
	if _, err := OpenBytes(refusing{errors.New("else")}, sealed, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("opens: %v", err)
	}
}

func FuzzParseEnvelope(f *testing.F) {
	e, _ := sealed(f, testRing(f), Binding{"a", "b"}, []byte("x"), nil)
	f.Add(e.Bytes())
	f.Add([]byte(envelopeMagic))
	f.Add([]byte(envelopeMagic + "\x01a\xff\xff"))
	f.Add([]byte(envelopeMagic + "\x40"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, rest, err := ParseEnvelope(b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("foreign error %v", err)
			}
			return
		}
		if got := append(e.Bytes(), rest...); !bytes.Equal(got, b) {
			t.Error("an envelope does not write as it was read")
		}
		if len(e.Bytes()) > MaxEnvelopeBytes {
			t.Error("an envelope is larger than its bound")
		}
	})
}
