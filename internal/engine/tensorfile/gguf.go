package tensorfile

import (
	"encoding/binary"
	"math"
)

// GGUF is a parsed GGUF file, version 2 or 3, little-endian.
type GGUF struct {
	Version uint32
	// Meta values are uint64, int64, float64, bool, string, or a slice of one
	// of these ([]uint64, []int64, []float64, []bool, []string).
	Meta    map[string]any
	Tensors []GGUFTensor
}

// GGUFTensor is one tensor. Shape is in row-major order, outermost first (the
// file stores it the other way round). Data lies in the file's bytes.
type GGUFTensor struct {
	Name  string
	Type  string // "F32", "Q4_1", ...
	Shape []int
	Data  []byte
	block block
}

// Float32 decodes elements [from, from+len(dst)); both are multiples of the
// type's block.
func (t *GGUFTensor) Float32(dst []float32, from int) {
	t.block.decode(dst, t.Data[from/t.block.elements*t.block.size:])
}

// Bounds of what a GGUF header may claim; the bytes at hand bound it further.
const (
	maxGGUFKeys    = 1 << 16
	maxGGUFTensors = 1 << 18
	maxGGUFString  = 16 << 20
)

// cursor reads little-endian fields and remembers that it ran out of bytes.
type cursor struct {
	b    []byte
	at   int
	fail bool
}

func (c *cursor) take(n uint64) []byte {
	if c.fail || n > uint64(len(c.b)-c.at) {
		c.fail = true
		return nil
	}
	s := c.b[c.at : c.at+int(n)]
	c.at += int(n)
	return s
}

