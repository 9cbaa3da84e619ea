package kernel

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unsafe"
)

// Coded weights are those of a model that was stored in fewer than 32 bits each: they
// stay so, and a product makes float32 values of a block of them just before it
// multiplies. The values are bit by bit those of the file's own decoding, so no
// result depends on it: what shrinks is the memory, and what a token reads of it.

// CodeKind says what a code is.
type CodeKind uint8

const (
	Plain    CodeKind = iota // no codes: float32 values
	Code4                    // a nibble; Coding.Zero is taken off it
	Code8                    // int8
	CodeBF16                 // the upper half of a float32
	CodeF16                  // IEEE 754 binary16
)

// Coding is how a packed matrix holds its weights. The zero value is float32.
//
// Code4 and Code8 have a step and a least value per output and Block k's, which
// divides Panel:
//
//	W[i][k] = step * code + least
//
// where step * code has at most 24 significant bits, as in every format that
// stores scales in binary16: then it makes no difference whether a processor
// fuses the two. The 32 steps, the 32 least values and the codes of a block of a
// panel lie one behind the other:
//
//	float32 step[32], least[32]; then
//	Code4: for each 8 k's 32 words, of output j the nibbles of k, k+1, ... from the lowest
//	Code8: for each k 32 bytes
//
// The two 16-bit kinds are values, 32 for each k.
type Coding struct {
	Kind  CodeKind `json:"kind"`
	Block int      `json:"block,omitempty"` // k's that share a step: 16 or 32
	Zero  int      `json:"zero,omitempty"`  // of Code4: 0 to 15
}

// width is the float32 values that a panel's share of one k takes, steps included.
func (c Coding) width() int {
	switch c.Kind {
	case Code4:
		return Panel/8 + 2*Panel/c.Block
	case Code8:
		return Panel/4 + 2*Panel/c.Block
	case CodeBF16, CodeF16:
		return Panel / 2
	}
	return Panel
}

// Valid says whether a matrix of depth k can be coded so.
func (c Coding) Valid(k int) bool {
	switch c.Kind {
	case Plain, CodeBF16, CodeF16:
		return c.Block == 0 && c.Zero == 0
	case Code4, Code8:
		return (c.Block == 16 || c.Block == Panel) && k%Panel == 0 && c.Zero >= 0 && c.Zero < 16 && (c.Kind == Code4 || c.Zero == 0)
	}
	return false
}

// CodedLen is the length of Packed.Data for W [n, k].
func (c Coding) CodedLen(n, k int) int { return PackedLen(n, k) / Panel * c.width() }

// at is where panel p from depth k on begins in Data.
func (w *Packed) at(p, k int) int { return (p*w.K + k) * w.Coding.width() }

// Expand sets dst[kk][j] to the float32 weights W[p*Panel+j][k+kk] of n k's. k and n are
// multiples of Panel; n may end with the depth.
func (w *Packed) Expand(dst []float32, p, k, n int) {
	_, _ = dst[n*Panel-1], w.Data[w.at(p, k)+n*w.Coding.width()-1]
	if w.Coding.Kind == Plain {
		copy(dst[:n*Panel], w.Data[w.at(p, k):])
		return
	}
	active.expand(dst, w.Data[w.at(p, k):], w.Coding, n)
}

// Floats returns panel p in float32: in place where it lies so, else expanded into room.
func (w *Packed) Floats(room []float32, p int) []float32 {
	if w.Coding.Kind == Plain {
		return w.Data[w.at(p, 0):w.at(p+1, 0)]
	}
	w.Expand(room, p, 0, w.K)
	return room
}

// expandFunc makes float32 values of n k's of a panel, whole blocks of them: see Coding.
type expandFunc func(dst, src []float32, c Coding, n int)

// bytesOf is the memory of x: codes must not pass through float32 values, which a
// processor may alter.
func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

func expandGo(dst, src []float32, c Coding, n int) {
	b := bytesOf(src)
	if c.Kind == CodeBF16 || c.Kind == CodeF16 {
		for i := range n * Panel {
			h := binary.LittleEndian.Uint16(b[2*i:])
			if c.Kind == CodeBF16 {
				dst[i] = math.Float32frombits(uint32(h) << 16)
			} else {
				dst[i] = FloatF16(h)
			}
		}
		return
	}
	for k := 0; k < n; k += c.Block {
		block := b[k*4*c.width():]
		for kk := range c.Block {
			d := dst[(k+kk)*Panel : (k+kk+1)*Panel]
			for j := range d {
				code := c.code(block[8*Panel:], kk, j)
				d[j] = float32(float32At(block, j)*float32(code)) + float32At(block, Panel+j)
			}
		}
	}
}

// code reads the code of output j at the k'th k of a block's codes.
func (c Coding) code(codes []byte, k, j int) int {
	if c.Kind == Code8 {
		return int(int8(codes[k*Panel+j]))
	}
	return int(codes[nibbleAt(k, j)]>>(k%2*4)&15) - c.Zero
}

// nibbleAt is the byte that has the nibble of output j at the k'th k of a block.
func nibbleAt(k, j int) int { return k/8*4*Panel + 4*j + k%8/2 }

func float32At(b []byte, i int) float32 {
	return math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
}

// PackCodes writes output j of a panel, K codes with a step and a least value per
// block, into dst, the panel's CodedLen(1, K) values.
func (c Coding) PackCodes(dst []float32, j int, codes []int8, steps, leasts []float32) {
	b := bytesOf(dst)
	for i := range steps {
		block := b[i*c.Block*4*c.width():]
		binary.LittleEndian.PutUint32(block[4*j:], math.Float32bits(steps[i]))
		binary.LittleEndian.PutUint32(block[4*(Panel+j):], math.Float32bits(leasts[i]))
		for k, code := range codes[i*c.Block : (i+1)*c.Block] {
			if at := block[8*Panel:]; c.Kind == Code8 {
				at[k*Panel+j] = byte(code)
			} else {
				at[nibbleAt(k, j)] |= byte(int(code)+c.Zero) & 15 << (k % 2 * 4)
			}
		}
	}
}

// PackHalves writes output j of a panel, K values of 16 bits, into dst.
func (c Coding) PackHalves(dst []float32, j int, values []uint16) {
	b := bytesOf(dst)
	for k, v := range values {
		binary.LittleEndian.PutUint16(b[2*(k*Panel+j):], v)
	}
}

// FloatF16 is the value of an IEEE 754 binary16.
func FloatF16(h uint16) float32 {
	sign, exponent, fraction := uint32(h)>>15<<31, uint32(h)>>10&31, uint32(h)&0x3ff
	switch exponent {
	case 0: // zero and subnormals: fraction * 2^-24
		return math.Float32frombits(math.Float32bits(float32(fraction)*0x1p-24) | sign)
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
}

var codeNames = [...]string{Plain: "", Code4: "q4", Code8: "q8", CodeBF16: "bfloat16", CodeF16: "float16"}

// MarshalText names the kind in prepared files.
func (k CodeKind) MarshalText() ([]byte, error) {
	if int(k) >= len(codeNames) {
		return nil, fmt.Errorf("kernel: kind of codes %d is unknown", k)
	}
	return []byte(codeNames[k]), nil
}

// UnmarshalText is the inverse of MarshalText.
func (k *CodeKind) UnmarshalText(text []byte) error {
	if i := slices.Index(codeNames[:], string(text)); i >= 0 {
		*k = CodeKind(i)
		return nil
	}
	return fmt.Errorf("kernel: kind of codes %.20q is unknown", text)
}
