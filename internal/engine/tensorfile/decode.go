package tensorfile

import (
	"encoding/binary"
	"math"

	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// Decoders turn stored values into float32, len(dst) of them.

func decodeF32(dst []float32, src []byte) {
	if littleEndian() && len(dst) > 0 {
		copy(rawFloats(dst), src[:4*len(dst)])
		return
	}
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

func decodeF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = half(src[2*i:])
	}
}

func decodeBF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

// half reads one IEEE 754 binary16.
func half(b []byte) float32 { return kernel.FloatF16(binary.LittleEndian.Uint16(b)) }

// block describes a storage type: elements and bytes per block.
type block struct {
	name           string
	elements, size int
	decode         func(dst []float32, src []byte)
	// coding is how kernels hold it; code reads one block of codes, steps and least
	// values for it, nil of the types of 16 and 32 bits.
	coding kernel.Coding
	code   coder
}

// coder reads a block: a value is step * code + least, a step and a least value for
// each coding.Block values. Where a format has no least value it is -0, which keeps
// the sign of a zero.
type coder func(codes []int8, steps, leasts []float32, src []byte)

// coded is the storage type whose blocks code reads.
func coded(name string, elements, size int, c kernel.Coding, code coder) block {
	return block{name, elements, size, func(dst []float32, src []byte) { decodeCodes(dst, src, elements, size, c.Block, code) }, c, code}
}

// decodeCodes follows the arithmetic of ggml's reference dequantisation: the product
// and the sum are rounded to float32.
func decodeCodes(dst []float32, src []byte, elements, size, per int, code coder) {
	var codes [256]int8
	var steps, leasts [16]float32
	for ; len(dst) > 0; dst, src = dst[elements:], src[size:] {
		code(codes[:elements], steps[:elements/per], leasts[:elements/per], src)
		for i, c := range codes[:elements] {
			dst[i] = float32(steps[i/per]*float32(c)) + leasts[i/per]
		}
	}
}

// Codings of the storage types.
var (
	nibbles  = kernel.Coding{Kind: kernel.Code4, Block: 32}
	centred  = kernel.Coding{Kind: kernel.Code4, Block: 32, Zero: 8}
	octets   = kernel.Coding{Kind: kernel.Code8, Block: 32}
	octets16 = kernel.Coding{Kind: kernel.Code8, Block: 16}
	bfloats  = kernel.Coding{Kind: kernel.CodeBF16}
	halves   = kernel.Coding{Kind: kernel.CodeF16}
)

// ggmlTypes maps the type number of GGUF to its decoder. Numbers without a
// decoder are refused by name.
var ggmlTypes = map[uint32]block{
	0:  {name: "F32", elements: 1, size: 4, decode: decodeF32},
	1:  {name: "F16", elements: 1, size: 2, decode: decodeF16, coding: halves},
	2:  coded("Q4_0", 32, 18, centred, q4_0),
	3:  coded("Q4_1", 32, 20, nibbles, q4_1),
	6:  coded("Q5_0", 32, 22, octets, q5_0),
	7:  coded("Q5_1", 32, 24, octets, q5_1),
	8:  coded("Q8_0", 32, 34, octets, q8_0),
	12: coded("Q4_K", 256, 144, nibbles, q4_K),
	13: coded("Q5_K", 256, 176, octets, q5_K),
	14: coded("Q6_K", 256, 210, octets16, q6_K),
	30: {name: "BF16", elements: 1, size: 2, decode: decodeBF16, coding: bfloats},
}

var ggmlNames = map[uint32]string{
	9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K",
	16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS",
	24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}

// none is the least value of a format that has none.
var none = float32(math.Copysign(0, -1))

// q4_0: scale d; value d * (q - 8). Low nibbles are the first 16 values.
func q4_0(codes []int8, steps, leasts []float32, b []byte) {
	steps[0], leasts[0] = half(b), none
	for i, q := range b[2:18] {
		codes[i], codes[i+16] = int8(q&15)-8, int8(q>>4)-8
	}
}

