package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

func hexOf(b []byte) string { return hex.EncodeToString(b) }

func testRing(t testing.TB) *Keyring {
	t.Helper()
	k, err := CreateKeyring(filepath.Join(t.TempDir(), "kek"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSealBytes(t *testing.T) {
	k, aad := testRing(t), []byte("account a, connection c")
	for _, n := range []int{0, 1, 100, 1 << 20, 1<<20 + 1} {
		plain := RandomBytes(n)
		sealed, err := SealBytes(k, plain, aad)
		if err != nil {
			t.Fatal(err)
		}
		got, err := OpenBytes(k, sealed, aad)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: %v", n, err)
		}
		if n >= 16 && bytes.Contains(sealed, plain[:16]) {
			t.Error("plaintext shows")
		}
		if again, _ := SealBytes(k, plain, aad); bytes.Equal(again, sealed) {
			t.Error("two sealings are equal")
		}
	}
}

// TestEveryBitCounts flips each bit of a small artefact, cuts it at each
// length, and appends to it.
func TestEveryBitCounts(t *testing.T) {
	k, aad := testRing(t), []byte("purpose")
	sealed, err := SealBytes(k, []byte("a small secret"), aad)
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		for bit := range 8 {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1 << bit
			if got, err := OpenBytes(k, bad, aad); !errors.Is(err, ErrDamaged) || got != nil {
				t.Fatalf("byte %d bit %d: %q, %v", i, bit, got, err)
			}
		}
		if _, err := OpenBytes(k, sealed[:i], aad); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	if _, err := OpenBytes(k, append(bytes.Clone(sealed), 0), aad); !errors.Is(err, ErrDamaged) {
		t.Errorf("appended: %v", err)
	}
	for _, other := range []string{"", "purpos", "purpose2", "Purpose"} {
		if _, err := OpenBytes(k, sealed, []byte(other)); !errors.Is(err, ErrDamaged) {
			t.Errorf("purpose %q: %v", other, err)
		}
	}
	if _, err := OpenBytes(testRing(t), sealed, aad); !errors.Is(err, ErrDamaged) {
		t.Errorf("another ring: %v", err)
	}
}

// TestStreamDamage changes a long stream at places that matter: inside each
// segment, at its borders, by cutting, by swapping segments.
func TestStreamDamage(t *testing.T) {
	const segment = 1 << 20
	k, aad := testRing(t), []byte("artefact")
	plain := RandomBytes(3*segment + 12345)
	sealed := sealStream(t, k, plain, aad)
	if got, err := openStream(k, bytes.NewReader(sealed), aad); err != nil || !bytes.Equal(got, plain) {
		t.Fatal(err)
	}
	if n := len(sealed) - len(plain); n > 1024 {
		t.Errorf("%d bytes of overhead", n)
	}
	for _, at := range []int{300, segment / 2, segment - 1, segment, segment + 1, 2 * segment, 3 * segment, len(sealed) - 17, len(sealed) - 1} {
		bad := bytes.Clone(sealed)
		bad[at] ^= 1
		got, err := openStream(k, bytes.NewReader(bad), aad)
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("change at %d: %v", at, err)
		}
		if !bytes.HasPrefix(plain, got) {
			t.Errorf("change at %d: wrong bytes came out", at)
		}
		if _, err := openStream(k, bytes.NewReader(sealed[:at]), aad); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut at %d: %v", at, err)
		}
	}
	swapped := bytes.Clone(sealed)
	copy(swapped[segment:], sealed[2*segment:3*segment])
	copy(swapped[2*segment:], sealed[segment:2*segment])
	if _, err := openStream(k, bytes.NewReader(swapped), aad); !errors.Is(err, ErrDamaged) {
		t.Errorf("swapped segments: %v", err)
	}
}

