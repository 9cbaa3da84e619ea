#include "textflag.h"
#include "neon_encoding_arm64.h"

// The expansions of coded_avx512_amd64.s, four outputs at a time.
//
//	R0 dst, R1 src, R2 remaining blocks, R3 k's of a block, R4 remaining k's of it
//	V0-V7 words of codes, V8-V11 weights, V12 a mask, V13 what is taken off a nibble
//	V16-V23 steps, V24-V31 least values

#define STEPS \
	FLDPQ (R1), (F16, F17); \
	FLDPQ 32(R1), (F18, F19); \
	FLDPQ 64(R1), (F20, F21); \
	FLDPQ 96(R1), (F22, F23); \
	FLDPQ 128(R1), (F24, F25); \
	FLDPQ 160(R1), (F26, F27); \
	FLDPQ 192(R1), (F28, F29); \
	FLDPQ 224(R1), (F30, F31); \
	ADD $256, R1; \
	MOVD R3, R4

#define WEIGHTS(step, least, w, f, i) \
	SCVTF4(w, w); \
	FMUL4(step, w, w); \
	FADD4(least, w, w); \
	FMOVQ f, (i*16)(R0)

// NIBBLE makes weights of the lowest nibbles of the words v, whose next come then.
#define NIBBLE(v, step, least, w, f, i) \
	AND16(12, v, w); \
	NIBBLE4(v, v); \
	SUB4(13, w, w); \
	WEIGHTS(step, least, w, f, i)

// func expand4x4(dst, src *float32, blocks, block int, zero uint32)
TEXT ·expand4x4(SB), NOSPLIT, $0-36
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD blocks+16(FP), R2
	MOVD block+24(FP), R3
	MOVWU zero+32(FP), R5
	VDUP R5, V13.S4
	MOVD $15, R5
	VDUP R5, V12.S4

block4:
	STEPS

k4:
	FLDPQ (R1), (F0, F1)
	FLDPQ 32(R1), (F2, F3)
	FLDPQ 64(R1), (F4, F5)
	FLDPQ 96(R1), (F6, F7)
	MOVD $8, R6

shift4:
	NIBBLE(0, 16, 24, 8, F8, 0)
	NIBBLE(1, 17, 25, 9, F9, 1)
	NIBBLE(2, 18, 26, 10, F10, 2)
	NIBBLE(3, 19, 27, 11, F11, 3)
	NIBBLE(4, 20, 28, 8, F8, 4)
	NIBBLE(5, 21, 29, 9, F9, 5)
	NIBBLE(6, 22, 30, 10, F10, 6)
	NIBBLE(7, 23, 31, 11, F11, 7)
	ADD  $128, R0
	SUBS $1, R6
	BNE  shift4
	ADD  $128, R1
	SUBS $8, R4
	BNE  k4
	SUBS $1, R2
	BNE  block4
	RET

// func expand8x4(dst, src *float32, blocks, block int)
TEXT ·expand8x4(SB), NOSPLIT, $0-32
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD blocks+16(FP), R2
	MOVD block+24(FP), R3

block8:
	STEPS

k8:
	FLDPQ (R1), (F0, F1)
	SXTL8(0, 2)
	SXTL28(0, 3)
	SXTL8(1, 4)
	SXTL28(1, 5)
	SXTL4(2, 8)
	SXTL24(2, 9)
	SXTL4(3, 10)
	SXTL24(3, 11)
	WEIGHTS(16, 24, 8, F8, 0)
	WEIGHTS(17, 25, 9, F9, 1)
	WEIGHTS(18, 26, 10, F10, 2)
	WEIGHTS(19, 27, 11, F11, 3)
	SXTL4(4, 8)
	SXTL24(4, 9)
	SXTL4(5, 10)
	SXTL24(5, 11)
	WEIGHTS(20, 28, 8, F8, 4)
	WEIGHTS(21, 29, 9, F9, 5)
	WEIGHTS(22, 30, 10, F10, 6)
	WEIGHTS(23, 31, 11, F11, 7)
	ADD  $32, R1
	ADD  $128, R0
	SUBS $1, R4
	BNE  k8
	SUBS $1, R2
	BNE  block8
	RET

// HALVES makes 32 values of 16 bits wider.
#define HALVES(low, high) \
	FLDPQ (R1), (F0, F1); \
	FLDPQ 32(R1), (F2, F3); \
	low(0, 8); \
	high(0, 9); \
	low(1, 10); \
	high(1, 11); \
	FSTPQ (F8, F9), (R0); \
	FSTPQ (F10, F11), 32(R0); \
	low(2, 8); \
	high(2, 9); \
	low(3, 10); \
	high(3, 11); \
	FSTPQ (F8, F9), 64(R0); \
	FSTPQ (F10, F11), 96(R0); \
	ADD  $64, R1; \
	ADD  $128, R0; \
	SUBS $1, R2

// func expandBF16x4(dst, src *float32, k int)
TEXT ·expandBF16x4(SB), NOSPLIT, $0-24
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD k+16(FP), R2

kb:
	HALVES(SHLL4, SHLL24)
	BNE kb
	RET

// func expandF16x4(dst, src *float32, k int)
TEXT ·expandF16x4(SB), NOSPLIT, $0-24
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD k+16(FP), R2

kf:
	HALVES(FCVTL4, FCVTL24)
	BNE kf
	RET
