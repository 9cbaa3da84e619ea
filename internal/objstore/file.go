package objstore

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// fileBucket is a directory tree. Keys are slash-separated paths below root;
// the prefix "strip" of a key stands for root itself. Names are resolved below
// root by the kernel (os.Root): neither ".." nor a symbolic link leads out.
// Writes go to a temporary file beside the object, are synced, and get their
// name by link (create-only) or rename.
type fileBucket struct {
	root     *os.Root
	strip    string
	url      URL // of the bucket; its key is ""
	fileMode fs.FileMode
	dirMode  fs.FileMode
}

// Temporary files are never listed, read or written as objects.
const (
	partPrefix = ".firekeep-"
	partSuffix = ".part"
)

// OpenDir is the bucket of Firekeep's own home: keys are relative to dir, files
// are the owner's only. The directory must exist.
func OpenDir(dir string) (Bucket, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "cannot open the directory %s", dir)
	}
	return &fileBucket{root: root, url: URL{Scheme: File}, fileMode: 0o600, dirMode: 0o700}, nil
}

// openFile is the bucket of file URLs: keys are absolute paths without their
// first slash, and must lie under one of the operator's roots.
func openFile(u URL, c Config) (Bucket, error) {
	if err := u.checkKey(); err != nil {
		return nil, err
	}
	for _, dir := range c.FileRoots {
		strip := strings.TrimPrefix(strings.TrimSuffix(dir, "/")+"/", "/")
		if !strings.HasPrefix(u.Key+"/", strip) {
			continue
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, rft.Wrap(rft.KindFailedPrecondition, err, "cannot open the directory %s", dir)
		}
		return &fileBucket{root: root, strip: strip, url: URL{Scheme: File}, fileMode: 0o644, dirMode: 0o755}, nil
	}
	return nil, rft.Errorf(rft.KindPermissionDenied, "%s does not lie under a directory that the operator allows for file URLs", u)
}

// name is the path of key below root.
func (b *fileBucket) name(key string) (string, error) {
	if err := checkFileKey(key); err != nil {
		return "", err
	}
	name, ok := strings.CutPrefix(key, b.strip)
	base := path.Base(name)
	switch {
	case key == "":
		return "", rft.Errorf(rft.KindInvalidArgument, "%s cannot name a file", b.at(key))
	case !ok:
		return "", rft.Errorf(rft.KindPermissionDenied, "%s does not lie under the opened directory", b.at(key))
	case name == "" || strings.HasSuffix(name, "/"):
		return "", rft.Errorf(rft.KindInvalidArgument, "%s names a directory", b.at(key))
	case isPart(base):
		return "", rft.Errorf(rft.KindInvalidArgument, "%s has the name of a temporary file", b.at(key))
	}
	return name, nil
}

func isPart(base string) bool {
	return strings.HasPrefix(base, partPrefix) && strings.HasSuffix(base, partSuffix)
}

func (b *fileBucket) at(key string) URL { return b.url.Join(key) }

// Stat implements Bucket. Only regular files are objects.
func (b *fileBucket) Stat(ctx context.Context, key string) (Info, error) {
	if err := contextError(b.at(key), ctx.Err()); err != nil {
		return Info{}, err
	}
	name, err := b.name(key)
	if err != nil {
		return Info{}, err
	}
	info, err := b.root.Stat(name)
	if err != nil {
		return Info{}, b.fault(key, err)
	}
	if !info.Mode().IsRegular() {
		return Info{}, absent(b.at(key), nil)
	}
	return fileInfo(key, info), nil
}

// fileInfo describes a file. Its ETag is its inode and its time of
// modification: a replaced file has another inode, a rewritten one another time.
func fileInfo(key string, info fs.FileInfo) Info {
	etag := strconv.FormatInt(info.ModTime().UnixNano(), 16)
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		etag = strconv.FormatUint(s.Ino, 16) + "-" + etag
	}
	return Info{Key: key, Pin: Pin{Size: info.Size(), ETag: etag}, Modified: info.ModTime()}
}

