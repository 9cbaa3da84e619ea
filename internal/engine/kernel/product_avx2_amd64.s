#include "textflag.h"

// A tile is up to 6 rows of the result by 16 columns: two YMM registers per
// row, 12 accumulators. For each k, two loads of b serve all rows and one broadcast of
// a[i, k] serves two multiply-adds: at 6 rows the loop runs at the speed of the two
// multiply-add ports.
//
// Four k's share the counting: a core that shares its front end with a busy neighbour
// is short of instructions rather than of multipliers.
//
// Registers:
//	AX, R8      a at rows 0 and 5 of the current k; AX alone where a is upright
//	BX, CX      1 and 3 times the bytes between rows of a
//	R10, R11    b at the current k; bytes between its rows; R14 three times those
//	R12, R13    remaining k's in fours, and the rest
//	R9, DX      what to fetch into the outer cache; bytes to its next place, every k
//	DI, SI      c; bytes between its rows; R13 walks over the rows
//	R15         rows
//	Y0-Y11      accumulators: row i in Y(2i), Y(2i+1)
//	Y12, Y13    b; Y14 a broadcast

#define ROW(address, lo, hi) \
	VBROADCASTSS address, Y14; \
	VFMADD231PS  Y12, Y14, lo; \
	VFMADD231PS  Y13, Y14, hi

// W(n) is n rows of a at displacement d, U(n) the same of an upright a.
#define W1(d) ROW(d(AX), Y0, Y1)
#define W2(d) W1(d); ROW(d(AX)(BX*1), Y2, Y3)
#define W3(d) W2(d); ROW(d(AX)(BX*2), Y4, Y5)
#define W4(d) W3(d); ROW(d(AX)(CX*1), Y6, Y7)
#define W5(d) W4(d); ROW(d(AX)(BX*4), Y8, Y9)
#define W6(d) W5(d); ROW(d(R8), Y10, Y11)

#define U1(d) ROW((d+0)(AX), Y0, Y1)
#define U2(d) U1(d); ROW((d+4)(AX), Y2, Y3)
#define U3(d) U2(d); ROW((d+8)(AX), Y4, Y5)
#define U4(d) U3(d); ROW((d+12)(AX), Y6, Y7)
#define U5(d) U4(d); ROW((d+16)(AX), Y8, Y9)
#define U6(d) U5(d); ROW((d+20)(AX), Y10, Y11)

#define LOADB(lo, hi) \
	VMOVUPS lo, Y12; \
	VMOVUPS hi, Y13

#define ADVANCE(bytes) \
	ADDQ $bytes, AX; \
	ADDQ $bytes, R8

#define CLIMB(bytes) ADDQ $bytes, AX

// ASK fetches a line for each of two k's, ASKLESS for the first of them: a strip of a
// product is one of many that share out what they fetch.
#define ASK \
	PREFETCHT1 (R9); \
	PREFETCHT1 (R9)(DX*1); \
	LEAQ (R9)(DX*2), R9

#define ASKLESS \
	PREFETCHT1 (R9); \
	LEAQ (R9)(DX*2), R9

// DEPTH is the loop over k, four at a time before what is left. bytes lie between the
// k's of a.
#define DEPTH(four, left, rows, bytes, advance, ask) \
	TESTQ R12, R12; \
	JZ   left; \
	PCALIGN $64; \
four: \
	LOADB((R10), 32(R10)); \
	rows(0); \
	LOADB((R10)(R11*1), 32(R10)(R11*1)); \
	rows(bytes); \
	ask; \
	LOADB((R10)(R11*2), 32(R10)(R11*2)); \
	rows(2*bytes); \
	LOADB((R10)(R14*1), 32(R10)(R14*1)); \
	rows(3*bytes); \
	ask; \
	LEAQ (R10)(R11*4), R10; \
	advance(4*bytes); \
	DECQ R12; \
	JNZ  four; \
	TESTQ R13, R13; \
	JZ   store; \
left: \
	LOADB((R10), 32(R10)); \
	rows(0); \
	ADDQ R11, R10; \
	advance(bytes); \
	DECQ R13; \
	JNZ  left; \
	JMP  store

#define LIE(start, four, left, rows) start: DEPTH(four, left, rows, 4, ADVANCE, ASK)
#define STAND(start, four, left, rows) start: DEPTH(four, left, rows, 32, CLIMB, ASKLESS)

// The next tile's part of c is prefetched, R14 bytes from here: a chain begins with it.
#define LOADC(n, lo, hi) \
	VMOVUPS (R13), lo; \
	VMOVUPS 32(R13), hi; \
	PREFETCHT0 (R13)(R14*1); \
	CMPQ R15, $n; \
	JEQ  depth; \
	ADDQ SI, R13

