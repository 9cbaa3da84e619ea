package tensorfile

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// MaxHeader bounds the JSON header of safetensors and of prepared weights.
const MaxHeader = 64 << 20

// Tensor is one tensor of a safetensors file. Data is little-endian and, when
// read, lies in the bytes given to ReadSafetensors.
type Tensor struct {
	Name  string
	DType string // "F32", "F16", "BF16", "I64", ...
	Shape []int
	Data  []byte
}

// dtypeSize gives the bytes per element of the safetensors types.
var dtypeSize = map[string]int{
	"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1,
	"U16": 2, "I16": 2, "F16": 2, "BF16": 2,
	"U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}

// F32 makes a tensor of float32 values, which it may share: they must not change
// while it is in use.
func F32(name string, shape []int, values []float32) Tensor {
	t := Tensor{Name: name, DType: "F32", Shape: shape}
	switch {
	case len(values) == 0:
	case littleEndian():
		t.Data = rawFloats(values)
	default:
		t.Data = make([]byte, 4*len(values))
		for i, v := range values {
			binary.LittleEndian.PutUint32(t.Data[4*i:], math.Float32bits(v))
		}
	}
	return t
}

// Len is the number of elements.
func (t *Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Float32 converts the tensor's values; F32, F16 and BF16 are supported.
func (t *Tensor) Float32() ([]float32, error) {
	decode, ok := floatDecoders[t.DType]
	if !ok {
		return nil, problem("unsupported-dtype", "", t.Name, "dtype %s is not supported; supported are F32, F16 and BF16", t.DType)
	}
	out := make([]float32, t.Len())
	decode(out, t.Data)
	return out, nil
}

var floatDecoders = map[string]func(dst []float32, src []byte){
	"F32": decodeF32, "F16": decodeF16, "BF16": decodeBF16,
}

// halfTypes are the types of 16 bits.
var halfTypes = map[string]block{"F16": {coding: halves}, "BF16": {coding: bfloats}}

// Uint64s reads an integer tensor (I64 or U64), such as a step count.
func (t *Tensor) Uint64s() ([]uint64, error) {
	if t.DType != "I64" && t.DType != "U64" {
		return nil, problem("unsupported-dtype", "", t.Name, "dtype %s where I64 is expected", t.DType)
	}
	out := make([]uint64, t.Len())
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(t.Data[8*i:])
	}
	return out, nil
}

type safetensorsEntry struct {
	DType   string  `json:"dtype"`
	Shape   []int64 `json:"shape"`
	Offsets []int64 `json:"data_offsets"`
}

// ReadSafetensors reads a whole file. Tensors come in the order of their data;
// their Data are views of b.
func ReadSafetensors(b []byte) ([]Tensor, map[string]string, error) {
	entries, meta, base, err := safetensorsHeader(b)
	if err != nil {
		return nil, nil, err
	}
	data := b[base:]
	tensors := make([]Tensor, 0, len(entries))
	for name, e := range entries {
		t, err := e.tensor(name, data)
		if err != nil {
			return nil, nil, err
		}
		tensors = append(tensors, t)
	}
	slices.SortFunc(tensors, func(x, y Tensor) int {
		if c := entries[x.Name].Offsets[0] - entries[y.Name].Offsets[0]; c != 0 {
			return int(c>>63 | 1)
		}
		return strings.Compare(x.Name, y.Name)
	})
	end := int64(0)
	for _, t := range tensors {
		if o := entries[t.Name].Offsets; o[0] < end {
			return nil, nil, problem("bad-safetensors", "", t.Name, "its data overlap another tensor's")
		} else {
			end = o[1]
		}
	}
	return tensors, meta, nil
}

// safetensorsHeader parses length and JSON header; base is where data begin.
func safetensorsHeader(b []byte) (entries map[string]safetensorsEntry, meta map[string]string, base int, err error) {
	if len(b) < 8 {
		return nil, nil, 0, problem("truncated-file", "", "", "%d bytes are too few for a safetensors file", len(b))
	}
	n := binary.LittleEndian.Uint64(b)
	if n > MaxHeader {
		return nil, nil, 0, problem("bad-safetensors", "", "", "the header claims %d bytes; at most %d are accepted", n, MaxHeader)
	}
	if n > uint64(len(b)-8) {
		return nil, nil, 0, problem("truncated-file", "", "", "the header claims %d bytes, the file has %d behind its length", n, len(b)-8)
	}
	raw := map[string]json.RawMessage{}
	if err := json.Unmarshal(b[8:8+n], &raw); err != nil {
		return nil, nil, 0, problem("bad-safetensors", "", "", "the header is not a JSON object")
	}
	if m, ok := raw["__metadata__"]; ok {
		if json.Unmarshal(m, &meta) != nil {
			return nil, nil, 0, problem("bad-safetensors", "", "__metadata__", "is not a map of strings")
		}
		delete(raw, "__metadata__")
	}
	entries = make(map[string]safetensorsEntry, len(raw))
	for name, r := range raw {
		var e safetensorsEntry
		if json.Unmarshal(r, &e) != nil {
			return nil, nil, 0, problem("bad-safetensors", "", name, "its header entry is malformed")
		}
		entries[name] = e
	}
	return entries, meta, 8 + int(n), nil
}

func (e *safetensorsEntry) tensor(name string, data []byte) (Tensor, error) {
	size, ok := dtypeSize[e.DType]
	if !ok {
		return Tensor{}, problem("unsupported-dtype", "", name, "dtype %.20q is not supported", e.DType)
	}
	shape, n, ok := checkedShape(e.Shape)
	if !ok {
		return Tensor{}, problem("bad-safetensors", "", name, "its shape is impossible")
	}
	if len(e.Offsets) != 2 || e.Offsets[0] < 0 || e.Offsets[1] < e.Offsets[0] {
		return Tensor{}, problem("bad-safetensors", "", name, "its data_offsets are impossible")
	}
	if e.Offsets[1] > int64(len(data)) {
		return Tensor{}, problem("truncated-file", "", name, "its data end at byte %d, the file holds %d bytes of data", e.Offsets[1], len(data))
	}
	if span := e.Offsets[1] - e.Offsets[0]; n > span || n*int64(size) != span {
		return Tensor{}, problem("bad-safetensors", "", name, "%d elements of %s do not fill its %d bytes", n, e.DType, span)
	}
	return Tensor{Name: name, DType: e.DType, Shape: shape, Data: data[e.Offsets[0]:e.Offsets[1]]}, nil
}

// checkedShape multiplies dimensions without overflow; at most 2^40 elements.
func checkedShape(dims []int64) (shape []int, n int64, ok bool) {
	if len(dims) > 8 {
		return nil, 0, false
	}
	n = 1
	for _, d := range dims {
		if d < 0 || d > 1<<40 || n > 1<<40 {
			return nil, 0, false
		}
		if n *= d; n < 0 || n > 1<<40 && d != 0 {
			return nil, 0, false
		}
		shape = append(shape, int(d))
	}
	return shape, n, true
}

// WriteSafetensors writes tensors in the given order. The same input gives the
// same bytes: keys of the header stand in data order, metadata sorted.
func WriteSafetensors(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	header, err := safetensorsHeaderBytes(tensors, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, t := range tensors {
		if _, err := w.Write(t.Data); err != nil {
			return err
		}
	}
	return nil
}

func safetensorsHeaderBytes(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	var h bytes.Buffer
	h.Write(make([]byte, 8))
	h.WriteByte('{')
	if len(metadata) > 0 {
		m, _ := json.Marshal(metadata) // json sorts the keys of maps
		fmt.Fprintf(&h, `"__metadata__":%s`, m)
	}
	seen, at := map[string]bool{}, 0
	for _, t := range tensors {
		if size := dtypeSize[t.DType]; size == 0 || t.Len()*size != len(t.Data) || seen[t.Name] {
			return nil, problem("bad-tensor", "", t.Name, "%s of shape %v with %d bytes cannot be written", t.DType, t.Shape, len(t.Data))
		}
		seen[t.Name] = true
		if h.Len() > 9 {
			h.WriteByte(',')
		}
		name, _ := json.Marshal(t.Name)
		shape, _ := json.Marshal(append([]int{}, t.Shape...))
		fmt.Fprintf(&h, `%s:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, t.DType, shape, at, at+len(t.Data))
		at += len(t.Data)
	}
	h.WriteByte('}')
	for h.Len()%8 != 0 {
		h.WriteByte(' ')
	}
	b := h.Bytes()
	binary.LittleEndian.PutUint64(b, uint64(len(b)-8))
	return b, nil
}