// Open implements Bucket.
func (b *fileBucket) Open(ctx context.Context, key string, pin Pin, offset, length int64) (io.ReadCloser, error) {
	if err := contextError(b.at(key), ctx.Err()); err != nil {
		return nil, err
	}
	name, err := b.name(key)
	if err != nil {
		return nil, err
	}
	f, err := b.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not block us
	if err != nil {
		return nil, b.pinned(key, pin, b.fault(key, err))
	}
	r := &fileReader{ctx: ctx, f: f, url: b.at(key), pin: pin}
	if err := r.seek(offset, length); err != nil {
		_ = f.Close()
		return nil, err
	}
	return r, nil
}

// pinned turns the absence of a pinned object into a change.
func (b *fileBucket) pinned(key string, pin Pin, err error) error {
	if pin != (Pin{}) && rft.KindOf(err) == rft.KindNotFound {
		return changed(b.at(key))
	}
	return err
}

// fileReader reads a range of an open file and checks, with every read, that
// it is still the pinned one.
type fileReader struct {
	ctx  context.Context
	f    *os.File
	url  URL
	pin  Pin
	left int64
}

func (r *fileReader) seek(offset, length int64) error {
	info, err := r.f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return absent(r.url, err)
	}
	now := fileInfo("", info).Pin
	if r.pin == (Pin{}) {
		r.pin = now
	}
	if now != r.pin {
		return changed(r.url)
	}
	if offset < 0 || offset > now.Size {
		return outOfRange(r.url, offset, now.Size)
	}
	r.left = now.Size - offset
	if length >= 0 {
		r.left = min(r.left, length)
	}
	if _, err := r.f.Seek(offset, io.SeekStart); err != nil {
		return rft.Wrap(rft.KindInternal, err, "%s cannot be read", r.url)
	}
	return nil
}

func (r *fileReader) Read(p []byte) (int, error) {
	if err := contextError(r.url, r.ctx.Err()); err != nil {
		return 0, err
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.f.Read(p[:min(int64(len(p)), r.left)])
	if err != nil && err != io.EOF {
		return 0, rft.Wrap(rft.KindUnavailable, err, "%s cannot be read", r.url)
	}
	info, statErr := r.f.Stat()
	if statErr != nil || fileInfo("", info).Pin != r.pin || err == io.EOF {
		return 0, changed(r.url)
	}
	r.left -= int64(n)
	return n, nil
}

func (r *fileReader) Close() error {
	r.left = 0
	return r.f.Close()
}

// fault maps an error of the file system.
func (b *fileBucket) fault(key string, err error) error {
	u := b.at(key)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return absent(u, err)
	case errors.Is(err, fs.ErrExist):
		return exists(u)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return rft.Wrap(rft.KindPermissionDenied, err, "%s: the file system refuses access", u)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return rft.Wrap(rft.KindResourceExhausted, err, "%s: the file system is full; make room and try again", u)
	case errors.Is(err, syscall.EIO):
		return rft.Wrap(rft.KindUnavailable, err, "%s: the disk failed to read or write; the kernel's log says more", u)
	case escapes(err), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.EXDEV):
		return rft.Wrap(rft.KindPermissionDenied, err, "%s leads out of the opened directory", u)
	}
	return rft.Wrap(rft.KindInternal, err, "%s: the file system failed", u)
}

// escapes reports whether os.Root refused a path. Its error has no name of its
// own; it is the one that wraps no system error.
func escapes(err error) bool {
	e, ok := errors.AsType[*fs.PathError](err)
	if !ok {
		return false
	}
	_, system := errors.AsType[syscall.Errno](e.Err)
	return !system
}

