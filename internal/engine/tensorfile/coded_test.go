package tensorfile

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// halvesAt is where blocks of a type have values of binary16; -1 is every second byte.
var halvesAt = map[string][]int{
	"F16": {-1}, "BF16": {-1}, "Q4_0": {0}, "Q4_1": {0, 2}, "Q5_0": {0}, "Q5_1": {0, 2}, "Q8_0": {0}, "Q4_K": {0, 2}, "Q5_K": {0, 2}, "Q6_K": {208},
}

// randomBlocks returns n blocks whose values are finite: subnormal and negative scales,
// zeros and the largest ones among them.
func randomBlocks(r *rand.Rand, b *block, n int) []byte {
	data := make([]byte, n*b.size)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	finite := func(at []byte) {
		if h := binary.LittleEndian.Uint16(at); b.name == "BF16" && h&0x7f80 == 0x7f80 || b.name != "BF16" && h&0x7c00 == 0x7c00 {
			binary.LittleEndian.PutUint16(at, h&^0x4000)
		}
	}
	for at := 0; at < len(data); at += b.size {
		for _, h := range halvesAt[b.name] {
			finite(data[at+max(h, 0):])
		}
	}
	return data
}

// TestCodesGiveBackTheirValues holds, for every storage type and kernel level, what the
// kernels make of the codes to the values of the type's own decoding, bit by bit.
func TestCodesGiveBackTheirValues(t *testing.T) {
	defer kernel.Use(kernel.Active())
	const n, k = 40, 512
	for number, b := range ggmlTypes {
		if b.coding.Kind == kernel.Plain {
			continue
		}
		r := rand.New(rand.NewPCG(1, uint64(number)))
		x := GGUFTensor{Name: "x", Type: b.name, Shape: []int{n, k}, Data: randomBlocks(r, &b, n*k/b.elements), block: b}
		w, ok := ggufWeight(&engine.Config{}, &Family{}, map[string]*GGUFTensor{"token_embd.weight": &x}, "embed")
		if !ok || w.coding != b.coding {
			t.Fatalf("%s is held as %+v", b.name, w.coding)
		}
		e := tableEntry{Name: "embed", N: n, K: k, Coding: w.coding}
		for _, level := range kernel.Detect() {
			kernel.Use(level)
			var out bytes.Buffer
			if err := writeTensor(&out, e, w, "x"); err != nil {
				t.Fatalf("%s on %v: %v", b.name, level, err)
			}
			if int64(out.Len()) != e.bytes() || out.Len() > 2*kernel.PackedLen(n, k) {
				t.Errorf("%s: %d bytes, the table says %d", b.name, out.Len(), e.bytes())
			}
			data := aligned(out.Bytes())
			p := &Prepared{data: data, table: map[string]tableEntry{"embed": {Name: "embed", N: n, K: k, Coding: w.coding, Length: int64(len(data))}}}
			m, err := p.Packed("embed")
			if err != nil {
				t.Fatal(err)
			}
			got, want := make([]float32, k), make([]float32, k)
			for i := range n {
				m.Row(got, i)
				x.Float32(want, i*k)
				for j := range want {
					if math.Float32bits(got[j]) != math.Float32bits(want[j]) {
						t.Fatalf("%s on %v: [%d %d] is %g, decoded it is %g", b.name, level, i, j, got[j], want[j])
					}
				}
			}
		}
	}
}

// TestCodesThatLoseAreRefused: a row whose codes are worth anything else than its values
// is never written.
func TestCodesThatLoseAreRefused(t *testing.T) {
	b := ggmlTypes[8]
	x := GGUFTensor{Name: "x", Shape: []int{32, 32}, Data: make([]byte, 32*b.size), block: b}
	w, _ := ggufWeight(&engine.Config{}, &Family{}, map[string]*GGUFTensor{"token_embd.weight": &x}, "embed")
	plain := w.row
	w.row = func(dst []float32, i int) {
		plain(dst, i)
		if i == 31 {
			dst[31] = 1e-30
		}
	}
	err := writeTensor(&bytes.Buffer{}, tableEntry{Name: "embed", N: 32, K: 32, Coding: w.coding}, w, "x")
	if err == nil || !strings.Contains(err.Error(), "give back") {
		t.Errorf("%v", err)
	}
	w.row = func(dst []float32, _ int) { dst[3] = float32(math.Inf(1)) }
	if err := writeTensor(&bytes.Buffer{}, tableEntry{Name: "embed", N: 32, K: 32, Coding: w.coding}, w, "x"); err == nil || !strings.Contains(err.Error(), "not finite") {
		t.Errorf("%v", err)
	}
}

