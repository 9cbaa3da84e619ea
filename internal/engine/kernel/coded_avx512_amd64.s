#include "textflag.h"
#include "bf16_encoding_amd64.h"

// Codes become float32 weights, 32 of one k at a time. What lies 2 KiB ahead is
// asked for: a stream of codes is read once per pass.
//
//	DI dst, SI src, R12 remaining blocks, R13 k's of a block, CX remaining k's of it
//	Z0, Z1 steps; Z2, Z3 least values

// STEPS turns to the next block: steps of outputs 0-15 and 16-31, least values.
#define STEPS(lo, hi, leastlo, leasthi) \
	VMOVUPS (SI), lo; \
	VMOVUPS 64(SI), hi; \
	VMOVUPS 128(SI), leastlo; \
	VMOVUPS 192(SI), leasthi; \
	PREFETCHT0 2048(SI); \
	PREFETCHT0 2112(SI); \
	PREFETCHT0 2176(SI); \
	PREFETCHT0 2240(SI); \
	ADDQ $256, SI; \
	MOVQ R13, CX

#define STORE(at, lo, hi) \
	VMOVUPS lo, (at*128)(DI); \
	VMOVUPS hi, (at*128+64)(DI)

// OFNIBBLES makes weights a and b of the lowest nibbles of the words lo and hi: the
// table in Z31 has the value of each nibble, and only four bits of a word choose.
#define OFNIBBLES(lo, hi, a, b) \
	VPERMPS Z31, lo, a; \
	VPERMPS Z31, hi, b; \
	VFMADD213PS Z2, Z0, a; \
	VFMADD213PS Z3, Z1, b

// OFBYTES makes weights of the codes of the k at hand and at more k's.
#define OFBYTES(at, lo, hi) \
	VPMOVSXBD (at*32)(SI), lo; \
	VPMOVSXBD (at*32+16)(SI), hi; \
	VCVTDQ2PS lo, lo; \
	VCVTDQ2PS hi, hi; \
	VFMADD213PS Z2, Z0, lo; \
	VFMADD213PS Z3, Z1, hi

#define NIBBLES(at, lo, hi, a, b) OFNIBBLES(lo, hi, a, b); STORE(at, a, b)

#define SHIFTED(at, a, b) \
	VPSRLD $(4*at), Z4, a; \
	VPSRLD $(4*at), Z5, b; \
	NIBBLES(at, a, b, a, b)

// func expand4x512(dst, src *float32, blocks, block int, values *float32)
// values are those of the 16 nibbles.
TEXT ·expand4x512(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), R12
	MOVQ block+24(FP), R13
	MOVQ values+32(FP), AX
	VMOVUPS (AX), Z31

block4:
	STEPS(Z0, Z1, Z2, Z3)

k4:
	PREFETCHT0 2048(SI)
	PREFETCHT0 2112(SI)
	VMOVUPS (SI), Z4
	VMOVUPS 64(SI), Z5
	NIBBLES(0, Z4, Z5, Z6, Z7)
	SHIFTED(1, Z8, Z9)
	SHIFTED(2, Z10, Z11)
	SHIFTED(3, Z12, Z13)
	SHIFTED(4, Z14, Z15)
	SHIFTED(5, Z16, Z17)
	SHIFTED(6, Z18, Z19)
	SHIFTED(7, Z20, Z21)
	ADDQ $128, SI
	ADDQ $1024, DI
	SUBQ $8, CX
	JNZ  k4
	DECQ R12
	JNZ  block4
	VZEROUPPER
	RET

#define BYTES(at, lo, hi) OFBYTES(at, lo, hi); STORE(at, lo, hi)

// func expand8x512(dst, src *float32, blocks, block int)
TEXT ·expand8x512(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), R12
	MOVQ block+24(FP), R13

block8:
	STEPS(Z0, Z1, Z2, Z3)

k8:
	PREFETCHT0 2048(SI)
	PREFETCHT0 2112(SI)
	BYTES(0, Z4, Z5)
	BYTES(1, Z6, Z7)
	BYTES(2, Z8, Z9)
	BYTES(3, Z10, Z11)
	ADDQ $128, SI
	ADDQ $512, DI
	SUBQ $4, CX
	JNZ  k8
	DECQ R12
	JNZ  block8
	VZEROUPPER
	RET