// Create implements Bucket.
func (b *fileBucket) Create(ctx context.Context, key string, r io.Reader, o PutOptions) (Info, error) {
	if _, err := b.Stat(ctx, key); rft.KindOf(err) != rft.KindNotFound {
		if err == nil {
			err = exists(b.at(key))
		}
		return Info{}, err
	}
	return b.write(ctx, key, r, o, func(part, name string) error { return b.root.Link(part, name) })
}

// Replace implements Bucket. The comparison and the rename happen under a lock
// of the directory, which every replacing or deleting process takes.
func (b *fileBucket) Replace(ctx context.Context, key string, was Pin, r io.Reader, o PutOptions) (Info, error) {
	check := func() error {
		now, err := b.Stat(ctx, key)
		if err == nil && now.Pin != was {
			err = changed(b.at(key))
		}
		return b.pinned(key, Pin{Size: 1}, err)
	}
	if err := check(); err != nil {
		return Info{}, err
	}
	return b.write(ctx, key, r, o, func(part, name string) error {
		return b.locked(path.Dir(name), func() error {
			if err := check(); err != nil {
				return err
			}
			return b.root.Rename(part, name)
		})
	})
}

// write fills a temporary file and lets place give it its name.
func (b *fileBucket) write(ctx context.Context, key string, r io.Reader, o PutOptions, place func(part, name string) error) (Info, error) {
	name, err := b.name(key)
	if err != nil {
		return Info{}, err
	}
	dir := path.Dir(name)
	if err := b.makeDirs(dir); err != nil {
		return Info{}, b.fault(key, err)
	}
	part := path.Join(dir, partPrefix+seal.RandomID(16)+partSuffix)
	info, err := b.fill(ctx, key, part, r, o)
	if err == nil {
		err = place(part, name)
	}
	if removed := b.root.Remove(part); err == nil && removed != nil && !errors.Is(removed, fs.ErrNotExist) {
		err = removed
	}
	if err == nil {
		err = b.syncDir(dir)
	}
	if _, ours := errors.AsType[*rft.Error](err); err != nil && !ours {
		err = b.fault(key, err)
	}
	if err != nil {
		return Info{}, err
	}
	return info, nil
}

// fill writes and syncs the temporary file.
func (b *fileBucket) fill(ctx context.Context, key, part string, r io.Reader, o PutOptions) (Info, error) {
	f, err := b.root.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, b.fileMode)
	if err != nil {
		return Info{}, err
	}
	defer f.Close()
	src := newSource(ctx, b.at(key), r, o)
	_, err = io.Copy(struct{ io.Writer }{f}, src)
	if checked := src.check(); src.err != nil || err == nil {
		err = checked
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return Info{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return Info{}, err
	}
	return fileInfo(key, info), f.Close()
}

// makeDirs makes a directory and those above it, each durable.
func (b *fileBucket) makeDirs(dir string) error {
	if dir == "." {
		return nil
	}
	if info, err := b.root.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if err := b.makeDirs(path.Dir(dir)); err != nil {
		return err
	}
	if err := b.root.Mkdir(dir, b.dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return b.syncDir(path.Dir(dir))
}

func (b *fileBucket) syncDir(dir string) error {
	d, err := b.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// locked runs f while no other process replaces or deletes in dir.
func (b *fileBucket) locked(dir string, f func() error) error {
	d, err := b.root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() // releases the lock
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	return f()
}

// Delete implements Bucket.
func (b *fileBucket) Delete(ctx context.Context, key string) error {
	_, err := b.Stat(ctx, key)
	if rft.KindOf(err) == rft.KindNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	name, err := b.name(key)
	if err != nil {
		return err
	}
	dir := path.Dir(name)
	err = b.locked(dir, func() error { return b.root.Remove(name) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = b.syncDir(dir)
	}
	if err != nil {
		return b.fault(key, err)
	}
	return nil
}

// Close implements Bucket.
func (b *fileBucket) Close() error { return b.root.Close() }