#define STOREC(n, lo, hi) \
	VMOVUPS lo, (R13); \
	VMOVUPS hi, 32(R13); \
	CMPQ R15, $n; \
	JEQ  done; \
	ADDQ SI, R13

// CLEAR empties the accumulators.
#define CLEAR \
	VXORPS Y0, Y0, Y0; \
	VXORPS Y1, Y1, Y1; \
	VXORPS Y2, Y2, Y2; \
	VXORPS Y3, Y3, Y3; \
	VXORPS Y4, Y4, Y4; \
	VXORPS Y5, Y5, Y5; \
	VXORPS Y6, Y6, Y6; \
	VXORPS Y7, Y7, Y7; \
	VXORPS Y8, Y8, Y8; \
	VXORPS Y9, Y9, Y9; \
	VXORPS Y10, Y10, Y10; \
	VXORPS Y11, Y11, Y11

#define CHOOSE(n, loop) \
	CMPQ R15, $n; \
	JEQ  loop

// func tile256(c *float32, ldc int, a *float32, rs int, upright bool, b *float32, bs, k, rows, strips, apart int, ahead *float32, step, each, next int, acc bool)
// Distances are in bytes. Rows of a are rs apart and its k's 4; if it is upright, 4
// and 32. Of the arguments strips, a and ahead turn to the next strip.
TEXT ·tile256(SB), NOSPLIT, $0-121
	MOVQ c+0(FP), DI
	MOVQ ldc+8(FP), SI
	MOVQ rs+24(FP), BX
	MOVQ bs+48(FP), R11
	MOVQ rows+64(FP), R15
	MOVQ step+96(FP), DX

strip:
	MOVQ    a+16(FP), AX
	MOVQ    b+40(FP), R10
	MOVQ    k+56(FP), R12
	MOVQ    ahead+88(FP), R9
	MOVQ    SI, R14
	IMULQ   R15, R14
	CMPQ    strips+72(FP), $1
	CMOVQEQ next+112(FP), R14
	MOVQ    DI, R13
	CMPB    acc+120(FP), $0
	JEQ     zero
	LOADC(1, Y0, Y1)
	LOADC(2, Y2, Y3)
	LOADC(3, Y4, Y5)
	LOADC(4, Y6, Y7)
	LOADC(5, Y8, Y9)
	LOADC(6, Y10, Y11)

zero:
	CLEAR
	MOVQ R15, CX

ahead:
	PREFETCHT0 (R13)(R14*1)
	ADDQ SI, R13
	DECQ CX
	JNZ  ahead

depth:
	TESTQ R12, R12
	JZ    store
	LEAQ  (BX)(BX*2), CX
	LEAQ  (AX)(BX*4), R8
	ADDQ  BX, R8
	LEAQ  (R11)(R11*2), R14
	MOVQ  R12, R13
	ANDQ  $3, R13
	SHRQ  $2, R12
	CMPB  upright+32(FP), $0
	JNE   stands
	CHOOSE(6, lie6)
	CHOOSE(1, lie1)
	CHOOSE(2, lie2)
	CHOOSE(3, lie3)
	CHOOSE(4, lie4)
	JMP lie5

stands:
	CHOOSE(6, stand6)
	CHOOSE(1, stand1)
	CHOOSE(2, stand2)
	CHOOSE(3, stand3)
	CHOOSE(4, stand4)
	JMP stand5

	STAND(stand6, stand6four, stand6left, U6)
	STAND(stand5, stand5four, stand5left, U5)
	STAND(stand4, stand4four, stand4left, U4)
	STAND(stand3, stand3four, stand3left, U3)
	STAND(stand2, stand2four, stand2left, U2)
	STAND(stand1, stand1four, stand1left, U1)
	LIE(lie6, lie6four, lie6left, W6)
	LIE(lie5, lie5four, lie5left, W5)
	LIE(lie4, lie4four, lie4left, W4)
	LIE(lie3, lie3four, lie3left, W3)
	LIE(lie2, lie2four, lie2left, W2)
	LIE(lie1, lie1four, lie1left, W1)

store:
	MOVQ DI, R13
	STOREC(1, Y0, Y1)
	STOREC(2, Y2, Y3)
	STOREC(3, Y4, Y5)
	STOREC(4, Y6, Y7)
	STOREC(5, Y8, Y9)
	STOREC(6, Y10, Y11)

