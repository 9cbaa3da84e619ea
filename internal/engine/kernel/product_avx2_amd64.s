#include "textflag.h"

// A tile is up to 6 rows of the result by 16 columns: two YMM registers per
// row, 12 accumulators.
//
// Registers:
//	AX, R8      a at rows 0 and 5 of the current k; DX bytes between k's
//	BX, CX      1 and 3 times the bytes between rows of a
//	R10, R11    b at the current k; bytes between its rows
//	R12         remaining k's
//	DI, SI      c; bytes between its rows; R13 walks over the rows
//	R15         rows
//	Y0-Y11      accumulators: row i in Y(2i), Y(2i+1)
//	Y12, Y13    b; Y14 a broadcast

#define ROW(address, lo, hi) \
	VBROADCASTSS address, Y14; \
	VFMADD231PS  Y12, Y14, lo; \
	VFMADD231PS  Y13, Y14, hi

#define ROWS1 ROW((AX), Y0, Y1)
#define ROWS2 ROWS1; ROW((AX)(BX*1), Y2, Y3)
#define ROWS3 ROWS2; ROW((AX)(BX*2), Y4, Y5)
#define ROWS4 ROWS3; ROW((AX)(CX*1), Y6, Y7)
#define ROWS5 ROWS4; ROW((AX)(BX*4), Y8, Y9)
#define ROWS6 ROWS5; ROW((R8), Y10, Y11)

#define LOOP(loop, rows) \
loop: \
	VMOVUPS (R10), Y12; \
	VMOVUPS 32(R10), Y13; \
	PREFETCHT0 (R10)(R11*8); \
	rows; \
	ADDQ DX, AX; \
	ADDQ DX, R8; \
	ADDQ R11, R10; \
	DECQ R12; \
	JNZ  loop; \
	JMP  store

#define LOADC(n, lo, hi) \
	VMOVUPS (R13), lo; \
	VMOVUPS 32(R13), hi; \
	CMPQ R15, $n; \
	JEQ  depth; \
	ADDQ SI, R13

#define STOREC(n, lo, hi) \
	VMOVUPS lo, (R13); \
	VMOVUPS hi, 32(R13); \
	CMPQ R15, $n; \
	JEQ  done; \
	ADDQ SI, R13

#define CHOOSE(n, loop) \
	CMPQ R15, $n; \
	JEQ  loop

// func tile256(c *float32, ldc int, a *float32, rs, ks int, b *float32, bs, k, rows int, acc bool)
// Distances are in bytes.
TEXT ·tile256(SB), NOSPLIT, $0-73
	MOVQ c+0(FP), DI
	MOVQ ldc+8(FP), SI
	MOVQ a+16(FP), AX
	MOVQ rs+24(FP), BX
	MOVQ ks+32(FP), DX
	MOVQ b+40(FP), R10
	MOVQ bs+48(FP), R11
	MOVQ k+56(FP), R12
	MOVQ rows+64(FP), R15
	LEAQ (BX)(BX*2), CX
	LEAQ (AX)(BX*4), R8
	ADDQ BX, R8
	MOVQ DI, R13
	CMPB acc+72(FP), $0
	JEQ  zero
	LOADC(1, Y0, Y1)
	LOADC(2, Y2, Y3)
	LOADC(3, Y4, Y5)
	LOADC(4, Y6, Y7)
	LOADC(5, Y8, Y9)
	LOADC(6, Y10, Y11)

zero:
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7
	VXORPS Y8, Y8, Y8
	VXORPS Y9, Y9, Y9
	VXORPS Y10, Y10, Y10
	VXORPS Y11, Y11, Y11

depth:
	TESTQ R12, R12
	JZ    store
	CHOOSE(6, loop6)
	CHOOSE(1, loop1)
	CHOOSE(2, loop2)
	CHOOSE(3, loop3)
	CHOOSE(4, loop4)
	JMP loop5

	PCALIGN $64
	LOOP(loop6, ROWS6)
	LOOP(loop5, ROWS5)
	LOOP(loop4, ROWS4)
	LOOP(loop3, ROWS3)
	LOOP(loop2, ROWS2)
	LOOP(loop1, ROWS1)

store:
	MOVQ DI, R13
	STOREC(1, Y0, Y1)
	STOREC(2, Y2, Y3)
	STOREC(3, Y4, Y5)
	STOREC(4, Y6, Y7)
	STOREC(5, Y8, Y9)
	STOREC(6, Y10, Y11)

done:
	VZEROUPPER
	RET

// func one256(c, a, b *float32, k int, acc bool)
// One row by a panel.
//	DI c, AX a, R8 b, R12 remaining k's; Y0-Y3 accumulators, Y4 a broadcast
TEXT ·one256(SB), NOSPLIT, $0-33
	MOVQ c+0(FP), DI
	MOVQ a+8(FP), AX
	MOVQ b+16(FP), R8
	MOVQ k+24(FP), R12
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	CMPB acc+32(FP), $0
	JEQ  one
	VMOVUPS (DI), Y0
	VMOVUPS 32(DI), Y1
	VMOVUPS 64(DI), Y2
	VMOVUPS 96(DI), Y3

one:
	VBROADCASTSS (AX), Y4
	VFMADD231PS (R8), Y4, Y0
	VFMADD231PS 32(R8), Y4, Y1
	VFMADD231PS 64(R8), Y4, Y2
	VFMADD231PS 96(R8), Y4, Y3
	ADDQ $4, AX
	ADDQ $128, R8
	DECQ R12
	JNZ  one
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	VZEROUPPER
	RET
