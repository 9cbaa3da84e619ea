#include "textflag.h"

// A tile is up to 14 rows of the result by 32 columns, as in tile512, for
// products of few rows that stream their right operand from memory: what is
// read next is asked for by address, two lines per k, into the second-level
// cache, so that memory works while the multiply-add ports do.
//
// Registers:
//	AX, R8, R9  a at rows 0, 5, 10 of the current k
//	BX, CX      1 and 3 times the bytes between rows of a
//	R10, R11    b at the current k; bytes between its rows
//	R12         remaining k's
//	R14, DX     what is asked for; bytes that it moves on per k
//	DI, SI      c; bytes between its rows; R13 walks over the rows
//	R15         rows
//	K1, K2      columns 0-15 and 16-31 that exist
//	Z0-Z27      accumulators: row i in Z(2i), Z(2i+1)
//	Z28, Z29    b; Z30 a broadcast

#define ROW32(address, lo, hi) \
	VBROADCASTSS address, Z30; \
	VFMADD231PS  Z28, Z30, lo; \
	VFMADD231PS  Z29, Z30, hi

#define W1 ROW32((AX), Z0, Z1)
#define W2 W1; ROW32((AX)(BX*1), Z2, Z3)
#define W3 W2; ROW32((AX)(BX*2), Z4, Z5)
#define W4 W3; ROW32((AX)(CX*1), Z6, Z7)
#define W5 W4; ROW32((AX)(BX*4), Z8, Z9)
#define W6 W5; ROW32((R8), Z10, Z11)
#define W7 W6; ROW32((R8)(BX*1), Z12, Z13)
#define W8 W7; ROW32((R8)(BX*2), Z14, Z15)
#define W9 W8; ROW32((R8)(CX*1), Z16, Z17)
#define W10 W9; ROW32((R8)(BX*4), Z18, Z19)
#define W11 W10; ROW32((R9), Z20, Z21)
#define W12 W11; ROW32((R9)(BX*1), Z22, Z23)
#define W13 W12; ROW32((R9)(BX*2), Z24, Z25)
#define W14 W13; ROW32((R9)(CX*1), Z26, Z27)

// The same with one register per row, for at most 16 columns.
#define ROW16(address, lo) \
	VBROADCASTSS address, Z30; \
	VFMADD231PS  Z28, Z30, lo

#define N1 ROW16((AX), Z0)
#define N2 N1; ROW16((AX)(BX*1), Z2)
#define N3 N2; ROW16((AX)(BX*2), Z4)
#define N4 N3; ROW16((AX)(CX*1), Z6)
#define N5 N4; ROW16((AX)(BX*4), Z8)
#define N6 N5; ROW16((R8), Z10)
#define N7 N6; ROW16((R8)(BX*1), Z12)
#define N8 N7; ROW16((R8)(BX*2), Z14)
#define N9 N8; ROW16((R8)(CX*1), Z16)
#define N10 N9; ROW16((R8)(BX*4), Z18)
#define N11 N10; ROW16((R9), Z20)
#define N12 N11; ROW16((R9)(BX*1), Z22)
#define N13 N12; ROW16((R9)(BX*2), Z24)
#define N14 N13; ROW16((R9)(CX*1), Z26)

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
	rows; \
	ADVANCE(loop)

// One row lasts no longer than its loads: it asks for the first-level cache.
#define SINGLE(loop, rows) \
loop: \
	VMOVUPS (R10), Z28; \
	VMOVUPS 64(R10), Z29; \
	PREFETCHT0 (R14); \
	PREFETCHT0 64(R14); \
	rows; \
	ADVANCE(loop)

#define NARROW(loop, rows) \
loop: \
	VMOVUPS (R10), Z28; \
	PREFETCHT1 (R14); \
	rows; \
	ADVANCE(loop)

#define CHOOSE(n, wide) \
	CMPQ R15, $n; \
	JEQ  wide

#define ZERO(a, b, c, d) \
	VPXORQ a, a, a; \
	VPXORQ b, b, b; \
	VPXORQ c, c, c; \
	VPXORQ d, d, d

#define LOADC(n, lo, hi) \
	VMOVUPS.Z (R13), K1, lo; \
	VMOVUPS.Z 64(R13), K2, hi; \
	CMPQ R15, $n; \
	JEQ  depth; \
	ADDQ SI, R13

#define STOREC(n, lo, hi) \
	VMOVUPS lo, K1, (R13); \
	VMOVUPS hi, K2, 64(R13); \
	CMPQ R15, $n; \
	JEQ  done; \
	ADDQ SI, R13

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
	MOVL mask+80(FP), R13
	KMOVW R13, K1
	SHRL $16, R13
	KMOVW R13, K2
	LEAQ (BX)(BX*2), CX
	LEAQ (AX)(BX*4), R8
	ADDQ BX, R8
	LEAQ (R8)(BX*4), R9
	ADDQ BX, R9
	MOVQ DI, R13

	CMPB acc+84(FP), $0
	JEQ  zero
	LOADC(1, Z0, Z1)
	LOADC(2, Z2, Z3)
	LOADC(3, Z4, Z5)
	LOADC(4, Z6, Z7)
	LOADC(5, Z8, Z9)
	LOADC(6, Z10, Z11)
	LOADC(7, Z12, Z13)
	LOADC(8, Z14, Z15)
	LOADC(9, Z16, Z17)
	LOADC(10, Z18, Z19)
	LOADC(11, Z20, Z21)
	LOADC(12, Z22, Z23)
	LOADC(13, Z24, Z25)
	LOADC(14, Z26, Z27)