done:
	LEAQ (R13)(SI*1), DI
	MOVQ apart+80(FP), AX
	ADDQ AX, a+16(FP)
	MOVQ each+104(FP), AX
	ADDQ AX, ahead+88(FP)
	DECQ strips+72(FP)
	JNZ  strip
	VZEROUPPER
	RET

// Few rows leave a tile of 16 columns too few accumulators to hide the latency of
// multiply-adds: up to 3 rows have a whole panel, row i in Y(4i) to Y(4i+3).
//	AX a of the current k, BX bytes between its rows
//	R10, R11 b at the current k; bytes between its rows; R12 remaining k's
//	R9, DX what to fetch into the outer cache; bytes to its next place, every k
//	DI, SI c; bytes between its rows; R13 walks over the rows; R15 rows
//	Y12-Y14 broadcasts, Y15 b

#define WIDE1(at, c0) \
	VMOVUPS at(R10), Y15; \
	VFMADD231PS Y15, Y12, c0

#define WIDE2(at, c0, c1) \
	WIDE1(at, c0); \
	VFMADD231PS Y15, Y13, c1

#define WIDE3(at, c0, c1, c2) \
	WIDE2(at, c0, c1); \
	VFMADD231PS Y15, Y14, c2

#define NEXTWIDE(loop) \
	PREFETCHT1 (R9); \
	PREFETCHT1 64(R9); \
	ADDQ DX, R9; \
	ADDQ $4, AX; \
	ADDQ R11, R10; \
	DECQ R12; \
	JNZ  loop

#define LOADWIDE(n, c0, c1, c2, c3) \
	VMOVUPS (R13), c0; \
	VMOVUPS 32(R13), c1; \
	VMOVUPS 64(R13), c2; \
	VMOVUPS 96(R13), c3; \
	CMPQ R15, $n; \
	JEQ  widedepth; \
	ADDQ SI, R13

#define STOREWIDE(n, c0, c1, c2, c3) \
	VMOVUPS c0, (R13); \
	VMOVUPS c1, 32(R13); \
	VMOVUPS c2, 64(R13); \
	VMOVUPS c3, 96(R13); \
	CMPQ R15, $n; \
	JEQ  widedone; \
	ADDQ SI, R13

// func wide256(c *float32, ldc int, a *float32, rs int, b *float32, bs, k, rows int, ahead *float32, step int, acc bool)
// Distances are in bytes; k is at least one.
TEXT ·wide256(SB), NOSPLIT, $0-81
	MOVQ c+0(FP), DI
	MOVQ ldc+8(FP), SI
	MOVQ a+16(FP), AX
	MOVQ rs+24(FP), BX
	MOVQ b+32(FP), R10
	MOVQ bs+40(FP), R11
	MOVQ k+48(FP), R12
	MOVQ rows+56(FP), R15
	MOVQ ahead+64(FP), R9
	MOVQ step+72(FP), DX
	MOVQ DI, R13
	CMPB acc+80(FP), $0
	JEQ  widezero
	LOADWIDE(1, Y0, Y1, Y2, Y3)
	LOADWIDE(2, Y4, Y5, Y6, Y7)
	LOADWIDE(3, Y8, Y9, Y10, Y11)

widezero:
	CLEAR

widedepth:
	CHOOSE(1, wide1)
	CHOOSE(2, wide2)

	PCALIGN $64
wide3:
	VBROADCASTSS (AX), Y12
	VBROADCASTSS (AX)(BX*1), Y13
	VBROADCASTSS (AX)(BX*2), Y14
	WIDE3(0, Y0, Y4, Y8)
	WIDE3(32, Y1, Y5, Y9)
	WIDE3(64, Y2, Y6, Y10)
	WIDE3(96, Y3, Y7, Y11)
	NEXTWIDE(wide3)
	JMP widestore

wide2:
	VBROADCASTSS (AX), Y12
	VBROADCASTSS (AX)(BX*1), Y13
	WIDE2(0, Y0, Y4)
	WIDE2(32, Y1, Y5)
	WIDE2(64, Y2, Y6)
	WIDE2(96, Y3, Y7)
	NEXTWIDE(wide2)
	JMP widestore

wide1:
	VBROADCASTSS (AX), Y12
	WIDE1(0, Y0)
	WIDE1(32, Y1)
	WIDE1(64, Y2)
	WIDE1(96, Y3)
	NEXTWIDE(wide1)

widestore:
	MOVQ DI, R13
	STOREWIDE(1, Y0, Y1, Y2, Y3)
	STOREWIDE(2, Y4, Y5, Y6, Y7)
	STOREWIDE(3, Y8, Y9, Y10, Y11)

widedone:
	VZEROUPPER
	RET