func (c *cursor) u32() uint32 {
	if s := c.take(4); s != nil {
		return binary.LittleEndian.Uint32(s)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if s := c.take(8); s != nil {
		return binary.LittleEndian.Uint64(s)
	}
	return 0
}

func (c *cursor) str() string {
	n := c.u64()
	if n > maxGGUFString {
		c.fail = true
		return ""
	}
	return string(c.take(n))
}

// ReadGGUF parses b. Tensor data are views of b.
func ReadGGUF(b []byte) (*GGUF, error) {
	c := &cursor{b: b}
	if string(c.take(4)) != "GGUF" {
		return nil, problem("bad-gguf", "", "", "this is not a GGUF file")
	}
	g := &GGUF{Version: c.u32(), Meta: map[string]any{}}
	if !c.fail && g.Version != 2 && g.Version != 3 {
		return nil, problem("bad-gguf", "", "", "GGUF version %d is not supported; supported are 2 and 3, little-endian", g.Version)
	}
	tensors, keys := c.u64(), c.u64()
	if !c.fail && (tensors > maxGGUFTensors || keys > maxGGUFKeys) {
		return nil, problem("bad-gguf", "", "", "the header claims %d tensors and %d keys", tensors, keys)
	}
	for range keys {
		key := c.str()
		value, err := c.value(key, c.u32())
		if err != nil {
			return nil, err
		}
		if c.fail {
			break
		}
		g.Meta[key] = value
	}
	offsets := []uint64{}
	for range tensors {
		t, offset, err := c.tensorInfo()
		if err != nil {
			return nil, err
		}
		if c.fail {
			break
		}
		g.Tensors, offsets = append(g.Tensors, t), append(offsets, offset)
	}
	if c.fail {
		return nil, problem("truncated-file", "", "", "the file ends inside its header")
	}
	return g, g.locate(c, offsets)
}

// locate points each tensor at its data.
func (g *GGUF) locate(c *cursor, offsets []uint64) error {
	align := uint64(32)
	if a, ok := g.Meta["general.alignment"].(uint64); ok {
		if a == 0 || a > 1<<20 || a&(a-1) != 0 {
			return problem("bad-gguf", "", "general.alignment", "is %d", a)
		}
		align = a
	}
	base := (uint64(c.at) + align - 1) &^ (align - 1)
	for i := range g.Tensors {
		t := &g.Tensors[i]
		n := uint64(1)
		for _, d := range t.Shape {
			n *= uint64(d)
		}
		size := n / uint64(t.block.elements) * uint64(t.block.size)
		if offsets[i]%align != 0 || offsets[i] > 1<<62 {
			return problem("bad-gguf", "", t.Name, "its offset %d is impossible", offsets[i])
		}
		if end := base + offsets[i] + size; end > uint64(len(c.b)) {
			return problem("truncated-file", "", t.Name, "its data end at byte %d, the file has %d bytes", end, len(c.b))
		}
		t.Data = c.b[base+offsets[i]:][:size]
	}
	return nil
}

func (c *cursor) tensorInfo() (t GGUFTensor, offset uint64, err error) {
	t.Name = c.str()
	dims := c.u32()
	if !c.fail && (dims > 4 || len(t.Name) > 1024) {
		return t, 0, problem("bad-gguf", "", "", "a tensor has %d dimensions and a name of %d bytes", dims, len(t.Name))
	}
	shape := make([]int64, min(dims, 4))
	for i := range shape {
		shape[len(shape)-1-i] = int64(min(c.u64(), math.MaxInt64))
	}
	kind := c.u32()
	offset = c.u64()
	if c.fail {
		return t, 0, nil
	}
	var n int64
	var ok bool
	if t.Shape, n, ok = checkedShape(shape); !ok {
		return t, 0, problem("bad-gguf", "", t.Name, "its shape %v is impossible", shape)
	}
	if t.block, ok = ggmlTypes[kind]; !ok {
		name := ggmlNames[kind]
		if name == "" {
			name = "unknown"
		}
		return t, 0, problem("unsupported-dtype", "", t.Name,
			"type %s (%d) is not supported; supported are F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K", name, kind)
	}
	t.Type = t.block.name
	inner := int64(1)
	if len(shape) > 0 {
		inner = shape[len(shape)-1]
	}
	if e := int64(t.block.elements); n%e != 0 || inner%e != 0 {
		return t, 0, problem("bad-gguf", "", t.Name, "rows of %d elements do not fill blocks of %d", inner, e)
	}
	return t, offset, nil
}

// value reads one metadata value of the given type number.
func (c *cursor) value(key string, kind uint32) (any, error) {
	if kind == 9 {
		elem, n := c.u32(), c.u64()
		return c.array(key, elem, n)
	}
	return c.scalar(key, kind)
}

func (c *cursor) scalar(key string, kind uint32) (any, error) {
	if kind == 8 {
		return c.str(), nil
	}
	size, ok := scalarSize[kind]
	if !ok {
		if c.fail {
			return nil, nil
		}
		return nil, problem("bad-gguf", "", key, "has the unknown type %d", kind)
	}
	var bits [8]byte
	copy(bits[:], c.take(size))
	u := binary.LittleEndian.Uint64(bits[:])
	switch kind {
	case 1:
		return int64(int8(u)), nil
	case 3:
		return int64(int16(u)), nil
	case 5:
		return int64(int32(u)), nil
	case 11:
		return int64(u), nil
	case 6:
		return float64(math.Float32frombits(uint32(u))), nil
	case 12:
		return math.Float64frombits(u), nil
	case 7:
		return u != 0, nil
	}
	return u, nil
}

// scalarSize: bytes of GGUF's scalar types by number (8 is string, 9 array).
var scalarSize = map[uint32]uint64{0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

// array reads n elements. Its length is checked against the bytes left, so a
// claim costs nothing.
func (c *cursor) array(key string, kind uint32, n uint64) (any, error) {
	size := scalarSize[kind]
	if kind == 8 {
		size = 8
	}
	if !c.fail && size == 0 {
		return nil, problem("bad-gguf", "", key, "is an array of the unsupported type %d", kind)
	}
	if c.fail || n > uint64(len(c.b)-c.at)/size {
		c.fail = true
		return nil, nil
	}
	switch kind {
	case 8:
		return arrayOf[string](c, key, kind, n)
	case 7:
		return arrayOf[bool](c, key, kind, n)
	case 6, 12:
		return arrayOf[float64](c, key, kind, n)
	case 1, 3, 5, 11:
		return arrayOf[int64](c, key, kind, n)
	}
	return arrayOf[uint64](c, key, kind, n)
}

func arrayOf[T any](c *cursor, key string, kind uint32, n uint64) (any, error) {
	out := []T{}
	for range n {
		v, err := c.scalar(key, kind)
		if err != nil || c.fail {
			return nil, err
		}
		out = append(out, v.(T))
	}
	return out, nil
}
