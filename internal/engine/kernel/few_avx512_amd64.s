#include "textflag.h"
#include "rows_avx512_amd64.h"

// A tile is up to 14 rows of the result by 32 columns, as in tile512, for
// products of few rows that stream their right operand from memory: what is
// read next is asked for by address, two lines per k, into the second-level
// cache, so that memory works while the multiply-add ports do.
//
// Registers beside those of rows_avx512_amd64.h:
//	R10, R11    b at the current k; bytes between its rows
//	R12         remaining k's
//	R14, DX     what is asked for; bytes that it moves on per k

#define ADVANCE(loop) \
	ADDQ $4, AX; \
	ADDQ $4, R8; \
	ADDQ $4, R9; \
	ADDQ R11, R10; \
	ADDQ DX, R14; \
	DECQ R12; \
	JNZ  loop; \
	JMP  store

#define WIDE(loop, rows) \
loop: \
	VMOVUPS (R10), Z28; \
	VMOVUPS 64(R10), Z29; \
	PREFETCHT1 (R14); \
	PREFETCHT1 64(R14); \
	rows(0); \
	ADVANCE(loop)

// One row lasts no longer than its loads: it asks for the first-level cache.
#define SINGLE(loop, rows) \
loop: \
	VMOVUPS (R10), Z28; \
	VMOVUPS 64(R10), Z29; \
	PREFETCHT0 (R14); \
	PREFETCHT0 64(R14); \
	rows(0); \
	ADVANCE(loop)

#define NARROW(loop, rows) \
loop: \
	VMOVUPS (R10), Z28; \
	PREFETCHT1 (R14); \
	rows(0); \
	ADVANCE(loop)

// func few512(c *float32, ldc int, a *float32, rs int, b *float32, bs, k, rows int, ahead *float32, step int, mask uint32, acc bool)
// Distances are in bytes.
TEXT ·few512(SB), NOSPLIT, $0-85
	MOVQ c+0(FP), DI
	MOVQ ldc+8(FP), SI
	MOVQ a+16(FP), AX
	MOVQ rs+24(FP), BX
	MOVQ b+32(FP), R10
	MOVQ bs+40(FP), R11
	MOVQ k+48(FP), R12
	MOVQ rows+56(FP), R15
	MOVQ ahead+64(FP), R14
	MOVQ step+72(FP), DX
	COLUMNS(mask+80(FP))
	ROWPOINTERS
	MOVQ DI, R13

	CMPB acc+84(FP), $0
	JEQ  zero
	EACH(LOADC)

zero:
	EACH(EMPTY)

depth:
	KTESTW K2, K2
	JZ    narrow
	CHOOSE(1, wide1)
	CHOOSE(14, wide14)
	CHOOSE(2, wide2)
	CHOOSE(3, wide3)
	CHOOSE(4, wide4)
	CHOOSE(5, wide5)
	CHOOSE(6, wide6)
	CHOOSE(7, wide7)
	CHOOSE(8, wide8)
	CHOOSE(9, wide9)
	CHOOSE(10, wide10)
	CHOOSE(11, wide11)
	CHOOSE(12, wide12)
	JMP wide13

narrow:
	CHOOSE(1, narrow1)
	CHOOSE(14, narrow14)
	CHOOSE(2, narrow2)
	CHOOSE(3, narrow3)
	CHOOSE(4, narrow4)
	CHOOSE(5, narrow5)
	CHOOSE(6, narrow6)
	CHOOSE(7, narrow7)
	CHOOSE(8, narrow8)
	CHOOSE(9, narrow9)
	CHOOSE(10, narrow10)
	CHOOSE(11, narrow11)
	CHOOSE(12, narrow12)
	JMP narrow13

	PCALIGN $64
	WIDE(wide14, W14)
	WIDE(wide13, W13)
	WIDE(wide12, W12)
	WIDE(wide11, W11)
	WIDE(wide10, W10)
	WIDE(wide9, W9)
	WIDE(wide8, W8)
	WIDE(wide7, W7)
	WIDE(wide6, W6)
	WIDE(wide5, W5)
	WIDE(wide4, W4)
	WIDE(wide3, W3)
	WIDE(wide2, W2)
	SINGLE(wide1, W1)

	NARROW(narrow14, N14)
	NARROW(narrow13, N13)
	NARROW(narrow12, N12)
	NARROW(narrow11, N11)
	NARROW(narrow10, N10)
	NARROW(narrow9, N9)
	NARROW(narrow8, N8)
	NARROW(narrow7, N7)
	NARROW(narrow6, N6)
	NARROW(narrow5, N5)
	NARROW(narrow4, N4)
	NARROW(narrow3, N3)
	NARROW(narrow2, N2)
	NARROW(narrow1, N1)

