package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/firekeep/firekeep/internal/rft"
)

// A bundle is a log, or the end of one, as JSON Lines in one file that verifies
// by itself. The first line is a bundleHeader; then comes one line per entry up to
// the size of the header's tree head: the entry's own bytes, or {"hash":"..."}
// where the reader may know no more than that there is one.
const bundleFormat = "firekeep-audit/1"

type bundleHeader struct {
	Format   string `json:"format"`
	Verifier string `json:"verifier"` // the log's public key, for who has none pinned
	Head     string `json:"head"`     // the signed tree head
	First    int64  `json:"first"`    // index of the first entry
	// Before are the roots of the complete subtrees before it, the largest first.
	Before []tlog.Hash `json:"before,omitempty"`
}

// hiddenEntry stands for an entry of which only the hash is given.
type hiddenEntry struct {
	Hash tlog.Hash `json:"hash"`
}

// Bounds of the lines of a bundle: a header's hashes, and an entry.
const (
	maxHeaderLine = 128 << 10
	maxEntryLine  = maxLeafBytes
)

// Bundle is a bundle's file.
type Bundle struct{ path string }

// OpenBundle opens a bundle.
func OpenBundle(path string) (Bundle, error) {
	b := Bundle{path}
	_, err := b.Verifier()
	return b, err
}

// Open opens what path is: a log's directory or a bundle.
func Open(path string) (Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, rft.Wrap(rft.KindNotFound, err, "%s cannot be read", path)
	}
	if info.IsDir() {
		return OpenDir(path)
	}
	return OpenBundle(path)
}

// header reads the header and leaves the reader behind it.
func (b Bundle) header() (h bundleHeader, lines *bufio.Reader, done func() error, err error) {
	f, err := os.Open(b.path)
	if err != nil {
		return h, nil, nil, rft.Wrap(rft.KindNotFound, err, "%s cannot be read", b.path)
	}
	lines = bufio.NewReaderSize(f, maxHeaderLine)
	h, err = readHeader(lines)
	if err != nil {
		f.Close()
		return h, nil, nil, rft.Wrap(rft.KindInvalidArgument, err, "%s is not an audit bundle: `firekeep audit export --format bundle` writes one", b.path)
	}
	return h, lines, f.Close, nil
}

var errBundleHeader = errors.New("audit: not the header of a bundle")

func readHeader(lines *bufio.Reader) (h bundleHeader, err error) {
	line, err := lines.ReadSlice('\n')
	if err != nil {
		return h, errBundleHeader
	}
	if json.Unmarshal(line, &h) != nil || h.Format != bundleFormat || h.First < 0 || len(h.Before) != subtrees(h.First) {
		return h, errBundleHeader
	}
	return h, nil
}

// Verifier is the public key that the bundle names. It proves nothing by itself.
func (b Bundle) Verifier() (string, error) {
	h, _, done, err := b.header()
	if err != nil {
		return "", err
	}
	return h.Verifier, done()
}

// Head implements Source.
func (b Bundle) Head() ([]byte, error) {
	h, _, done, err := b.header()
	if err != nil {
		return nil, err
	}
	return []byte(h.Head), done()
}

// stored implements Source: a bundle holds no hashes beside its entries.
func (b Bundle) stored(int64) *storedTiles { return nil }

// walk implements Source.
func (b Bundle) walk(ctx context.Context, size int64, begin func(tree) error, yield func(entry) error) error {
	h, lines, done, err := b.header()
	if err != nil {
		return err
	}
	defer done()
	if h.First > size {
		return &Finding{FoundTruncated, size, fmt.Sprintf("the bundle begins at entry %d, its tree head covers %d", h.First, size)}
	}
	if err := begin(tree{n: h.First, subs: h.Before}); err != nil {
		return err
	}
	for index := h.First; index < size; index++ {
		if index%tileWidth == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		e, err := readEntry(lines)
		switch {
		case errors.Is(err, io.EOF):
			return &Finding{FoundTruncated, index, fmt.Sprintf("the entries from %d on are gone", index)}
		case err != nil:
			return &Finding{FoundMalformed, index, fmt.Sprintf("the line of entry %d cannot be read", index)}
		}
		if err := yield(e); err != nil {
			return err
		}
	}
	if _, err := lines.ReadByte(); err == nil {
		return &Finding{FoundMalformed, size, "the bundle goes on behind the entries that its tree head covers"}
	}
	return nil
}

var hiddenPrefix = []byte(`{"hash":`)

// readEntry reads the next line.
func readEntry(lines *bufio.Reader) (entry, error) {
	line, err := lines.ReadSlice('\n')
	if err != nil {
		if len(line) > 0 {
			return entry{}, errBundle // cut inside a line, or longer than any entry
		}
		return entry{}, err
	}
	line = line[:len(line)-1]
	if len(line) > maxEntryLine {
		return entry{}, errBundle
	}
	if bytes.HasPrefix(line, hiddenPrefix) {
		var h hiddenEntry
		if err := json.Unmarshal(line, &h); err != nil {
			return entry{}, errBundle
		}
		return entry{hash: h.Hash}, nil
	}
	leaf := bytes.Clone(line)
	return entry{leaf: leaf, hash: leafHash(leaf)}, nil
}

// bundleWriter writes a bundle.
type bundleWriter struct{ w *bufio.Writer }

// newBundleWriter writes the header: what follows begins behind the tree before.
func newBundleWriter(w io.Writer, verifier string, head Head, before tree) (*bundleWriter, error) {
	b := &bundleWriter{bufio.NewWriterSize(w, 64<<10)}
	line, err := json.Marshal(bundleHeader{Format: bundleFormat, Verifier: verifier, Head: head.Note, First: before.n, Before: before.subs})
	if err != nil {
		return nil, err
	}
	_, err = b.w.Write(append(line, '\n'))
	return b, err
}

// add writes an entry; hidden leaves only its hash.
func (b *bundleWriter) add(leaf []byte, hidden bool) error {
	if hidden {
		h := leafHash(leaf)
		leaf = append(append(bytes.Clone(hiddenPrefix), '"'), base64.StdEncoding.EncodeToString(h[:])...)
		leaf = append(leaf, `"}`...)
	}
	if _, err := b.w.Write(leaf); err != nil {
		return err
	}
	return b.w.WriteByte('\n')
}

func (b *bundleWriter) close() error { return b.w.Flush() }
