package catalog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/firekeep/firekeep/internal/rft"
)

// BlockBytes is the unit in which the bytes of a dataset are digested and
// verified. Small enough that a range costs little beyond itself, large enough
// that 10 GB have 10,000 digests.
const BlockBytes = 1 << 20

// ChunkBytes is about how many bytes of neighbouring groups make a chunk, the
// unit in which a dataset is shuffled.
const ChunkBytes = 8 << 20

// Index says where the groups of a dataset lie and what its bytes hash to. It
// holds no content. Its encoding:
//
//	"FKINDEX1"                                 8 bytes
//	objects   uvarint, then per object: size uvarint, its blocks' SHA-256, 32 bytes each
//	chunks    uvarint, then per chunk: object, offset, first line, groups, bytes of what follows: uvarint;
//	          per group: length, lines: uvarint
type Index struct {
	Objects []IndexObject
	Chunks  []IndexChunk
	Groups  int64

	raw []byte
}

// IndexObject is one object of the dataset.
type IndexObject struct {
	Size   int64
	blocks []byte // 32 bytes each
}

// Blocks is the number of blocks of the object; the last may be short.
func (o IndexObject) Blocks() int64 { return (o.Size + BlockBytes - 1) / BlockBytes }

// Digest is the SHA-256 of block i.
func (o IndexObject) Digest(i int64) [sha256.Size]byte {
	return [sha256.Size]byte(o.blocks[i*sha256.Size:])
}

// IndexChunk is a run of neighbouring groups of one object.
type IndexChunk struct {
	Object    int
	Offset    int64 // of the first group
	FirstLine int64
	Groups    int64
	Before    int64 // groups of earlier chunks
	list      []byte
}

// GroupRange is where a group lies.
type GroupRange struct {
	Object int
	Offset int64
	Length int64
	Line   int64 // 1-based, of its first row
}

// Ranges decodes the groups of a chunk.
func (c IndexChunk) Ranges() []GroupRange {
	out := make([]GroupRange, 0, c.Groups)
	at, line, rest := c.Offset, c.FirstLine, c.list
	for range c.Groups {
		length, n := binary.Uvarint(rest)
		lines, m := binary.Uvarint(rest[n:])
		rest = rest[n+m:]
		out = append(out, GroupRange{Object: c.Object, Offset: at, Length: int64(length), Line: line})
		at += int64(length)
		line += int64(lines)
	}
	return out
}

const indexMagic = "FKINDEX1"

// ParseIndex reads an index. Every number is checked against the bytes there
// are before anything of its size is allocated.
func ParseIndex(raw []byte) (*Index, error) {
	p := &indexParser{rest: raw}
	x := &Index{raw: raw}
	if !bytes.HasPrefix(raw, []byte(indexMagic)) {
		return nil, rft.Errorf(rft.KindDataLoss, "the dataset's index is not one of this version")
	}
	p.rest = raw[len(indexMagic):]
	for range p.count(1) {
		o := IndexObject{Size: p.number()}
		n := o.Blocks() * sha256.Size
		if p.err == nil && (o.Size > 1<<50 || n > int64(len(p.rest))) {
			p.fail("an object's digests are cut off")
		}
		o.blocks = p.take(n)
		x.Objects = append(x.Objects, o)
	}
	for range p.count(5) {
		c := IndexChunk{Object: int(p.number()), Offset: p.number(), FirstLine: p.number(), Groups: p.number(), Before: x.Groups}
		c.list = p.take(p.number())
		if p.err == nil {
			p.check(c, x.Objects)
		}
		x.Chunks = append(x.Chunks, c)
		x.Groups += c.Groups
		if p.err != nil {
			break
		}
	}
	if p.err == nil && len(p.rest) > 0 {
		p.fail("bytes follow the last chunk")
	}
	if p.err != nil {
		return nil, p.err
	}
	return x, nil
}

type indexParser struct {
	rest []byte
	err  error
}

func (p *indexParser) fail(what string) {
	if p.err == nil {
		p.err = rft.Errorf(rft.KindDataLoss, "the dataset's index is damaged: %s", what)
	}
	p.rest = nil
}