store:
	MOVQ DI, R13
	EACH(STOREC)

done:
	VZEROUPPER
	RET

// The same for weights of one byte, which become float32 on their way.
#define WIDE8(loop, rows) \
loop: \
	VPMOVSXBD (R10), Z28; \
	VPMOVSXBD 16(R10), Z29; \
	VCVTDQ2PS Z28, Z28; \
	VCVTDQ2PS Z29, Z29; \
	PREFETCHT0 (R14); \
	rows(0); \
	ADVANCE(loop)

#define SCALE(n, lo, hi) \
	VMULPS Z28, lo, lo; \
	VMULPS Z29, hi, hi; \
	CHOOSE(n, scaled)

#define ADDC(n, lo, hi) \
	VMOVUPS.Z (R13), K1, Z30; \
	VMOVUPS.Z 64(R13), K2, Z31; \
	VADDPS Z30, lo, lo; \
	VADDPS Z31, hi, hi; \
	NEXTROW(n, result)

// func few8x512(c *float32, ldc int, a *float32, rs int, b *int8, k, rows int, scale *float32, ahead *int8, step int, mask uint32, acc bool)
// Distances are in bytes.
TEXT ·few8x512(SB), NOSPLIT, $0-85
	MOVQ c+0(FP), DI
	MOVQ ldc+8(FP), SI
	MOVQ a+16(FP), AX
	MOVQ rs+24(FP), BX
	MOVQ b+32(FP), R10
	MOVQ k+40(FP), R12
	MOVQ rows+48(FP), R15
	MOVQ ahead+64(FP), R14
	MOVQ step+72(FP), DX
	COLUMNS(mask+80(FP))
	MOVQ $32, R11
	ROWPOINTERS
	EACH(EMPTY)
	CHOOSE(1, wide1)
	CHOOSE(14, wide14)
	CHOOSE(2, wide2)
	CHOOSE(3, wide3)
	CHOOSE(4, wide4)
	CHOOSE(5, wide5)
	CHOOSE(6, wide6)
	CHOOSE(7, wide7)
	CHOOSE(8, wide8)
	CHOOSE(9, wide9)
	CHOOSE(10, wide10)
	CHOOSE(11, wide11)
	CHOOSE(12, wide12)
	JMP wide13

	PCALIGN $64
	WIDE8(wide14, W14)
	WIDE8(wide13, W13)
	WIDE8(wide12, W12)
	WIDE8(wide11, W11)
	WIDE8(wide10, W10)
	WIDE8(wide9, W9)
	WIDE8(wide8, W8)
	WIDE8(wide7, W7)
	WIDE8(wide6, W6)
	WIDE8(wide5, W5)
	WIDE8(wide4, W4)
	WIDE8(wide3, W3)
	WIDE8(wide2, W2)
	WIDE8(wide1, W1)

store:
	MOVQ scale+56(FP), R13
	VMOVUPS (R13), Z28
	VMOVUPS 64(R13), Z29
	EACH(SCALE)

scaled:
	CMPB acc+84(FP), $0
	JEQ  result
	MOVQ DI, R13
	EACH(ADDC)

result:
	MOVQ DI, R13
	EACH(STOREC)

done:
	VZEROUPPER
	RET