// TestPreparedStaysSmall: the demo model's file has its weights in the bits that it was
// stored in; a merge leaves what it does not change as it is.
func TestPreparedStaysSmall(t *testing.T) {
	p, info, err := prepare(t, map[string][]byte{"demo.gguf": demoGGUF(t)})
	if err != nil {
		t.Fatal(err)
	}
	if info.Size > info.Parameters*9/8 {
		t.Errorf("%d bytes for %d parameters of four and eight bits", info.Size, info.Parameters)
	}
	q, err := p.Packed("layers.3.q_proj")
	if err != nil || q.Coding != nibbles {
		t.Fatalf("q_proj is held as %+v, %v", q.Coding, err)
	}
	change := func(name string) func(row []float32, i int) {
		if name != "layers.3.q_proj" {
			return nil
		}
		return func(row []float32, i int) { row[5] += float32(i) }
	}
	var out bytes.Buffer
	if _, err := Merge(context.Background(), p, "sha256:0", change, &out, Options{Name: "merged"}); err != nil {
		t.Fatal(err)
	}
	merged, err := OpenPrepared(aligned(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	old, now := make([]float32, q.K), make([]float32, q.K)
	changed, _ := merged.Packed("layers.3.q_proj")
	for _, i := range []int{0, 33, 575} {
		q.Row(old, i)
		changed.Row(now, i)
		old[5] += float32(i)
		if changed.Coding != (kernel.Coding{}) || !slices.Equal(old, now) {
			t.Fatalf("row %d of the changed matrix, held as %+v, is not the changed row", i, changed.Coding)
		}
	}
	for _, name := range []string{"embed", "layers.3.k_proj", "layers.29.down_proj"} {
		a, _ := p.Packed(name)
		b, err := merged.Packed(name)
		if err != nil || a.Coding != b.Coding || !bytes.Equal(rawFloats(a.Data), rawFloats(b.Data)) {
			t.Errorf("%s changed: %+v, %v", name, b.Coding, err)
		}
	}
}

// TestFormats: a file of the first format, which knew no codings, stays readable; a
// later one, and a coding that does not fit, are refused by name.
func TestFormats(t *testing.T) {
	b := tinyPrepared(t)
	for version, want := range map[byte]string{0: "format 0", 1: "", 2: "", 3: "format 3"} {
		b[7] = version
		_, err := OpenPrepared(aligned(b))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("format %d: %v", version, err)
		}
	}
	b[7] = 2
	for with, want := range map[string]string{
		`{"kind":"q4","block":32}`: "layers.0.q_proj", `{"kind":"q4","block":0}`: "layers.0.q_proj", `{"kind":"q5","block":32}`: "valid JSON", `{"kind":"q8","block":-16}`: "layers.0.q_proj",
	} {
		// The header may be longer: it ends in zeros up to a page.
		old := []byte(`"name":"layers.0.q_proj",`)
		changed := bytes.Replace(bytes.Clone(b), old, append(bytes.Clone(old), `"coding":`+with+`,`...), 1)
		grown := len(changed) - len(b)
		if grown == 0 {
			t.Fatal("the header has no q_proj")
		}
		n := binary.LittleEndian.Uint64(b[8:])
		base := align(int64(16+n), pageAlign)
		if align(int64(16+n)+int64(grown), pageAlign) != base {
			t.Fatal("the header fills its pages")
		}
		changed = append(changed[:base], b[base:]...)
		binary.LittleEndian.PutUint64(changed[8:], n+uint64(grown))
		if _, err := OpenPrepared(aligned(changed)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", with, err)
		}
	}
}

// TestMergeReadsEachMatrix: matrices of one panel each are read one after another
// through the same memory.
func TestMergeReadsEachMatrix(t *testing.T) {
	for name, b := range map[string][]byte{"float32": tinyPrepared(t), "bfloat16": tinyCoded(t)} {
		p, err := OpenPrepared(aligned(b))
		if err != nil {
			t.Fatal(err)
		}
		touched := func(string) func([]float32, int) { return func(row []float32, i int) { row[0] += float32(i) } }
		var out bytes.Buffer
		if _, err := Merge(context.Background(), p, "sha256:0", touched, &out, Options{Name: "merged"}); err != nil {
			t.Fatal(err)
		}
		merged, err := OpenPrepared(aligned(out.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		c := p.Config()
		for _, e := range tensorPlan(&c) {
			if e.N == 0 {
				continue
			}
			was, _ := p.Packed(e.Name)
			is, err := merged.Packed(e.Name)
			if err != nil {
				t.Fatal(err)
			}
			old, now := make([]float32, e.K), make([]float32, e.K)
			for i := range e.N {
				was.Row(old, i)
				is.Row(now, i)
				if old[0] += float32(i); !slices.Equal(old, now) {
					t.Fatalf("%s, %s: row %d is %v, not %v", name, e.Name, i, now, old)
				}
			}
		}
	}
}
