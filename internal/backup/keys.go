package backup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/firekeep/firekeep/internal/rft"
)

// Keys of a home, which no backup holds: the key ring of the installation, and a
// directory with the key rings of accounts.
const (
	keyring = "keyring.json"
	keysDir = "keys"
)

// maxKeyBytes bounds a file of keys.
const maxKeyBytes = 1 << 20

// CopyKeys copies the keys of one home, or of a copy that it made, into another
// directory, and returns how many files they are. Nothing is written over.
func CopyKeys(from, to string) (n int, err error) {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return 0, rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be made", to)
	}
	names := []string{keyring}
	entries, err := os.ReadDir(filepath.Join(from, keysDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be read", filepath.Join(from, keysDir))
	}
	for _, e := range entries {
		if e.Type().IsRegular() && e.Name()[0] != '.' { // hidden files are unfinished
			names = append(names, filepath.Join(keysDir, e.Name()))
		}
	}
	for _, name := range names {
		if err := copyKey(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return n, err
		}
		n++
	}
	return n, errors.Join(syncDir(to), syncDir(filepath.Dir(filepath.Join(to, names[len(names)-1]))))
}

func copyKey(from, to string) error {
	r, size, err := open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return rft.Wrap(rft.KindNotFound, err, "there are no keys: %s is missing", from)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	if size > maxKeyBytes {
		return rft.Errorf(rft.KindInvalidArgument, "%s is no file of keys: it has %d bytes", from, size)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be made", filepath.Dir(to))
	}
	_, err = writeNew(to, r)
	return err
}
