package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/firekeep/firekeep/internal/rft"
)

// A log's directory has the layout of c2sp.org/tlog-tiles:
//
//	checkpoint            the signed tree head
//	tile/entries/x001/234 256 entries, each behind its length in 2 bytes
//	tile/0/x001/234       the 256 hashes of these entries; tile/1/... of 256 such tiles
//	tile/0/x001/234.p/7   a tile with its first 7 hashes: the right edge of the tree
//
// This file reads it with nothing but the standard library and x/mod/sumdb, so
// that what verifies a log is not what writes it.
const (
	tileWidth  = 256
	tileHeight = 8
	// maxBundleBytes is 256 entries of 64 KiB.
	maxBundleBytes = tileWidth * (2 + maxLeafBytes)
)

// Dir reads the files of a log.
type Dir struct{ fs fs.FS }

// OpenDir opens a log's directory, or the directory that holds it as "log".
func OpenDir(dir string) (Dir, error) {
	if info, err := os.Stat(filepath.Join(dir, logDir)); err == nil && info.IsDir() {
		dir = filepath.Join(dir, logDir)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return Dir{}, rft.Wrap(rft.KindNotFound, err, "%s is not the directory of an audit log", dir)
	}
	return Dir{os.DirFS(dir)}, nil
}

// Head is the text of the signed tree head.
func (d Dir) Head() ([]byte, error) { return d.read("checkpoint", maxHeadBytes) }

// read reads a file, at most limit bytes of it.
func (d Dir) read(name string, limit int64) ([]byte, error) {
	f, err := d.fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("audit: %s is larger than a file of a log can be", name)
	}
	b := make([]byte, info.Size())
	for n := 0; n < len(b); {
		m, err := f.Read(b[n:])
		if n += m; err != nil && n < len(b) {
			return nil, err
		}
	}
	return b, nil
}

// number spells the number of a tile.
func number(n int64) string {
	s := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		s = fmt.Sprintf("x%03d/%s", n%1000, s)
	}
	return s
}

// width is how many items of a level lie in its tile number index, in a tree
// whose level has total items.
func width(total, index int64) int {
	return int(max(0, min(tileWidth, total-index*tileWidth)))
}

// wide reads a tile or bundle that holds at least w items: the partial one of w,
// the full one that took its place, or a wider partial one.
func (d Dir) wide(name string, w int, limit int64) ([]byte, error) {
	if w < tileWidth {
		b, err := d.read(name+".p/"+strconv.Itoa(w), limit)
		if !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
	}
	b, err := d.read(name, limit)
	if !errors.Is(err, fs.ErrNotExist) || w >= tileWidth {
		return b, err
	}
	for wider := w + 1; wider < tileWidth; wider++ {
		if b, e := d.read(name+".p/"+strconv.Itoa(wider), limit); !errors.Is(e, fs.ErrNotExist) {
			return b, e
		}
	}
	return nil, err
}

// tile reads the first w hashes of a tile.
func (d Dir) tile(level int, index int64, w int) ([]tlog.Hash, error) {
	name := path.Join("tile", strconv.Itoa(level), number(index))
	b, err := d.wide(name, w, tileWidth*tlog.HashSize)
	if err != nil {
		return nil, err
	}
	if len(b) < w*tlog.HashSize || len(b)%tlog.HashSize != 0 {
		return nil, fmt.Errorf("audit: %s is cut short", name)
	}
	out := make([]tlog.Hash, w)
	for i := range out {
		out[i] = tlog.Hash(b[i*tlog.HashSize:])
	}
	return out, nil
}

// bundle reads the first w entries of a bundle.
func (d Dir) bundle(index int64, w int) ([][]byte, error) {
	b, err := d.wide("tile/entries/"+number(index), w, maxBundleBytes)
	if err != nil {
		return nil, err
	}
	entries, err := parseBundle(b)
	if err == nil && len(entries) < w {
		err = fmt.Errorf("audit: bundle %d holds %d entries instead of %d", index, len(entries), w)
	}
	if err != nil {
		return nil, err
	}
	return entries[:w], nil
}

// parseBundle reads the entries of a bundle.
func parseBundle(b []byte) ([][]byte, error) {
	var out [][]byte
	for len(b) > 0 {
		if len(b) < 2 || len(out) == tileWidth {
			return nil, errBundle
		}
		n := int(binary.BigEndian.Uint16(b))
		if b = b[2:]; len(b) < n {
			return nil, errBundle
		}
		out = append(out, b[:n:n])
		b = b[n:]
	}
	return out, nil
}

var errBundle = errors.New("audit: not a bundle of entries")

// node reads the hash of the complete subtree of height level that covers the
// entries from index<<level on, in a log of size entries.
func (d Dir) node(level int, index, size int64) (tlog.Hash, error) {
	tileLevel, up := level/tileHeight, level%tileHeight
	first := index << up
	hashes, err := d.tile(tileLevel, first/tileWidth, width(size>>(tileLevel*tileHeight), first/tileWidth))
	if err != nil {
		return tlog.Hash{}, err
	}
	at := int(first % tileWidth)
	if at+1<<up > len(hashes) {
		return tlog.Hash{}, errBundle
	}
	part := hashes[at : at+1<<up]
	for len(part) > 1 {
		for i := range len(part) / 2 {
			part[i] = tlog.NodeHash(part[2*i], part[2*i+1])
		}
		part = part[:len(part)/2]
	}
	return part[0], nil
}

// tree reads the tree of the first n entries of a log, from its tiles.
func (d Dir) tree(n, size int64) (tree, error) {
	t := tree{n: n}
	done := int64(0)
	for level := 62; level >= 0; level-- {
		if n>>level&1 == 0 {
			continue
		}
		h, err := d.node(level, done>>level, size)
		if err != nil {
			return t, err
		}
		t.subs = append(t.subs, h)
		done += 1 << level
	}
	return t, nil
}
