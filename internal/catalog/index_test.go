package catalog

import (
	"bytes"
	"crypto/sha256"
	"reflect"
	"testing"

	"github.com/firekeep/firekeep/internal/rft"
)

func sample(t testing.TB) []byte {
	t.Helper()
	w := &IndexWriter{}
	groups := []struct {
		object               int
		offset, length, line int64
		lines                int32
	}{{0, 0, 100, 1, 1}, {0, 100, ChunkBytes, 2, 3}, {0, 100 + ChunkBytes, 7, 5, 1}, {1, 10, 20, 4, 2}, {1, 40, 5, 9, 1}}
	for _, g := range groups {
		if err := w.Group(g.object, g.offset, g.length, g.line, g.lines); err != nil {
			t.Fatal(err)
		}
	}
	size := int64(107 + ChunkBytes)
	blocks := make([][sha256.Size]byte, (size+BlockBytes-1)/BlockBytes)
	for i := range blocks {
		blocks[i][0] = byte(i)
	}
	w.Object(size, blocks)
	w.Object(45, blocks[:1])
	raw, err := w.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestIndexRoundTrip(t *testing.T) {
	x, err := ParseIndex(sample(t))
	if err != nil {
		t.Fatal(err)
	}
	var got []GroupRange
	for _, c := range x.Chunks {
		got = append(got, c.Ranges()...)
	}
	want := []GroupRange{{0, 0, 100, 1}, {0, 100, ChunkBytes, 2}, {0, 100 + ChunkBytes, 7, 5}, {1, 10, 20, 4}, {1, 40, 5, 9}}
	if !reflect.DeepEqual(got, want) || x.Groups != 5 {
		t.Errorf("groups %v", got)
	}
	// A full chunk, another object and a gap each begin a new chunk.
	if len(x.Chunks) != 4 || x.Chunks[3].Before != 4 {
		t.Errorf("%d chunks", len(x.Chunks))
	}
	if x.Objects[0].Blocks() != 9 || x.Objects[0].Digest(3)[0] != 3 {
		t.Errorf("objects %+v", x.Objects[0].Size)
	}
}

func TestIndexWriterRefusesWhatCannotBeRead(t *testing.T) {
	w := &IndexWriter{}
	for _, g := range [][4]int64{{0, 0, 1, 1}, {0, -1, 1, 1}, {0, 5, 1, 0}} {
		if err := w.Group(0, g[0], g[1], g[2], int32(g[3])); err == nil {
			t.Errorf("group %v was taken", g)
		}
	}
	if err := w.Group(0, 0, 100, 1, 1); err != nil {
		t.Fatal(err)
	}
	w.Object(50, make([][sha256.Size]byte, 1))
	if _, err := w.Bytes(); err == nil {
		t.Error("a group reaches past its object")
	}
}

// TestIndexDamage: every single flipped bit either changes nothing that is
// checked elsewhere (a digest, a number) or is refused; none panics.
func TestIndexDamage(t *testing.T) {
	raw := sample(t)
	for i := range raw {
		if _, err := ParseIndex(raw[:i]); err == nil {
			t.Errorf("an index cut off at %d of %d was taken", i, len(raw))
		}
	}
	if _, err := ParseIndex(append(bytes.Clone(raw), 0)); rft.KindOf(err) != rft.KindDataLoss {
		t.Errorf("a byte too many: %v", err)
	}
	huge := append([]byte(indexMagic), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f)
	if _, err := ParseIndex(huge); rft.KindOf(err) != rft.KindDataLoss {
		t.Errorf("2^62 objects: %v", err)
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(sample(f))
	f.Add([]byte(indexMagic + "\x00\x00"))
	f.Add([]byte(indexMagic + "\x01\x00\x01\x00\x00\x01\x01\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		x, err := ParseIndex(raw)
		if err != nil {
			return
		}
		var n int64
		for _, c := range x.Chunks {
			for _, r := range c.Ranges() {
				if r.Offset < 0 || r.Length <= 0 || r.Offset+r.Length > x.Objects[r.Object].Size {
					t.Fatalf("%+v lies outside its object", r)
				}
				n++
			}
		}
		if n != x.Groups {
			t.Fatalf("%d groups, %d announced", n, x.Groups)
		}
	})
}
