#include "textflag.h"
#include "neon_encoding_arm64.h"

// A tile is up to 6 rows of the result by 16 columns: four registers per row,
// 24 accumulators.
//
// Registers:
//	R2-R7       a at rows 0 to 5; R8 the offset of the current k, R9 bytes between k's
//	R10, R11    b at the current k; bytes between its rows; R14 b some rows ahead
//	R12         remaining k's
//	R0, R1      c; bytes between its rows; R13 walks over the rows
//	R15         rows
//	V0-V23      accumulators: row i in V(4i) to V(4i+3)
//	V24-V27     b; V28-V31 values of a, in the first lane

#define ROW(a, value, x, first) \
	FMOVS (a)(R8), value; \
	FMLA4X(x, 24, first); \
	FMLA4X(x, 25, first+1); \
	FMLA4X(x, 26, first+2); \
	FMLA4X(x, 27, first+3)

#define ROWS1 ROW(R2, F28, 28, 0)
#define ROWS2 ROWS1; ROW(R3, F29, 29, 4)
#define ROWS3 ROWS2; ROW(R4, F30, 30, 8)
#define ROWS4 ROWS3; ROW(R5, F31, 31, 12)
#define ROWS5 ROWS4; ROW(R6, F28, 28, 16)
#define ROWS6 ROWS5; ROW(R7, F29, 29, 20)

#define LOOP(loop, rows) \
loop: \
	FLDPQ (R10), (F24, F25); \
	FLDPQ 32(R10), (F26, F27); \
	ADD   R11<<3, R10, R14; \
	PRFM  (R14), PLDL1KEEP; \
	rows; \
	ADD  R9, R8; \
	ADD  R11, R10; \
	SUBS $1, R12; \
	BNE  loop; \
	B    store

#define LOADC(n, f0, f1, f2, f3) \
	FLDPQ (R13), (f0, f1); \
	FLDPQ 32(R13), (f2, f3); \
	CMP $n, R15; \
	BEQ depth; \
	ADD R1, R13

#define STOREC(n, f0, f1, f2, f3) \
	FSTPQ (f0, f1), (R13); \
	FSTPQ (f2, f3), 32(R13); \
	CMP $n, R15; \
	BEQ done; \
	ADD R1, R13

#define ZERO(v0, v1, v2, v3) \
	VEOR v0.B16, v0.B16, v0.B16; \
	VEOR v1.B16, v1.B16, v1.B16; \
	VEOR v2.B16, v2.B16, v2.B16; \
	VEOR v3.B16, v3.B16, v3.B16

#define CHOOSE(n, loop) \
	CMP $n, R15; \
	BEQ loop

// func tile4(c *float32, ldc int, a *float32, rs, ks int, b *float32, bs, k, rows int, acc bool)
// Distances are in bytes.
TEXT ·tile4(SB), NOSPLIT, $0-73
	MOVD c+0(FP), R0
	MOVD ldc+8(FP), R1
	MOVD a+16(FP), R2
	MOVD rs+24(FP), R14
	MOVD ks+32(FP), R9
	MOVD b+40(FP), R10
	MOVD bs+48(FP), R11
	MOVD k+56(FP), R12
	MOVD rows+64(FP), R15
	ADD  R14, R2, R3
	ADD  R14, R3, R4
	ADD  R14, R4, R5
	ADD  R14, R5, R6
	ADD  R14, R6, R7
	MOVD ZR, R8
	MOVD R0, R13
	MOVBU acc+72(FP), R14
	CBZ  R14, zero
	LOADC(1, F0, F1, F2, F3)
	LOADC(2, F4, F5, F6, F7)
	LOADC(3, F8, F9, F10, F11)
	LOADC(4, F12, F13, F14, F15)
	LOADC(5, F16, F17, F18, F19)
	LOADC(6, F20, F21, F22, F23)

zero:
	ZERO(V0, V1, V2, V3)
	ZERO(V4, V5, V6, V7)
	ZERO(V8, V9, V10, V11)
	ZERO(V12, V13, V14, V15)
	ZERO(V16, V17, V18, V19)
	ZERO(V20, V21, V22, V23)

depth:
	CBZ R12, store
	CHOOSE(6, loop6)
	CHOOSE(1, loop1)
	CHOOSE(2, loop2)
	CHOOSE(3, loop3)
	CHOOSE(4, loop4)
	B loop5

	PCALIGN $32
	LOOP(loop6, ROWS6)
	LOOP(loop5, ROWS5)
	LOOP(loop4, ROWS4)
	LOOP(loop3, ROWS3)
	LOOP(loop2, ROWS2)
	LOOP(loop1, ROWS1)

store:
	MOVD R0, R13
	STOREC(1, F0, F1, F2, F3)
	STOREC(2, F4, F5, F6, F7)
	STOREC(3, F8, F9, F10, F11)
	STOREC(4, F12, F13, F14, F15)
	STOREC(5, F16, F17, F18, F19)
	STOREC(6, F20, F21, F22, F23)

done:
	RET
