package provenance

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// maxDirectoryFiles bounds a directory that is verified.
const maxDirectoryFiles = 200_000

// VerifyDirectory verifies an exported model without a server: every file that
// the signature lists is there with its digest, nothing else is, and the
// provenance is signed by the same key. A directory signed elsewhere may have no
// provenance; then Record is nil.
func VerifyDirectory(dir string, keys []seal.VerifyingKey) (*Checked, error) {
	root, err := os.OpenRoot(dir) // no link leads out of it
	if err != nil {
		return nil, rft.Wrap(rft.KindNotFound, err, "%s: there is no such directory", dir)
	}
	defer root.Close()
	raw, err := readBounded(root, FileBundle, maxBundleBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "%s carries no signature: it has no %s", dir, FileBundle)
	}
	if err != nil {
		return nil, err
	}
	c, err := checkRoot(root, raw, keys)
	if err != nil {
		return nil, err
	}
	return c, c.compare(root)
}

func checkRoot(root *os.Root, bundle []byte, keys []seal.VerifyingKey) (*Checked, error) {
	provenance, err := readBounded(root, FileProvenance, maxEnvelopeBytes)
	if err == nil {
		return Check(bundle, provenance, keys)
	}
	b, parse := ParseBundle(bundle)
	if parse != nil {
		return nil, parse
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if b.Digest(FileProvenance) != "" {
		return nil, rft.Errorf(rft.KindDataLoss, "%s is missing", FileProvenance)
	}
	k, err := b.Verify(keys)
	return &Checked{Key: k, Bundle: b}, err
}

func readBounded(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, rft.Wrap(rft.KindUnavailable, err, "%s cannot be read", name)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, rft.Errorf(rft.KindDataLoss, "%s is not a file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, rft.Wrap(rft.KindUnavailable, err, "%s cannot be read", name)
	}
	if int64(len(b)) > limit {
		return nil, rft.Errorf(rft.KindDataLoss, "%s is longer than %d bytes", name, limit)
	}
	return b, nil
}

// compare holds the files of a directory against the signature, both ways.
func (c *Checked) compare(root *os.Root) error {
	want := make(map[string]string, len(c.Bundle.Resources))
	for _, r := range c.Bundle.Resources {
		want[r.Name] = r.SHA256
	}
	n := 0
	err := fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return rft.Wrap(rft.KindUnavailable, err, "%s cannot be read", name)
		case name == ".":
			return nil
		case c.Bundle.ignores(name):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir():
			return nil
		}
		if n++; n > maxDirectoryFiles {
			return rft.Errorf(rft.KindInvalidArgument, "the directory holds more than %d files", maxDirectoryFiles)
		}
		sum, listed := want[name]
		switch {
		case !e.Type().IsRegular():
			return rft.Errorf(rft.KindDataLoss, "%q is not a regular file", name)
		case !listed:
			return rft.Errorf(rft.KindDataLoss, "%q is not covered by the signature", name)
		}
		delete(want, name)
		got, err := hashFile(root, name)
		if err == nil && got != sum {
			err = rft.Errorf(rft.KindDataLoss, "%q was changed: it does not have the digest that was signed", name)
		}
		return err
	})
	if err != nil {
		return err
	}
	for name := range want {
		return rft.Errorf(rft.KindDataLoss, "%q is missing: it was signed with the model", name)
	}
	return nil
}

func hashFile(root *os.Root, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", rft.Wrap(rft.KindUnavailable, err, "%q cannot be read", name)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", rft.Wrap(rft.KindUnavailable, err, "%q cannot be read", name)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
