package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
)

// Bounds of a backup's manifest, which may come from anywhere.
const (
	maxBackupManifestBytes = 256 << 20
	maxNameBytes           = 1024
)

// Restore makes a home of the backup under prefix. The home must not exist, or
// be empty. It is built beside its place and moved there whole: whoever is
// interrupted has no home, and starts again. keys is what
// CopyKeys made, "" = none.
func Restore(ctx context.Context, from objstore.Bucket, prefix, home, keys string) (Manifest, error) {
	m, err := readManifest(ctx, from, prefix)
	if err != nil {
		return m, err
	}
	if err := requireNoHome(home); err != nil {
		return m, err
	}
	stage := home + ".restoring"
	unlock, err := lock(stage + ".lock")
	if err != nil {
		return m, err
	}
	defer func() { os.Remove(stage + ".lock"); unlock() }()
	if err := os.RemoveAll(stage); err != nil { // of a restore that was killed
		return m, rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be removed", stage)
	}
	if err := os.MkdirAll(stage, 0o700); err != nil {
		return m, rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be made", stage)
	}
	for _, f := range m.Files {
		if err := fetch(ctx, from, prefix, stage, f); err != nil {
			return m, err
		}
	}
	if keys != "" {
		if _, err := CopyKeys(keys, stage); err != nil {
			return m, err
		}
	}
	return m, place(stage, home)
}

// readManifest reads and checks a manifest: nothing of it leads out of a home,
// and none of it replaces a key.
func readManifest(ctx context.Context, from objstore.Bucket, prefix string) (m Manifest, err error) {
	info, err := from.Stat(ctx, prefix+manifestName)
	if rft.KindOf(err) == rft.KindNotFound {
		return m, rft.Wrap(rft.KindNotFound, err, "there is no whole backup: %s is missing", manifestName)
	}
	if err != nil {
		return m, err
	}
	r, err := from.Open(ctx, prefix+manifestName, info.Pin, 0, -1)
	if err != nil {
		return m, err
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, maxBackupManifestBytes))
	if err != nil {
		return m, err
	}
	return parseManifest(raw)
}

func parseManifest(raw []byte) (m Manifest, err error) {
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, rft.Wrap(rft.KindDataLoss, err, "the manifest of the backup cannot be read")
	}
	if m.Format != format {
		return m, rft.Errorf(rft.KindUnimplemented, "the backup has the format %.40q; this program knows %q", m.Format, format)
	}
	seen := map[string]bool{}
	for _, f := range m.Files {
		top, _, deep := strings.Cut(f.Name, "/")
		known := deep && slices.Contains(copied, top) || !deep && (f.Name == database || slices.Contains(settings, f.Name))
		if !known || !filepath.IsLocal(f.Name) || path.Clean(f.Name) != f.Name || len(f.Name) > maxNameBytes || f.Size < 0 || seen[f.Name] {
			return m, rft.Errorf(rft.KindDataLoss, "the manifest of the backup names %.100q, which no backup holds", f.Name)
		}
		seen[f.Name] = true
	}
	if !seen[database] {
		return m, rft.Errorf(rft.KindDataLoss, "the manifest of the backup names no database")
	}
	return m, nil
}

// requireNoHome refuses to restore over anything.
func requireNoHome(home string) error {
	entries, err := os.ReadDir(home)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be read", home)
	case len(entries) > 0:
		return rft.Errorf(rft.KindAlreadyExists, "%s is not empty; name another --home, or move it away", home)
	}
	return nil
}

// fetch copies one file and holds it against its digest.
func fetch(ctx context.Context, from objstore.Bucket, prefix, stage string, f File) error {
	key := prefix + filesDir + f.Name
	info, err := from.Stat(ctx, key)
	if rft.KindOf(err) == rft.KindNotFound {
		return rft.Wrap(rft.KindDataLoss, err, "%s is missing from the backup", f.Name)
	}
	if err != nil {
		return err
	}
	r, err := from.Open(ctx, key, info.Pin, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	to := filepath.Join(stage, filepath.FromSlash(f.Name))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be made", filepath.Dir(to))
	}
	sum := sha256.New()
	n, err := writeNew(to, io.TeeReader(io.LimitReader(r, f.Size+1), sum))
	if err != nil {
		return err
	}
	if n != f.Size || hex.EncodeToString(sum.Sum(nil)) != f.SHA256 {
		return rft.Errorf(rft.KindDataLoss, "%s of the backup does not have its digest any more", f.Name)
	}
	return nil
}

// writeNew writes a new durable file of mode 0600.
func writeNew(to string, r io.Reader) (int64, error) {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be made", to)
	}
	n, err := io.Copy(f, r)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		var known *rft.Error
		if errors.As(err, &known) {
			return n, known
		}
		return n, rft.Wrap(rft.KindResourceExhausted, err, "%s cannot be written: is the disk full?", to)
	}
	return n, nil
}

// place makes every directory of the stage durable and gives the stage its name.
func place(stage, home string) error {
	err := filepath.WalkDir(stage, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			err = syncDir(path)
		}
		return err
	})
	if err == nil {
		if err = os.Remove(home); errors.Is(err, fs.ErrNotExist) { // an empty directory
			err = nil
		}
	}
	if err == nil {
		err = os.Rename(stage, home)
	}
	if err == nil {
		err = syncDir(filepath.Dir(home))
	}
	if err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be put in place", home)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lock takes a lock file; the kernel drops it when the process ends.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be opened", path)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, rft.Errorf(rft.KindFailedPrecondition, "another backup or restore is at work (%s)", filepath.Base(path))
	}
	return func() { f.Close() }, nil
}

// String is a line for people.
func (m Manifest) String() string {
	return fmt.Sprintf("%d files, %d bytes, made %s by version %s", len(m.Files), m.Bytes(), m.Created.Format("2006-01-02 15:04:05 MST"), m.Version)
}
