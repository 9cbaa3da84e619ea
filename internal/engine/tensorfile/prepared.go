package tensorfile

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"unsafe"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// A prepared file is
//
//	8 bytes   magic with the format's version
//	8 bytes   length of the header, little endian
//	header    JSON: preparedHeader
//	zeros     up to a multiple of 4096: here data begin
//	data      the tokenizer blob, then the tensors, each on a multiple of 64
//
// Values are little-endian float32; matrices lie in panels of kernel.Packed, in the
// coding that their entry names. A
// tensor whose name ends in ".bf16" holds Packed.BF16 of the matrix named before
// it; a file has them for all matrices that passes multiply with, or for none.
const (
	magic       = "FKPREP\x00\x02"
	oldest      = 1 // format that is still read: one without codings
	layout      = "panel32"
	pageAlign   = 4096
	tensorAlign = 64
)

type preparedHeader struct {
	Layout     string        `json:"layout"`
	Config     engine.Config `json:"config"`
	Source     string        `json:"source"` // digest of the files it was made from
	Parameters int64         `json:"parameters"`
	Tokenizer  int64         `json:"tokenizer"` // bytes of the blob at the start of data
	Template   string        `json:"chatTemplate"`
	Tensors    []tableEntry  `json:"tensors"`
}

// tableEntry places a tensor. Offset counts from the start of data.
type tableEntry struct {
	Name   string `json:"name"`
	N      int    `json:"n,omitempty"` // rows; 0 = a vector of K
	K      int    `json:"k"`
	Offset int64  `json:"offset"`
	Length int64  `json:"length"`
	// Coding is how the matrix is held: float32 unless the model stored it smaller.
	Coding kernel.Coding `json:"coding,omitzero"`
}

const roundedSuffix = ".bf16"

// rounded is the entry of the matrix e in bfloat16.
func (e tableEntry) rounded() tableEntry {
	return tableEntry{Name: e.Name + roundedSuffix, N: e.N, K: e.K}
}

func (e tableEntry) isRounded() bool { return strings.HasSuffix(e.Name, roundedSuffix) }

// multiplied says whether passes multiply with e: an embedding that is not the
// head too is only looked up.
func (e tableEntry) multiplied(c *engine.Config) bool {
	return e.N > 0 && (e.Name != "embed" || c.Tied)
}

// bytes is the length that the shape requires.
func (e tableEntry) bytes() int64 {
	switch {
	case e.N == 0:
		return 4 * int64(e.K)
	case e.isRounded():
		return 2 * int64(kernel.BF16Len(e.N, e.K))
	}
	return 4 * int64(e.Coding.CodedLen(e.N, e.K))
}

// Prepared is an opened prepared file: views into its bytes.
type Prepared struct {
	header preparedHeader
	data   []byte // from the start of data
	table  map[string]tableEntry
}

// OpenPrepared checks header and bounds of mapped bytes. The bytes must start
// at an address aligned to 64 (a mapping does) and stay unchanged and mapped
// as long as anything got from the result is in use.
func OpenPrepared(b []byte) (*Prepared, error) {
	if !littleEndian() {
		return nil, problem("unsupported-host", "", "", "prepared weights need a little-endian processor")
	}
	if len(b) < 16 || string(b[:6]) != magic[:6] {
		return nil, problem("bad-prepared", "", "", "these are not prepared weights")
	}
	if b[7] < oldest || string(b[:8]) > magic {
		return nil, problem("bad-prepared", "", "", "prepared weights of format %d, this program reads format %d; import the model again", b[7], magic[7])
	}
	n := binary.LittleEndian.Uint64(b[8:])
	if n > MaxHeader || n > uint64(len(b)-16) {
		return nil, problem("truncated-file", "", "", "the header claims %d bytes, the file has %d", n, len(b))
	}
	p := &Prepared{table: map[string]tableEntry{}}
	if json.Unmarshal(b[16:16+n], &p.header) != nil {
		return nil, problem("bad-prepared", "", "", "the header is not valid JSON")
	}
	if p.header.Layout != layout {
		return nil, problem("bad-prepared", "", "", "layout %.20q; this program reads %s", p.header.Layout, layout)
	}
	base := align(int64(16+n), pageAlign)
	if base > int64(len(b)) {
		return nil, problem("truncated-file", "", "", "the file ends inside its header")
	}
	if p.data = b[base:]; len(p.data) > 0 && uintptr(unsafe.Pointer(&p.data[0]))%tensorAlign != 0 {
		return nil, problem("bad-alignment", "", "", "prepared weights must be mapped at a multiple of %d bytes", tensorAlign)
	}
	return p, p.check()
}