// q4_1: scale d, minimum m; value d * q + m.
func q4_1(codes []int8, steps, leasts []float32, b []byte) {
	steps[0], leasts[0] = half(b), half(b[2:])
	for i, q := range b[4:20] {
		codes[i], codes[i+16] = int8(q&15), int8(q>>4)
	}
}

// q5_0: fifth bits in a 32-bit word; value d * (q - 16).
func q5_0(codes []int8, steps, leasts []float32, b []byte) {
	steps[0], leasts[0] = half(b), none
	fifths(codes, b[2:])
	for i := range codes {
		codes[i] -= 16
	}
}

// q5_1: as q5_0 with a minimum; value d * q + m.
func q5_1(codes []int8, steps, leasts []float32, b []byte) {
	steps[0], leasts[0] = half(b), half(b[2:])
	fifths(codes, b[4:])
}

// fifths reads 32 values of five bits: the upper bits, then the nibbles.
func fifths(codes []int8, b []byte) {
	high := binary.LittleEndian.Uint32(b)
	for i, q := range b[4:20] {
		codes[i] = int8(q&15) | int8(high>>i&1)<<4
		codes[i+16] = int8(q>>4) | int8(high>>(i+16)&1)<<4
	}
}

// q8_0: value d * q, q signed.
func q8_0(codes []int8, steps, leasts []float32, b []byte) {
	steps[0], leasts[0] = half(b), none
	for i, q := range b[2:34] {
		codes[i] = int8(q)
	}
}

// scaleMin unpacks scale and minimum of part i of a block of Q4_K or Q5_K, six
// bits each of 12 bytes: parts 0..3 lie in the low bits of bytes 0..3 and 4..7;
// parts 4..7 have their low four bits in the nibbles of bytes 8..11 and their
// high two on top of the others.
func scaleMin(packed []byte, i int) (scale, least byte) {
	if i < 4 {
		return packed[i] & 63, packed[i+4] & 63
	}
	return packed[i+4]&15 | packed[i-4]>>6<<4, packed[i+4]>>4 | packed[i]>>6<<4
}

// q4_K: blocks of 256 in eight parts of 32: d, dmin, 12 bytes of scales and
// minima, then 128 bytes whose low nibbles are the even part of each pair and
// whose high ones the odd; value (d * scale) * q - dmin * min.
func q4_K(codes []int8, steps, leasts []float32, b []byte) {
	for i := range 8 {
		partK(steps, leasts, b, i)
		for l, q := range b[16+i/2*32 : 48+i/2*32] {
			codes[32*i+l] = int8(q >> (i % 2 * 4) & 15)
		}
	}
}

// q5_K: as q4_K, with the fifth bits of part i in bit i of 32 bytes before the
// nibbles.
func q5_K(codes []int8, steps, leasts []float32, b []byte) {
	for i := range 8 {
		partK(steps, leasts, b, i)
		for l, q := range b[48+i/2*32 : 80+i/2*32] {
			codes[32*i+l] = int8(q>>(i%2*4)&15 | b[16+l]>>i&1<<4)
		}
	}
}

// partK sets step and least value of part i of a block of Q4_K or Q5_K.
func partK(steps, leasts []float32, b []byte, i int) {
	scale, least := scaleMin(b[4:16], i)
	steps[i], leasts[i] = half(b)*float32(scale), -(half(b[2:]) * float32(least))
}

// q6_K: blocks of 256: 128 bytes of low nibbles, 64 of upper bit pairs, 16
// signed scales, then d; value (d * scale) * (q - 32).
func q6_K(codes []int8, steps, leasts []float32, b []byte) {
	d := half(b[208:])
	for i := range steps {
		steps[i], leasts[i] = d*float32(int8(b[192+i])), none
	}
	for half := range 2 {
		low, high, out := b[64*half:], b[128+32*half:], codes[128*half:]
		for l := range 32 {
			for quarter := range 4 {
				q := low[l+quarter%2*32] >> (quarter / 2 * 4) & 15
				q |= high[l] >> (2 * quarter) & 3 << 4
				out[l+32*quarter] = int8(q) - 32
			}
		}
	}
}