// func expandBF16x512(dst, src *float32, k int)
TEXT ·expandBF16x512(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ k+16(FP), R12

kb:
	PREFETCHT0 2048(SI)
	VPMOVZXWD (SI), Z0
	VPMOVZXWD 32(SI), Z1
	VPSLLD $16, Z0, Z0
	VPSLLD $16, Z1, Z1
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	ADDQ $64, SI
	ADDQ $128, DI
	DECQ R12
	JNZ  kb
	VZEROUPPER
	RET

// func expandF16x512(dst, src *float32, k int)
TEXT ·expandF16x512(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ k+16(FP), R12

kf:
	PREFETCHT0 2048(SI)
	VCVTPH2PS (SI), Z0
	VCVTPH2PS 32(SI), Z1
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	ADDQ $64, SI
	ADDQ $128, DI
	DECQ R12
	JNZ  kf
	VZEROUPPER
	RET

// One row by a panel of codes: what the expansions make is multiplied where it is.
//
//	DI c, BX a, SI src, R12 remaining blocks, R13 k's of a block, CX remaining k's of it
//	Z24, Z25 the sums, Z26 a broadcast

#define BEGIN(acc, begun) \
	VPXORQ Z24, Z24, Z24; \
	VPXORQ Z25, Z25, Z25; \
	CMPB acc, $0; \
	JEQ  begun; \
	VMOVUPS (DI), Z24; \
	VMOVUPS 64(DI), Z25

#define END \
	VMOVUPS Z24, (DI); \
	VMOVUPS Z25, 64(DI); \
	VZEROUPPER; \
	RET

#define SUM(at, lo, hi) \
	VBROADCASTSS (at*4)(BX), Z26; \
	VFMADD231PS lo, Z26, Z24; \
	VFMADD231PS hi, Z26, Z25

#define SUMNIBBLES(at, lo, hi, a, b) OFNIBBLES(lo, hi, a, b); SUM(at, a, b)

#define SUMSHIFTED(at, a, b) \
	VPSRLD $(4*at), Z4, a; \
	VPSRLD $(4*at), Z5, b; \
	SUMNIBBLES(at, a, b, a, b)

// func one4x512(c, a, src *float32, blocks, block int, values *[16]float32, acc bool)
TEXT ·one4x512(SB), NOSPLIT, $0-49
	MOVQ c+0(FP), DI
	MOVQ a+8(FP), BX
	MOVQ src+16(FP), SI
	MOVQ blocks+24(FP), R12
	MOVQ block+32(FP), R13
	MOVQ values+40(FP), AX
	VMOVUPS (AX), Z31
	BEGIN(acc+48(FP), oneblock4)

oneblock4:
	STEPS(Z0, Z1, Z2, Z3)

one4:
	PREFETCHT0 2048(SI)
	PREFETCHT0 2112(SI)
	VMOVUPS (SI), Z4
	VMOVUPS 64(SI), Z5
	SUMNIBBLES(0, Z4, Z5, Z6, Z7)
	SUMSHIFTED(1, Z8, Z9)
	SUMSHIFTED(2, Z10, Z11)
	SUMSHIFTED(3, Z12, Z13)
	SUMSHIFTED(4, Z14, Z15)
	SUMSHIFTED(5, Z16, Z17)
	SUMSHIFTED(6, Z18, Z19)
	SUMSHIFTED(7, Z20, Z21)
	ADDQ $128, SI
	ADDQ $32, BX
	SUBQ $8, CX
	JNZ  one4
	DECQ R12
	JNZ  oneblock4
	END

#define SUMBYTES(at, lo, hi) OFBYTES(at, lo, hi); SUM(at, lo, hi)

// func one8x512(c, a, src *float32, blocks, block int, acc bool)
TEXT ·one8x512(SB), NOSPLIT, $0-41
	MOVQ c+0(FP), DI
	MOVQ a+8(FP), BX
	MOVQ src+16(FP), SI
	MOVQ blocks+24(FP), R12
	MOVQ block+32(FP), R13
	BEGIN(acc+40(FP), oneblock8)

oneblock8:
	STEPS(Z0, Z1, Z2, Z3)

one8:
	PREFETCHT0 2048(SI)
	PREFETCHT0 2112(SI)
	SUMBYTES(0, Z4, Z5)
	SUMBYTES(1, Z6, Z7)
	SUMBYTES(2, Z8, Z9)
	SUMBYTES(3, Z10, Z11)
	ADDQ $128, SI
	ADDQ $16, BX
	SUBQ $4, CX
	JNZ  one8
	DECQ R12
	JNZ  oneblock8
	END

// func oneBF16x512(c, a, src *float32, k int, acc bool)
TEXT ·oneBF16x512(SB), NOSPLIT, $0-33
	MOVQ c+0(FP), DI
	MOVQ a+8(FP), BX
	MOVQ src+16(FP), SI
	MOVQ k+24(FP), R12
	BEGIN(acc+32(FP), onebf16)

onebf16:
	PREFETCHT0 2048(SI)
	VPMOVZXWD (SI), Z0
	VPMOVZXWD 32(SI), Z1
	VPSLLD $16, Z0, Z0
	VPSLLD $16, Z1, Z1
	SUM(0, Z0, Z1)
	ADDQ $64, SI
	ADDQ $4, BX
	DECQ R12
	JNZ  onebf16
	END

// func oneF16x512(c, a, src *float32, k int, acc bool)
TEXT ·oneF16x512(SB), NOSPLIT, $0-33
	MOVQ c+0(FP), DI
	MOVQ a+8(FP), BX
	MOVQ src+16(FP), SI
	MOVQ k+24(FP), R12
	BEGIN(acc+32(FP), onef16)

onef16:
	PREFETCHT0 2048(SI)
	VCVTPH2PS (SI), Z0
	VCVTPH2PS 32(SI), Z1
	SUM(0, Z0, Z1)
	ADDQ $64, SI
	ADDQ $4, BX
	DECQ R12
	JNZ  onef16
	END

// One row by a panel of codes in bfloat16: pairs of weights are rounded where they are
// multiplied.
//
//	DI c, BX a, SI src, R12 remaining blocks, R13 k's of a block, CX remaining k's of it
//	Z2, Z3 the sums; Z24, Z25 steps; Z26, Z27 least values; Z6 the order of words
//	Z0, Z1 a pair of weights; Z28, Z29 the same rounded; Z30 a pair of a

DATA inpairs<>+0(SB)/8, $0x0011000100100000
DATA inpairs<>+8(SB)/8, $0x0013000300120002
DATA inpairs<>+16(SB)/8, $0x0015000500140004
DATA inpairs<>+24(SB)/8, $0x0017000700160006
DATA inpairs<>+32(SB)/8, $0x0019000900180008
DATA inpairs<>+40(SB)/8, $0x001b000b001a000a
DATA inpairs<>+48(SB)/8, $0x001d000d001c000c
DATA inpairs<>+56(SB)/8, $0x001f000f001e000e
GLOBL inpairs<>(SB), RODATA|NOPTR, $64

#define PAIR(step, least, pair) \
	VFMADD213PS least, step, Z0; \
	VFMADD213PS least, step, Z1; \
	ROUND2; \
	VPERMW Z0, Z6, pair

#define NIBBLEPAIR(at, words, step, least, pair) \
	VPSRLD $(8*at), words, Z0; \
	VPSRLD $(8*at+4), words, Z1; \
	VPERMPS Z31, Z0, Z0; \
	VPERMPS Z31, Z1, Z1; \
	PAIR(step, least, pair)

#define NIBBLEPAIRS(at) \
	VPBROADCASTD (at*4)(BX), Z30; \
	NIBBLEPAIR(at, Z4, Z24, Z26, Z28); \
	NIBBLEPAIR(at, Z5, Z25, Z27, Z29); \
	DP2; \
	DP3

#define BEGINPAIRS(acc, begun) \
	VMOVDQU64 inpairs<>(SB), Z6; \
	VPXORQ Z2, Z2, Z2; \
	VPXORQ Z3, Z3, Z3; \
	CMPB acc, $0; \
	JEQ  begun; \
	VMOVUPS (DI), Z2; \
	VMOVUPS 64(DI), Z3

#define ENDPAIRS \
	VMOVUPS Z2, (DI); \
	VMOVUPS Z3, 64(DI); \
	VZEROUPPER; \
	RET

// func pairs4x512(c *float32, a *uint16, src *float32, blocks, block int, values *[16]float32, acc bool)
TEXT ·pairs4x512(SB), NOSPLIT, $0-49
	MOVQ c+0(FP), DI
	MOVQ a+8(FP), BX
	MOVQ src+16(FP), SI
	MOVQ blocks+24(FP), R12
	MOVQ block+32(FP), R13
	MOVQ values+40(FP), AX
	VMOVUPS (AX), Z31
	BEGINPAIRS(acc+48(FP), pairsblock4)

pairsblock4:
	STEPS(Z24, Z25, Z26, Z27)

pairs4:
	PREFETCHT0 2048(SI)
	PREFETCHT0 2112(SI)
	VMOVUPS (SI), Z4
	VMOVUPS 64(SI), Z5
	NIBBLEPAIRS(0)
	NIBBLEPAIRS(1)
	NIBBLEPAIRS(2)
	NIBBLEPAIRS(3)
	ADDQ $128, SI
	ADDQ $16, BX
	SUBQ $8, CX
	JNZ  pairs4
	DECQ R12
	JNZ  pairsblock4
	ENDPAIRS

#define BYTEPAIR(from, step, least, pair) \
	VPMOVSXBD from(SI), Z0; \
	VPMOVSXBD (from+32)(SI), Z1; \
	VCVTDQ2PS Z0, Z0; \
	VCVTDQ2PS Z1, Z1; \
	PAIR(step, least, pair)

#define BYTEPAIRS(at) \
	VPBROADCASTD (at*4)(BX), Z30; \
	BYTEPAIR((at*64), Z24, Z26, Z28); \
	BYTEPAIR((at*64+16), Z25, Z27, Z29); \
	DP2; \
	DP3

// func pairs8x512(c *float32, a *uint16, src *float32, blocks, block int, acc bool)
TEXT ·pairs8x512(SB), NOSPLIT, $0-41
	MOVQ c+0(FP), DI
	MOVQ a+8(FP), BX
	MOVQ src+16(FP), SI
	MOVQ blocks+24(FP), R12
	MOVQ block+32(FP), R13
	BEGINPAIRS(acc+40(FP), pairsblock8)

pairsblock8:
	STEPS(Z24, Z25, Z26, Z27)

pairs8:
	PREFETCHT0 2048(SI)
	PREFETCHT0 2112(SI)
	BYTEPAIRS(0)
	BYTEPAIRS(1)
	ADDQ $128, SI
	ADDQ $8, BX
	SUBQ $4, CX
	JNZ  pairs8
	DECQ R12
	JNZ  pairsblock8
	ENDPAIRS
