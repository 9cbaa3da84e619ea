package objstore

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// List implements Bucket. Directories themselves are not objects. Symbolic
// links to files below the root are listed as files; those to directories are
// not followed.
func (b *fileBucket) List(ctx context.Context, prefix, startAfter string, yield func(Info) error) error {
	if !strings.HasPrefix(prefix, b.strip) {
		if !strings.HasPrefix(b.strip, prefix) {
			return rft.Errorf(rft.KindPermissionDenied, "%s does not lie under the opened directory", b.at(prefix))
		}
		prefix = b.strip
	}
	if dir := strings.TrimPrefix(prefix[:strings.LastIndexByte(prefix, '/')+1], b.strip); dir != "" {
		if checkFileKey(dir) != nil {
			return nil // no file can have such a name
		}
	}
	l := &lister{ctx: ctx, b: b, prefix: prefix, startAfter: startAfter, yield: yield}
	start := strings.TrimPrefix(prefix[:strings.LastIndexByte(prefix, '/')+1], b.strip)
	return l.walk(start)
}

// lister walks a tree in the byte order of keys.
type lister struct {
	ctx                context.Context
	b                  *fileBucket
	prefix, startAfter string
	yield              func(Info) error
}

// walk lists the directory dir, "" or a path below root that ends in '/'.
func (l *lister) walk(dir string) error {
	if err := contextError(l.b.at(l.b.strip+dir), l.ctx.Err()); err != nil {
		return err
	}
	entries, err := l.read(dir)
	if err != nil {
		return err
	}
	for _, name := range entries {
		key := l.b.strip + dir + name
		if !l.wanted(key) {
			continue
		}
		if strings.HasSuffix(name, "/") {
			err = l.walk(dir + name)
		} else {
			err = l.file(key, dir+name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// read returns a directory's names, those of directories with a slash at their
// end. Sorted so, a walk meets whole keys in byte order.
func (l *lister) read(dir string) ([]string, error) {
	d, err := l.b.root.Open(path.Join(".", dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, l.b.fault(l.b.strip+dir, err)
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, l.b.fault(l.b.strip+dir, err)
	}
	var names []string
	for _, e := range entries {
		switch {
		case e.IsDir():
			names = append(names, e.Name()+"/")
		case !isPart(e.Name()):
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// wanted reports whether key, or something below it when it ends in '/', can
// have the prefix and come after startAfter.
func (l *lister) wanted(key string) bool {
	if !strings.HasPrefix(key, l.prefix) && (!strings.HasSuffix(key, "/") || !strings.HasPrefix(l.prefix, key)) {
		return false
	}
	return key > l.startAfter || strings.HasSuffix(key, "/") && strings.HasPrefix(l.startAfter, key)
}

func (l *lister) file(key, name string) error {
	info, err := l.b.root.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return nil // gone by now, a link that leads out, a device
	}
	return l.yield(fileInfo(key, info))
}

// SweepParts removes temporary files that writers left in a directory bucket
// when they were killed, if they were last touched before t. It returns their
// number; other buckets have none.
func SweepParts(ctx context.Context, bucket Bucket, t time.Time) (int, error) {
	b, ok := bucket.(*fileBucket)
	if !ok {
		return 0, nil
	}
	n := 0
	err := fs.WalkDir(b.root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if e.IsDir() || !isPart(e.Name()) {
			return nil
		}
		if info, err := e.Info(); err != nil || !info.ModTime().Before(t) {
			return nil
		}
		if err := b.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		n++
		return nil
	})
	if err != nil {
		return n, b.fault("", err)
	}
	return n, nil
}
