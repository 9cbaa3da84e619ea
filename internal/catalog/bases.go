package catalog

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// Bases keeps the prepared weights of published base models: plain files of a
// directory that only this user can write, named by their digest. Every process of the host
// maps the same pages.
type Bases struct {
	dir string

	mu      sync.Mutex
	checked map[string]checkedFile // by digest: what the last full check saw
}

// checkedFile identifies the state of a file that was hashed.
type checkedFile struct {
	size     int64
	modified time.Time
}

// NewBases opens the directory, which is created if need be.
func NewBases(dir string) (*Bases, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, rft.Wrap(rft.KindUnavailable, err, "the directory of models cannot be created")
	}
	return &Bases{dir: dir, checked: map[string]checkedFile{}}, nil
}

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func (b *Bases) path(digest string) (string, error) {
	if !digestPattern.MatchString(digest) {
		return "", rft.Errorf(rft.KindDataLoss, "the model has no valid digest")
	}
	return filepath.Join(b.dir, strings.TrimPrefix(digest, "sha256:")+".prepared"), nil
}

// Weights is an open file of prepared weights. The caller closes them
// when the children that map them are gone.
type Weights struct {
	File   *os.File
	Size   int64
	Digest string // sha256:hex, checked

	leave func() // nil for plain ones
}

// Close closes the file and says that no child of the caller maps it any more.
func (w *Weights) Close() {
	_ = w.File.Close()
	if w.leave != nil {
		w.leave()
	}
}

// Open opens the weights of a digest for reading. The file is hashed once per
// process, and again when size or time of it changed.
func (b *Bases) Open(digest string, size int64) (*Weights, error) {
	path, err := b.path(digest)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, rft.Wrap(rft.KindDataLoss, err, "the prepared weights %s are missing; import the model again", digest)
	}
	if err := b.check(f, digest, size); err != nil {
		f.Close()
		return nil, err
	}
	return &Weights{File: f, Size: size, Digest: digest}, nil
}

func (b *Bases) check(f *os.File, digest string, size int64) error {
	info, err := f.Stat()
	if err != nil {
		return rft.Wrap(rft.KindUnavailable, err, "the prepared weights %s cannot be read", digest)
	}
	if info.Size() != size {
		return rft.Errorf(rft.KindDataLoss, "the prepared weights %s have %d bytes instead of %d", digest, info.Size(), size)
	}
	now := checkedFile{info.Size(), info.ModTime()}
	b.mu.Lock()
	seen := b.checked[digest]
	b.mu.Unlock()
	if seen == now {
		return nil
	}
	if err := hashFile(f, digest); err != nil {
		return err
	}
	b.mu.Lock()
	b.checked[digest] = now
	b.mu.Unlock()
	return nil
}

// hashFile holds the bytes of f against digest.
func hashFile(f *os.File, digest string) error {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, 1<<62)); err != nil {
		return rft.Wrap(rft.KindUnavailable, err, "the prepared weights %s cannot be read", digest)
	}
	if "sha256:"+hex.EncodeToString(h.Sum(nil)) != digest {
		return rft.Errorf(rft.KindDataLoss, "the prepared weights %s do not have that digest any more", digest)
	}
	return nil
}

// Verify hashes the weights of a digest whatever was seen before.
func (b *Bases) Verify(digest string, size int64) error {
	b.mu.Lock()
	delete(b.checked, digest)
	b.mu.Unlock()
	w, err := b.Open(digest, size)
	if err != nil {
		return err
	}
	return w.File.Close()
}

// Incoming is a file of prepared weights in the making.
type Incoming struct {
	b    *Bases
	file *os.File
	out  *bufio.Writer // to file
	hash hash.Hash
	size int64
}

// largeWrites is how much of a file is written at once: the page cache keeps it
// in pages as large, which every child that maps the file reads faster.
const largeWrites = 8 << 20

// tempPrefix marks files that a crash left unfinished.
const tempPrefix = ".incoming-"

// Create begins a file. Write to it, then Commit or Abort.
func (b *Bases) Create() (*Incoming, error) {
	f, err := os.CreateTemp(b.dir, tempPrefix)
	if err != nil {
		return nil, rft.Wrap(rft.KindUnavailable, err, "prepared weights cannot be written")
	}
	return &Incoming{b: b, file: f, out: bufio.NewWriterSize(f, largeWrites), hash: sha256.New()}, nil
}

// Write implements io.Writer.
func (in *Incoming) Write(p []byte) (int, error) {
	n, err := in.out.Write(p)
	in.hash.Write(p[:n])
	in.size += int64(n)
	return n, unwritten(err)
}

func unwritten(err error) error {
	if err == nil {
		return nil
	}
	return rft.Wrap(rft.KindResourceExhausted, err, "prepared weights cannot be written: is the disk full?")
}

// Commit makes the file durable under its digest and returns that.
func (in *Incoming) Commit() (digest string, size int64, err error) {
	if err := in.out.Flush(); err != nil {
		in.Abort()
		return "", 0, unwritten(err)
	}
	digest = "sha256:" + hex.EncodeToString(in.hash.Sum(nil))
	path, err := in.b.path(digest)
	if err == nil {
		err = errors.Join(in.file.Chmod(0o600), in.file.Sync(), in.file.Close())
	}
	if err == nil {
		err = os.Rename(in.file.Name(), path)
	}
	if err == nil {
		err = syncDir(in.b.dir)
	}
	if err != nil {
		os.Remove(in.file.Name())
		return "", 0, rft.Wrap(rft.KindUnavailable, err, "prepared weights cannot be stored")
	}
	return digest, in.size, nil
}

// Abort drops the file; after Commit it does nothing.
func (in *Incoming) Abort() {
	if in.file.Close() == nil {
		os.Remove(in.file.Name())
	}
}

// Remove deletes the weights of a digest. Children that map them keep their pages.
func (b *Bases) Remove(digest string) error {
	path, err := b.path(digest)
	if err != nil {
		return err
	}
	b.mu.Lock()
	delete(b.checked, digest)
	b.mu.Unlock()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return rft.Wrap(rft.KindUnavailable, err, "the prepared weights %s cannot be removed", digest)
	}
	return nil
}

// Files lists the directory: digests of whole files, names of everything else.
func (b *Bases) Files() (digests, others []string, err error) {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return nil, nil, rft.Wrap(rft.KindUnavailable, err, "the directory of models cannot be read")
	}
	for _, e := range entries {
		digest := "sha256:" + strings.TrimSuffix(e.Name(), ".prepared")
		if strings.HasSuffix(e.Name(), ".prepared") && digestPattern.MatchString(digest) && e.Type().IsRegular() {
			digests = append(digests, digest)
		} else {
			others = append(others, e.Name())
		}
	}
	return digests, others, nil
}

// RemoveOther deletes a file that Files returned among the others.
func (b *Bases) RemoveOther(name string) error {
	if name != filepath.Base(name) {
		return fmt.Errorf("catalog: %q is not a name", name)
	}
	return os.Remove(filepath.Join(b.dir, name))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