// TestUnclosed checks that an artefact whose writer died does not open.
func TestUnclosed(t *testing.T) {
	k := testRing(t)
	var out bytes.Buffer
	w, err := NewWriter(&out, k, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(RandomBytes(2 << 20)); err != nil {
		t.Fatal(err)
	}
	if _, err := openStream(k, bytes.NewReader(out.Bytes()), nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("unclosed: %v", err)
	}
}

// TestSourceErrors checks that trouble of the source is not called damage.
func TestSourceErrors(t *testing.T) {
	k, trouble := testRing(t), errors.New("connection reset")
	sealed := sealStream(t, k, RandomBytes(2<<20), nil)
	for _, n := range []int{0, 5, 100, 1 << 20} {
		r := io.MultiReader(bytes.NewReader(sealed[:n]), iotest.ErrReader(trouble))
		if _, err := openStream(k, r, nil); !errors.Is(err, trouble) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	if got, err := openStream(k, iotest.OneByteReader(bytes.NewReader(sealed)), nil); err != nil || len(got) != 2<<20 {
		t.Errorf("byte by byte: %d, %v", len(got), err)
	}
}

func sealStream(t *testing.T, k KEK, plain, aad []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, k, aad)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, bytes.NewReader(plain)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func openStream(k KEK, r io.Reader, aad []byte) ([]byte, error) {
	plain, err := NewReader(r, k, aad)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(plain)
}

func TestRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek")
	k, err := OpenOrCreateKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	old, err := SealBytes(k, []byte("old"), nil)
	if err != nil {
		t.Fatal(err)
	}
	before, err := OpenKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Rotate(); err != nil {
		t.Fatal(err)
	}
	fresh, err := SealBytes(k, []byte("new"), nil)
	if err != nil {
		t.Fatal(err)
	}
	after, err := OpenOrCreateKeyring(path)
	if err != nil || after.Keys() != 2 {
		t.Fatal(after.Keys(), err)
	}
	for _, ring := range []*Keyring{k, after} {
		for want, sealed := range map[string][]byte{"old": old, "new": fresh} {
			if got, err := OpenBytes(ring, sealed, nil); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", want, got, err)
			}
		}
	}
	if _, err := OpenBytes(before, fresh, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("the old ring opens what the new key sealed: %v", err)
	}
}

func TestKeyringFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kek")
	if _, err := CreateKeyring(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := CreateKeyring(path); !errors.Is(err, os.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".keyring-*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeyring(path); err == nil {
		t.Error("a keyring that the group can read was opened")
	}
	for _, bad := range []string{"", "{}", `{"format":"firekeep-kek/1","keyset":{"primaryKeyId":1,"key":[{"keyData":{"value":"c2VjcmV0"}}]}}`, `{"format":"firekeep-kek/9"}`} {
		p := filepath.Join(dir, "bad")
		if err := os.WriteFile(p, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenKeyring(p); err == nil || strings.Contains(err.Error(), "c2VjcmV0") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestVector opens an artefact that an earlier build sealed.
func TestVector(t *testing.T) {
	b, err := os.ReadFile("testdata/kek.json")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kek")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := OpenKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := os.ReadFile("testdata/sealed.bin")
	if err != nil {
		t.Fatal(err)
	}
	got, err := OpenBytes(k, sealed, []byte("accounts/main/artefacts/1"))
	if err != nil || string(got) != "adapter bytes" {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzParseHeader(f *testing.F) {
	k := testRing(f)
	sealed, err := SealBytes(k, []byte("x"), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add([]byte(magic))
	f.Add([]byte(magic + "\xff\xff"))
	f.Add([]byte(magic + "\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		h, err := parseHeader(r)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("foreign error %v", err)
			}
			return
		}
		if read := len(b) - r.Len(); !bytes.Equal(h.bytes(), b[:read]) {
			t.Error("a header does not write as it was read")
		}
		if got, err := OpenBytes(k, b, nil); err == nil && sha256.Sum256(b) != sha256.Sum256(sealed) {
			t.Errorf("a forged artefact opened: %q", got)
		}
	})
}

func BenchmarkStream(b *testing.B) {
	k, plain := testRing(b), make([]byte, 64<<20)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		w, err := NewWriter(io.Discard, k, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(plain); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
