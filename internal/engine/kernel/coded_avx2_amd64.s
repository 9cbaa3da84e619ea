#include "textflag.h"

// The functions of coded_avx512_amd64.s, 8 outputs of a k at a time.
//
//	DI dst or c, SI src, BX a, R12 remaining blocks, R13 k's of a block
//	CX remaining k's of it, R9 its least values, AX constants of nibbles
//	Y4-Y7 steps; Y0-Y3 least values of an expansion, sums of a row
//	Y8-Y10 constants of a nibble's place, Y11 a broadcast, Y12-Y15 weights

#define STEPS \
	VMOVUPS (SI), Y4; \
	VMOVUPS 32(SI), Y5; \
	VMOVUPS 64(SI), Y6; \
	VMOVUPS 96(SI), Y7; \
	LEAQ 128(SI), R9; \
	PREFETCHT0 2048(SI); \
	PREFETCHT0 2112(SI); \
	PREFETCHT0 2176(SI); \
	PREFETCHT0 2240(SI); \
	ADDQ $256, SI; \
	MOVQ R13, CX

#define LEASTS \
	VMOVUPS (R9), Y0; \
	VMOVUPS 32(R9), Y1; \
	VMOVUPS 64(R9), Y2; \
	VMOVUPS 96(R9), Y3

#define SCALED(l0, l1, l2, l3) \
	VFMADD213PS l0, Y4, Y12; \
	VFMADD213PS l1, Y5, Y13; \
	VFMADD213PS l2, Y6, Y14; \
	VFMADD213PS l3, Y7, Y15

#define STORE(at) \
	VMOVUPS Y12, (at*128)(DI); \
	VMOVUPS Y13, (at*128+32)(DI); \
	VMOVUPS Y14, (at*128+64)(DI); \
	VMOVUPS Y15, (at*128+96)(DI)

#define SUM(at) \
	VBROADCASTSS (at*4)(BX), Y11; \
	VFMADD231PS Y12, Y11, Y0; \
	VFMADD231PS Y13, Y11, Y1; \
	VFMADD231PS Y14, Y11, Y2; \
	VFMADD231PS Y15, Y11, Y3

// A nibble becomes a float32 where it stands among the bits of a fraction: below the
// exponent for which its lowest bit counts one; what the exponent brings in, and what
// the nibbles begin with, is taken off. See nibblePlaces.

#define PLACE(at) \
	VPBROADCASTD (at*12)(AX), Y8; \
	VPBROADCASTD (at*12+4)(AX), Y9; \
	VPBROADCASTD (at*12+8)(AX), Y10

#define VALUES \
	VPOR Y9, Y12, Y12; \
	VPOR Y9, Y13, Y13; \
	VPOR Y9, Y14, Y14; \
	VPOR Y9, Y15, Y15; \
	VSUBPS Y10, Y12, Y12; \
	VSUBPS Y10, Y13, Y13; \
	VSUBPS Y10, Y14, Y14; \
	VSUBPS Y10, Y15, Y15

// INPLACE are nibbles 0 to 4 of the words.
#define INPLACE(at) \
	PLACE(at); \
	VPAND (SI), Y8, Y12; \
	VPAND 32(SI), Y8, Y13; \
	VPAND 64(SI), Y8, Y14; \
	VPAND 96(SI), Y8, Y15; \
	VALUES

// ABOVE loads the words so that nibbles 5 to 7 stand where 0 to 2 did.
#define ABOVE(at) \
	PLACE(at); \
	VMOVDQU (SI), Y12; \
	VMOVDQU 32(SI), Y13; \
	VMOVDQU 64(SI), Y14; \
	VMOVDQU 96(SI), Y15; \
	VPSRLD $20, Y12, Y12; \
	VPSRLD $20, Y13, Y13; \
	VPSRLD $20, Y14, Y14; \
	VPSRLD $20, Y15, Y15; \
	VPAND Y8, Y12, Y12; \
	VPAND Y8, Y13, Y13; \
	VPAND Y8, Y14, Y14; \
	VPAND Y8, Y15, Y15; \
	VALUES

#define BYTES(at) \
	VPMOVSXBD (at*32)(SI), Y12; \
	VPMOVSXBD (at*32+8)(SI), Y13; \
	VPMOVSXBD (at*32+16)(SI), Y14; \
	VPMOVSXBD (at*32+24)(SI), Y15; \
	VCVTDQ2PS Y12, Y12; \
	VCVTDQ2PS Y13, Y13; \
	VCVTDQ2PS Y14, Y14; \
	VCVTDQ2PS Y15, Y15

#define HALVES \
	VPMOVZXWD (SI), Y12; \
	VPMOVZXWD 16(SI), Y13; \
	VPMOVZXWD 32(SI), Y14; \
	VPMOVZXWD 48(SI), Y15; \
	VPSLLD $16, Y12, Y12; \
	VPSLLD $16, Y13, Y13; \
	VPSLLD $16, Y14, Y14; \
	VPSLLD $16, Y15, Y15

#define IEEEHALVES \
	VCVTPH2PS (SI), Y12; \
	VCVTPH2PS 16(SI), Y13; \
	VCVTPH2PS 32(SI), Y14; \
	VCVTPH2PS 48(SI), Y15

#define STORED(at) SCALED(Y0, Y1, Y2, Y3); STORE(at)

// func expand4x256(dst, src *float32, blocks, block int, places *[5][3]uint32)
TEXT ·expand4x256(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), R12
	MOVQ block+24(FP), R13
	MOVQ places+32(FP), AX

block4:
	STEPS
	LEASTS