zero:
	ZERO(Z0, Z1, Z2, Z3)
	ZERO(Z4, Z5, Z6, Z7)
	ZERO(Z8, Z9, Z10, Z11)
	ZERO(Z12, Z13, Z14, Z15)
	ZERO(Z16, Z17, Z18, Z19)
	ZERO(Z20, Z21, Z22, Z23)
	ZERO(Z24, Z25, Z26, Z27)

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
	STOREC(1, Z0, Z1)
	STOREC(2, Z2, Z3)
	STOREC(3, Z4, Z5)
	STOREC(4, Z6, Z7)
	STOREC(5, Z8, Z9)
	STOREC(6, Z10, Z11)
	STOREC(7, Z12, Z13)
	STOREC(8, Z14, Z15)
	STOREC(9, Z16, Z17)
	STOREC(10, Z18, Z19)
	STOREC(11, Z20, Z21)
	STOREC(12, Z22, Z23)
	STOREC(13, Z24, Z25)
	STOREC(14, Z26, Z27)

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
	rows; \
	ADVANCE(loop)

#define SCALE(n, lo, hi) \
	VMULPS Z28, lo, lo; \
	VMULPS Z29, hi, hi; \
	CMPQ R15, $n; \
	JEQ  scaled

#define ADDC(n, lo, hi) \
	VMOVUPS.Z (R13), K1, Z30; \
	VMOVUPS.Z 64(R13), K2, Z31; \
	VADDPS Z30, lo, lo; \
	VADDPS Z31, hi, hi; \
	CMPQ R15, $n; \
	JEQ  result; \
	ADDQ SI, R13

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
	MOVL mask+80(FP), R13
	KMOVW R13, K1
	SHRL $16, R13
	KMOVW R13, K2
	MOVQ $32, R11
	LEAQ (BX)(BX*2), CX
	LEAQ (AX)(BX*4), R8
	ADDQ BX, R8
	LEAQ (R8)(BX*4), R9
	ADDQ BX, R9
	ZERO(Z0, Z1, Z2, Z3)
	ZERO(Z4, Z5, Z6, Z7)
	ZERO(Z8, Z9, Z10, Z11)
	ZERO(Z12, Z13, Z14, Z15)
	ZERO(Z16, Z17, Z18, Z19)
	ZERO(Z20, Z21, Z22, Z23)
	ZERO(Z24, Z25, Z26, Z27)
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
	SCALE(1, Z0, Z1)
	SCALE(2, Z2, Z3)
	SCALE(3, Z4, Z5)
	SCALE(4, Z6, Z7)
	SCALE(5, Z8, Z9)
	SCALE(6, Z10, Z11)
	SCALE(7, Z12, Z13)
	SCALE(8, Z14, Z15)
	SCALE(9, Z16, Z17)
	SCALE(10, Z18, Z19)
	SCALE(11, Z20, Z21)
	SCALE(12, Z22, Z23)
	SCALE(13, Z24, Z25)
	SCALE(14, Z26, Z27)

scaled:
	CMPB acc+84(FP), $0
	JEQ  result
	MOVQ DI, R13
	ADDC(1, Z0, Z1)
	ADDC(2, Z2, Z3)
	ADDC(3, Z4, Z5)
	ADDC(4, Z6, Z7)
	ADDC(5, Z8, Z9)
	ADDC(6, Z10, Z11)
	ADDC(7, Z12, Z13)
	ADDC(8, Z14, Z15)
	ADDC(9, Z16, Z17)
	ADDC(10, Z18, Z19)
	ADDC(11, Z20, Z21)
	ADDC(12, Z22, Z23)
	ADDC(13, Z24, Z25)
	ADDC(14, Z26, Z27)

result:
	MOVQ DI, R13
	STOREC(1, Z0, Z1)
	STOREC(2, Z2, Z3)
	STOREC(3, Z4, Z5)
	STOREC(4, Z6, Z7)
	STOREC(5, Z8, Z9)
	STOREC(6, Z10, Z11)
	STOREC(7, Z12, Z13)
	STOREC(8, Z14, Z15)
	STOREC(9, Z16, Z17)
	STOREC(10, Z18, Z19)
	STOREC(11, Z20, Z21)
	STOREC(12, Z22, Z23)
	STOREC(13, Z24, Z25)
	STOREC(14, Z26, Z27)

done:
	VZEROUPPER
	RET
