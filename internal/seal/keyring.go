package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// KEK is a key-encryption key: it wraps the keysets of artefacts. Keyring is
// the local one; key management services have adapters of the same shape.
type KEK = tink.AEAD

// Keyring is a KEK in a local file, mode 0600. It holds the current key and
// those before it: new things are sealed under the current one, old ones still
// open. It is safe for concurrent use.
type Keyring struct {
	path string

	mu     sync.RWMutex
	handle *keyset.Handle
	aead   tink.AEAD
}

// keyringFile is the file's content. Keyset is Tink's JSON form.
type keyringFile struct {
	Format string          `json:"format"`
	Keyset json.RawMessage `json:"keyset"`
}

const keyringFormat = "firekeep-kek/1"

// maxKeyringBytes bounds the file; a key takes about 200 bytes of it.
const maxKeyringBytes = 1 << 20

// OpenKeyring reads the keyring at path. It refuses a file that others of the
// host can read.
func OpenKeyring(path string) (*Keyring, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 || !info.Mode().IsRegular() || info.Size() > maxKeyringBytes {
		return nil, fmt.Errorf("seal: %s must be a file that only its owner can read (chmod 600)", path)
	}
	var content keyringFile
	if err := json.NewDecoder(f).Decode(&content); err != nil || content.Format != keyringFormat {
		return nil, fmt.Errorf("seal: %s is not a keyring of the format %s", path, keyringFormat)
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(content.Keyset)))
	if err != nil {
		return nil, fmt.Errorf("seal: %s holds no usable keyset", path) // the cause could quote key material
	}
	return newKeyring(path, handle)
}

// CreateKeyring makes a keyring with one fresh key. The file must not exist.
func CreateKeyring(path string) (*Keyring, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, err
	}
	k, err := newKeyring(path, handle)
	if err != nil {
		return nil, err
	}
	return k, k.save(handle, os.Link)
}

// OpenOrCreateKeyring opens the keyring at path, making it when it is absent.
func OpenOrCreateKeyring(path string) (*Keyring, error) {
	k, err := OpenKeyring(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	k, err = CreateKeyring(path)
	if errors.Is(err, fs.ErrExist) { // another process was faster
		return OpenKeyring(path)
	}
	return k, err
}

func newKeyring(path string, h *keyset.Handle) (*Keyring, error) {
	a, err := aead.New(h)
	if err != nil {
		return nil, fmt.Errorf("seal: %s holds a keyset of another kind", path)
	}
	return &Keyring{path: path, handle: h, aead: a}, nil
}

// Encrypt implements KEK under the current key.
func (k *Keyring) Encrypt(plaintext, aad []byte) ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.aead.Encrypt(plaintext, aad)
}

// Decrypt implements KEK under any key of the ring.
func (k *Keyring) Decrypt(ciphertext, aad []byte) ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.aead.Decrypt(ciphertext, aad)
}

// Rotate adds a fresh key and makes it the current one. The file is replaced
// before the new key is used.
func (k *Keyring) Rotate() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	m := keyset.NewManagerFromHandle(k.handle)
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err == nil {
		err = m.SetPrimary(id)
	}
	if err != nil {
		return err
	}
	h, err := m.Handle()
	if err != nil {
		return err
	}
	next, err := newKeyring(k.path, h)
	if err != nil {
		return err
	}
	if err := next.save(h, os.Rename); err != nil {
		return err
	}
	k.handle, k.aead = next.handle, next.aead
	return nil
}

// Keys is the number of keys in the ring.
func (k *Keyring) Keys() int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.handle.Len()
}

// save writes the ring to a temporary file and puts it in place: os.Link for a
// file that must not exist, os.Rename to replace one. A crash leaves the old
// file or the new one.
func (k *Keyring) save(h *keyset.Handle, place func(from, to string) error) error {
	var ks bytes.Buffer
	if err := insecurecleartextkeyset.Write(h, keyset.NewJSONWriter(&ks)); err != nil {
		return fmt.Errorf("seal: cannot write the keyset")
	}
	b, err := json.Marshal(keyringFile{Format: keyringFormat, Keyset: ks.Bytes()})
	if err != nil {
		return fmt.Errorf("seal: cannot write the keyset")
	}
	dir := filepath.Dir(k.path)
	f, err := os.CreateTemp(dir, ".keyring-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), k.path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a new name in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