func (p *indexParser) number() int64 {
	v, n := binary.Uvarint(p.rest)
	if n <= 0 || v > 1<<62 {
		p.fail("a number is cut off")
		return 0
	}
	p.rest = p.rest[n:]
	return int64(v)
}

// count reads a number of items of at least size bytes each.
func (p *indexParser) count(size int64) int64 {
	n := p.number()
	if n > int64(len(p.rest))/size {
		p.fail("fewer entries than announced")
		return 0
	}
	return n
}

func (p *indexParser) take(n int64) []byte {
	if p.err != nil || n < 0 || n > int64(len(p.rest)) {
		p.fail("an entry is cut off")
		return nil
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

// check walks the groups of a chunk: they must lie within their object.
func (p *indexParser) check(c IndexChunk, objects []IndexObject) {
	if c.Object >= len(objects) || c.Groups == 0 || c.Groups > int64(len(c.list))/2 {
		p.fail("a chunk without object or groups")
		return
	}
	q := &indexParser{rest: c.list}
	at, size := c.Offset, objects[c.Object].Size
	for range c.Groups {
		length := q.number()
		lines := q.number()
		if q.err != nil || length == 0 || lines == 0 || at > size || length > size-at {
			p.fail("a group outside its object")
			return
		}
		at += length
	}
	if len(q.rest) > 0 {
		p.fail("bytes follow a chunk's groups")
	}
}

// IndexWriter builds an index while a dataset is validated.
type IndexWriter struct {
	objects []IndexObject
	chunks  []byte
	n       int64

	open   IndexChunk
	bytes  int64
	next   int64 // where the next group must begin
	line   int64
	Groups int64
}

// Object adds the next object with the digests of its blocks.
func (w *IndexWriter) Object(size int64, blocks [][sha256.Size]byte) {
	o := IndexObject{Size: size}
	for _, b := range blocks {
		o.blocks = append(o.blocks, b[:]...)
	}
	w.objects = append(w.objects, o)
}

// Group adds the next group. Groups of an object come in order; a group that
// does not follow the one before it begins a new chunk.
func (w *IndexWriter) Group(object int, offset, length, line int64, lines int32) error {
	if length <= 0 || lines <= 0 || offset < 0 || line <= 0 {
		return rft.Errorf(rft.KindInternal, "the engine reported an empty group at line %d", line)
	}
	if w.open.Groups > 0 && (object != w.open.Object || offset != w.next || line != w.line || w.bytes >= ChunkBytes) {
		w.flush()
	}
	if w.open.Groups == 0 {
		w.open = IndexChunk{Object: object, Offset: offset, FirstLine: line, list: w.open.list[:0]}
		w.bytes = 0
	}
	w.open.list = binary.AppendUvarint(w.open.list, uint64(length))
	w.open.list = binary.AppendUvarint(w.open.list, uint64(lines))
	w.open.Groups++
	w.bytes += length
	w.next, w.line = offset+length, line+int64(lines)
	w.Groups++
	return nil
}

func (w *IndexWriter) flush() {
	c := w.open
	for _, v := range []int64{int64(c.Object), c.Offset, c.FirstLine, c.Groups, int64(len(c.list))} {
		w.chunks = binary.AppendUvarint(w.chunks, uint64(v))
	}
	w.chunks = append(w.chunks, c.list...)
	w.open.Groups = 0
	w.n++
}

// Bytes finishes the index and parses it once, so that what is stored can be read.
func (w *IndexWriter) Bytes() ([]byte, error) {
	if w.open.Groups > 0 {
		w.flush()
	}
	out := []byte(indexMagic)
	out = binary.AppendUvarint(out, uint64(len(w.objects)))
	for i, o := range w.objects {
		if int64(len(o.blocks)) != o.Blocks()*sha256.Size {
			return nil, fmt.Errorf("catalog: object %d of %d bytes has %d digests", i, o.Size, len(o.blocks)/sha256.Size)
		}
		out = binary.AppendUvarint(out, uint64(o.Size))
		out = append(out, o.blocks...)
	}
	out = binary.AppendUvarint(out, uint64(w.n))
	out = append(out, w.chunks...)
	_, err := ParseIndex(out)
	return out, err
}
