#include "textflag.h"

// The expansions of coded_avx512_amd64.s, 8 outputs of a k at a time.
//
//	DI dst, SI src, R12 remaining blocks, R13 k's of a block, CX remaining k's of it
//	Y0-Y3 steps; Y4-Y7 least values

#define STEPS \
	VMOVUPS (SI), Y0; \
	VMOVUPS 32(SI), Y1; \
	VMOVUPS 64(SI), Y2; \
	VMOVUPS 96(SI), Y3; \
	VMOVUPS 128(SI), Y4; \
	VMOVUPS 160(SI), Y5; \
	VMOVUPS 192(SI), Y6; \
	VMOVUPS 224(SI), Y7; \
	ADDQ $256, SI; \
	MOVQ R13, CX

#define WEIGHTS(at, step, least, y) \
	VCVTDQ2PS y, y; \
	VFMADD213PS least, step, y; \
	VMOVUPS y, at(DI)

// NIBBLES makes weights of outputs 8*at.. of the k that stands lowest in words, whose
// other nibbles come next.
#define NIBBLES(at, step, least, words, y) \
	VPAND Y14, words, y; \
	VPSRLD $4, words, words; \
	VPSUBD Y15, y, y; \
	WEIGHTS(at, step, least, y)

// func expand4x256(dst, src *float32, blocks, block int, zero uint32)
TEXT ·expand4x256(SB), NOSPLIT, $0-36
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), R12
	MOVQ block+24(FP), R13
	MOVL zero+32(FP), AX
	VMOVD AX, X15
	VPBROADCASTD X15, Y15
	MOVL $15, AX
	VMOVD AX, X14
	VPBROADCASTD X14, Y14

block4:
	STEPS

k4:
	PREFETCHT0 2048(SI)
	PREFETCHT0 2112(SI)
	VMOVUPS (SI), Y8
	VMOVUPS 32(SI), Y9
	VMOVUPS 64(SI), Y10
	VMOVUPS 96(SI), Y11
	MOVQ $8, DX

shift4:
	NIBBLES(0, Y0, Y4, Y8, Y12)
	NIBBLES(32, Y1, Y5, Y9, Y13)
	NIBBLES(64, Y2, Y6, Y10, Y12)
	NIBBLES(96, Y3, Y7, Y11, Y13)
	ADDQ $128, DI
	DECQ DX
	JNZ  shift4
	ADDQ $128, SI
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

k8:
	PREFETCHT0 2048(SI)
	VPMOVSXBD (SI), Y8
	VPMOVSXBD 8(SI), Y9
	VPMOVSXBD 16(SI), Y10
	VPMOVSXBD 24(SI), Y11
	WEIGHTS(0, Y0, Y4, Y8)
	WEIGHTS(32, Y1, Y5, Y9)
	WEIGHTS(64, Y2, Y6, Y10)
	WEIGHTS(96, Y3, Y7, Y11)
	ADDQ $32, SI
	ADDQ $128, DI
	DECQ CX
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
	VPMOVZXWD (SI), Y0
	VPMOVZXWD 16(SI), Y1
	VPMOVZXWD 32(SI), Y2
	VPMOVZXWD 48(SI), Y3
	VPSLLD $16, Y0, Y0
	VPSLLD $16, Y1, Y1
	VPSLLD $16, Y2, Y2
	VPSLLD $16, Y3, Y3
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
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
	VCVTPH2PS (SI), Y0
	VCVTPH2PS 16(SI), Y1
	VCVTPH2PS 32(SI), Y2
	VCVTPH2PS 48(SI), Y3
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	ADDQ $64, SI
	ADDQ $128, DI
	DECQ R12
	JNZ  kf
	VZEROUPPER
	RET
