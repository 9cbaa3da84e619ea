#include "textflag.h"
#include "neon_encoding_arm64.h"

// COLUMN scales and stores column i of a block, V(v).
#define COLUMN(v, f, i) \
	FMUL4(31, v, v); \
	FMOVQ f, (i*128)(R0)

// func turn4(dst, src *float32, lds, blocks int, alpha float32)
// dst[i*Panel + j] = alpha * src[j*lds + i], j < 4, i < 4*blocks; lds in bytes.
//	R0 dst, R1-R4 src at rows 0 to 3, R12 blocks
TEXT ·turn4(SB), NOSPLIT, $0-36
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD lds+16(FP), R5
	MOVD blocks+24(FP), R12
	FMOVS alpha+32(FP), F31
	VDUP V31.S[0], V31.S4
	ADD  R5, R1, R2
	ADD  R5, R2, R3
	ADD  R5, R3, R4

block:
	VLD1.P 16(R1), [V0.S4]
	VLD1.P 16(R2), [V1.S4]
	VLD1.P 16(R3), [V2.S4]
	VLD1.P 16(R4), [V3.S4]
	VTRN1 V1.S4, V0.S4, V4.S4
	VTRN2 V1.S4, V0.S4, V5.S4
	VTRN1 V3.S4, V2.S4, V6.S4
	VTRN2 V3.S4, V2.S4, V7.S4
	VZIP1 V6.D2, V4.D2, V16.D2
	VZIP1 V7.D2, V5.D2, V17.D2
	VZIP2 V6.D2, V4.D2, V18.D2
	VZIP2 V7.D2, V5.D2, V19.D2
	COLUMN(16, F16, 0)
	COLUMN(17, F17, 1)
	COLUMN(18, F18, 2)
	COLUMN(19, F19, 3)
	ADD  $512, R0
	SUBS $1, R12
	BNE  block
	RET

// func copy4(dst, src *float32, ldd, lds, rows int, alpha float32)
// dst[i*ldd + j] = alpha * src[i*lds + j], j < 32; distances in bytes.
TEXT ·copy4(SB), NOSPLIT, $0-44
	MOVD dst+0(FP), R0
	MOVD src+8(FP), R1
	MOVD ldd+16(FP), R2
	MOVD lds+24(FP), R3
	MOVD rows+32(FP), R12
	FMOVS alpha+40(FP), F31
	VDUP V31.S[0], V31.S4

row:
	FLDPQ (R1), (F0, F1)
	FLDPQ 32(R1), (F2, F3)
	FLDPQ 64(R1), (F4, F5)
	FLDPQ 96(R1), (F6, F7)
	FMUL4(31, 0, 0)
	FMUL4(31, 1, 1)
	FMUL4(31, 2, 2)
	FMUL4(31, 3, 3)
	FMUL4(31, 4, 4)
	FMUL4(31, 5, 5)
	FMUL4(31, 6, 6)
	FMUL4(31, 7, 7)
	FSTPQ (F0, F1), (R0)
	FSTPQ (F2, F3), 32(R0)
	FSTPQ (F4, F5), 64(R0)
	FSTPQ (F6, F7), 96(R0)
	ADD  R3, R1
	ADD  R2, R0
	SUBS $1, R12
	BNE  row
	RET
