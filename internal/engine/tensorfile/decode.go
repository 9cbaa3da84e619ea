package tensorfile

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// Decoders turn stored values into float32, len(dst) of them. Block formats
// follow the arithmetic of ggml's reference dequantisation: each product and
// sum is rounded to float32.

func decodeF32(dst []float32, src []byte) {
	if littleEndian() && len(dst) > 0 {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), 4*len(dst)), src[:4*len(dst)])
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
func half(b []byte) float32 {
	h := uint32(binary.LittleEndian.Uint16(b))
	sign, exp, frac := h>>15<<31, h>>10&31, h&0x3ff
	switch exp {
	case 0: // zero and subnormals: frac * 2^-24
		v := float32(frac) * 0x1p-24
		return math.Float32frombits(math.Float32bits(v) | sign)
	case 31:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// block describes a storage type: elements and bytes per block.
type block struct {
	name           string
	elements, size int
	decode         func(dst []float32, src []byte)
}

// ggmlTypes maps the type number of GGUF to its decoder. Numbers without a
// decoder are refused by name.
var ggmlTypes = map[uint32]block{
	0:  {"F32", 1, 4, decodeF32},
	1:  {"F16", 1, 2, decodeF16},
	2:  {"Q4_0", 32, 18, blocks(18, q4_0)},
	3:  {"Q4_1", 32, 20, blocks(20, q4_1)},
	6:  {"Q5_0", 32, 22, blocks(22, q5_0)},
	7:  {"Q5_1", 32, 24, blocks(24, q5_1)},
	8:  {"Q8_0", 32, 34, blocks(34, q8_0)},
	12: {"Q4_K", 256, 144, q4_K},
	13: {"Q5_K", 256, 176, q5_K},
	14: {"Q6_K", 256, 210, q6_K},
	30: {"BF16", 1, 2, decodeBF16},
}

var ggmlNames = map[uint32]string{
	9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K",
	16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS",
	24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}

// blocks applies f to each block of 32 values.
func blocks(size int, f func(dst []float32, b []byte)) func([]float32, []byte) {
	return func(dst []float32, src []byte) {
		for i := 0; i*32 < len(dst); i++ {
			f(dst[i*32:i*32+32], src[i*size:i*size+size])
		}
	}
}

// q4_0: scale d; value d * (q - 8). Low nibbles are the first 16 values.
func q4_0(dst []float32, b []byte) {
	d := half(b)
	for i, q := range b[2:18] {
		dst[i], dst[i+16] = d*float32(int(q&15)-8), d*float32(int(q>>4)-8)
	}
}

// q4_1: scale d, minimum m; value d * q + m.
func q4_1(dst []float32, b []byte) {
	d, m := half(b), half(b[2:])
	for i, q := range b[4:20] {
		dst[i], dst[i+16] = float32(d*float32(q&15))+m, float32(d*float32(q>>4))+m
	}
}

// q5_0: fifth bits in a 32-bit word; value d * (q - 16).
func q5_0(dst []float32, b []byte) {
	d, high := half(b), binary.LittleEndian.Uint32(b[2:])
	for i, q := range b[6:22] {
		lo := int(q&15) | int(high>>i&1)<<4
		hi := int(q>>4) | int(high>>(i+16)&1)<<4
		dst[i], dst[i+16] = d*float32(lo-16), d*float32(hi-16)
	}
}

// q5_1: as q5_0 with a minimum; value d * q + m.
func q5_1(dst []float32, b []byte) {
	d, m, high := half(b), half(b[2:]), binary.LittleEndian.Uint32(b[4:])
	for i, q := range b[8:24] {
		lo := int(q&15) | int(high>>i&1)<<4
		hi := int(q>>4) | int(high>>(i+16)&1)<<4
		dst[i], dst[i+16] = float32(d*float32(lo))+m, float32(d*float32(hi))+m
	}
}

// q8_0: value d * q, q signed.
func q8_0(dst []float32, b []byte) {
	d := half(b)
	for i, q := range b[2:34] {
		dst[i] = d * float32(int8(q))
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
func q4_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[144:] {
		d, dmin := half(src), half(src[2:])
		for i := range 8 {
			sc, mn := scaleMin(src[4:16], i)
			scale, least := d*float32(sc), float32(dmin*float32(mn))
			for l, q := range src[16+i/2*32 : 48+i/2*32] {
				dst[32*i+l] = float32(scale*float32(q>>(i%2*4)&15)) - least
			}
		}
	}
}

// q5_K: as q4_K, with the fifth bits of part i in bit i of 32 bytes before the
// nibbles.
func q5_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[176:] {
		d, dmin := half(src), half(src[2:])
		for i := range 8 {
			sc, mn := scaleMin(src[4:16], i)
			scale, least := d*float32(sc), float32(dmin*float32(mn))
			for l, q := range src[48+i/2*32 : 80+i/2*32] {
				v := q>>(i%2*4)&15 | src[16+l]>>i&1<<4
				dst[32*i+l] = float32(scale*float32(v)) - least
			}
		}
	}
}

// q6_K: blocks of 256: 128 bytes of low nibbles, 64 of upper bit pairs, 16
// signed scales, then d; value (d * scale) * (q - 32).
func q6_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[210:] {
		d := half(src[208:])
		for half := range 2 {
			low, high, scales, out := src[64*half:], src[128+32*half:], src[192+8*half:], dst[128*half:]
			for l := range 32 {
				for quarter := range 4 {
					q := low[l+quarter%2*32] >> (quarter / 2 * 4) & 15
					q |= high[l] >> (2 * quarter) & 3 << 4
					scale := d * float32(int8(scales[l/16+2*quarter]))
					out[l+32*quarter] = scale * float32(int(q)-32)
				}
			}
		}
	}
}