func littleEndian() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 1
}

// check compares the table with what the configuration requires.
func (p *Prepared) check() error {
	if err := checkConfig(&p.header.Config, ""); err != nil {
		return err
	}
	if !slices.Contains(engine.Families, p.header.Config.Family) {
		return problem("unsupported-architecture", "", "", "family %.40q is not supported", p.header.Config.Family)
	}
	if p.header.Tokenizer < 0 || p.header.Tokenizer > int64(len(p.data)) {
		return problem("truncated-file", "", "", "the file ends inside the tokeniser")
	}
	stored := make(map[string]tableEntry, len(p.header.Tensors))
	for _, e := range p.header.Tensors {
		stored[e.Name] = e
	}
	if len(stored) < 9*p.header.Config.Layers {
		return problem("missing-tensor", "", "", "%d tensors are too few for %d layers", len(stored), p.header.Config.Layers)
	}
	plan := tensorPlan(&p.header.Config)
	if _, ok := stored["layers.0."+engine.Targets[0]+roundedSuffix]; ok {
		for _, e := range plan {
			if e.multiplied(&p.header.Config) {
				plan = append(plan, e.rounded())
			}
		}
	}
	for _, want := range plan {
		e, ok := stored[want.Name]
		if !ok {
			return problem("missing-tensor", "", want.Name, "the prepared weights lack this tensor")
		}
		want.Coding = e.Coding
		if !e.Coding.Valid(e.K) || e.Coding != (kernel.Coding{}) && (e.N == 0 || e.isRounded()) {
			return problem("wrong-shape", "", want.Name, "its coding is impossible")
		}
		length := want.bytes()
		if e.N != want.N || e.K != want.K || e.Length != length {
			return problem("wrong-shape", "", want.Name, "its shape is [%d %d]; the configuration requires [%d %d]", e.N, e.K, want.N, want.K)
		}
		if e.Offset < p.header.Tokenizer || e.Offset%tensorAlign != 0 || e.Offset > int64(len(p.data)) || length > int64(len(p.data))-e.Offset {
			return problem("truncated-file", "", want.Name, "its data lie outside the file of %d data bytes", len(p.data))
		}
		p.table[want.Name] = e
	}
	return nil
}

// Config is the model's configuration.
func (p *Prepared) Config() engine.Config { return p.header.Config }

// Tokenizer is the blob for token.New.
func (p *Prepared) Tokenizer() []byte { return p.data[:p.header.Tokenizer:p.header.Tokenizer] }

// ChatTemplate is the model's Jinja source, "" without one.
func (p *Prepared) ChatTemplate() string { return p.header.Template }

// Source is the digest of the files the weights were made from.
func (p *Prepared) Source() string { return p.header.Source }

// Parameters counts the model's values; a tied head counts once.
func (p *Prepared) Parameters() int64 { return p.header.Parameters }

// Packed is a view of a matrix; "head" of a tied model is the embedding.
func (p *Prepared) Packed(name string) (*kernel.Packed, error) {
	if name == "head" && p.header.Config.Tied {
		name = "embed"
	}
	e, ok := p.table[name]
	if !ok || e.N == 0 {
		return nil, problem("missing-tensor", "", strings.ToValidUTF8(name, "?"), "the prepared weights have no such matrix")
	}
	return &kernel.Packed{N: e.N, K: e.K, Data: p.floats(e), Coding: e.Coding}, nil
}

// BF16 is a view of the same matrix in bfloat16, nil where the file has none.
func (p *Prepared) BF16(name string) []uint16 {
	if name == "head" && p.header.Config.Tied {
		name = "embed"
	}
	e, ok := p.table[name+roundedSuffix]
	if !ok {
		return nil
	}
	return unsafe.Slice((*uint16)(unsafe.Pointer(&p.data[e.Offset])), e.Length/2)
}

// Vector is a view of a norm's weights.
func (p *Prepared) Vector(name string) ([]float32, error) {
	e, ok := p.table[name]
	if !ok || e.N != 0 {
		return nil, problem("missing-tensor", "", strings.ToValidUTF8(name, "?"), "the prepared weights have no such vector")
	}
	return p.floats(e), nil
}

func (p *Prepared) floats(e tableEntry) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(&p.data[e.Offset])), e.Length/4)
}