k4:
	PREFETCHT0 2048(SI)
	PREFETCHT0 2112(SI)
	INPLACE(0)
	STORED(0)
	INPLACE(1)
	STORED(1)
	INPLACE(2)
	STORED(2)
	INPLACE(3)
	STORED(3)
	INPLACE(4)
	STORED(4)
	ABOVE(0)
	STORED(5)
	ABOVE(1)
	STORED(6)
	ABOVE(2)
	STORED(7)
	ADDQ $128, SI
	ADDQ $1024, DI
	SUBQ $8, CX
	JNZ  k4
	DECQ R12
	JNZ  block4
	VZEROUPPER
	RET

// func expand8x256(dst, src *float32, blocks, block int)
TEXT ·expand8x256(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), R12
	MOVQ block+24(FP), R13

block8:
	STEPS
	LEASTS

k8:
	PREFETCHT0 2048(SI)
	BYTES(0)
	STORED(0)
	BYTES(1)
	STORED(1)
	ADDQ $64, SI
	ADDQ $256, DI
	SUBQ $2, CX
	JNZ  k8
	DECQ R12
	JNZ  block8
	VZEROUPPER
	RET

// func expandBF16x256(dst, src *float32, k int)
TEXT ·expandBF16x256(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ k+16(FP), R12

kb:
	PREFETCHT0 2048(SI)
	HALVES
	STORE(0)
	ADDQ $64, SI
	ADDQ $128, DI
	DECQ R12
	JNZ  kb
	VZEROUPPER
	RET

// func expandF16x256(dst, src *float32, k int)
TEXT ·expandF16x256(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ k+16(FP), R12

kf:
	PREFETCHT0 2048(SI)
	IEEEHALVES
	STORE(0)
	ADDQ $64, SI
	ADDQ $128, DI
	DECQ R12
	JNZ  kf
	VZEROUPPER
	RET

// One row by a panel of codes: what the expansions make is multiplied where it is.

#define BEGIN(acc, begun) \
	VXORPS Y0, Y0, Y0; \
	VXORPS Y1, Y1, Y1; \
	VXORPS Y2, Y2, Y2; \
	VXORPS Y3, Y3, Y3; \
	CMPB acc, $0; \
	JEQ  begun; \
	VMOVUPS (DI), Y0; \
	VMOVUPS 32(DI), Y1; \
	VMOVUPS 64(DI), Y2; \
	VMOVUPS 96(DI), Y3

#define END \
	VMOVUPS Y0, (DI); \
	VMOVUPS Y1, 32(DI); \
	VMOVUPS Y2, 64(DI); \
	VMOVUPS Y3, 96(DI); \
	VZEROUPPER; \
	RET

#define SUMMED(at) SCALED((R9), 32(R9), 64(R9), 96(R9)); SUM(at)

// func one4x256(c, a, src *float32, blocks, block int, places *[5][3]uint32, acc bool)
TEXT ·one4x256(SB), NOSPLIT, $0-49
	MOVQ c+0(FP), DI
	MOVQ a+8(FP), BX
	MOVQ src+16(FP), SI
	MOVQ blocks+24(FP), R12
	MOVQ block+32(FP), R13
	MOVQ places+40(FP), AX
	BEGIN(acc+48(FP), oneblock4)

oneblock4:
	STEPS

one4:
	PREFETCHT0 2048(SI)
	PREFETCHT0 2112(SI)
	INPLACE(0)
	SUMMED(0)
	INPLACE(1)
	SUMMED(1)
	INPLACE(2)
	SUMMED(2)
	INPLACE(3)
	SUMMED(3)
	INPLACE(4)
	SUMMED(4)
	ABOVE(0)
	SUMMED(5)
	ABOVE(1)
	SUMMED(6)
	ABOVE(2)
	SUMMED(7)
	ADDQ $128, SI
	ADDQ $32, BX
	SUBQ $8, CX
	JNZ  one4
	DECQ R12
	JNZ  oneblock4
	END

// func one8x256(c, a, src *float32, blocks, block int, acc bool)
TEXT ·one8x256(SB), NOSPLIT, $0-41
	MOVQ c+0(FP), DI
	MOVQ a+8(FP), BX
	MOVQ src+16(FP), SI
	MOVQ blocks+24(FP), R12
	MOVQ block+32(FP), R13
	BEGIN(acc+40(FP), oneblock8)

oneblock8:
	STEPS

one8:
	PREFETCHT0 2048(SI)
	BYTES(0)
	SUMMED(0)
	BYTES(1)
	SUMMED(1)
	ADDQ $64, SI
	ADDQ $8, BX
	SUBQ $2, CX
	JNZ  one8
	DECQ R12
	JNZ  oneblock8
	END

// func oneBF16x256(c, a, src *float32, k int, acc bool)
TEXT ·oneBF16x256(SB), NOSPLIT, $0-33
	MOVQ c+0(FP), DI
	MOVQ a+8(FP), BX
	MOVQ src+16(FP), SI
	MOVQ k+24(FP), R12
	BEGIN(acc+32(FP), onebf16)

onebf16:
	PREFETCHT0 2048(SI)
	HALVES
	SUM(0)
	ADDQ $64, SI
	ADDQ $4, BX
	DECQ R12
	JNZ  onebf16
	END

// func oneF16x256(c, a, src *float32, k int, acc bool)
TEXT ·oneF16x256(SB), NOSPLIT, $0-33
	MOVQ c+0(FP), DI
	MOVQ a+8(FP), BX
	MOVQ src+16(FP), SI
	MOVQ k+24(FP), R12
	BEGIN(acc+32(FP), onef16)

onef16:
	PREFETCHT0 2048(SI)
	IEEEHALVES
	SUM(0)
	ADDQ $64, SI
	ADDQ $4, BX
	DECQ R12
	JNZ  onef16
	END
