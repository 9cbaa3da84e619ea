#include "textflag.h"
#include "rows_avx512_amd64.h"

// A tile is up to 14 rows of the result by 32 columns: two ZMM registers per
// row, 28 accumulators. For each k, two loads of b serve all rows and one
// broadcast of a[i, k] serves two multiply-adds, so at 14 rows the loop runs at
// the speed of the two multiply-add ports.
//
// A core that shares its front end with a busy neighbour is short of
// instructions rather than of multipliers, so two k's share the counting, and
// where a lies upright (the rows of one k next to each other, no index in the
// address) most rows are broadcast inside the multiply-add: two micro-operations
// instead of three, for one load more. Not all rows are: the load ports would
// run out.
//
// Registers beside those of rows_avx512_amd64.h:
//	AX          alone where a is upright
//	R10, R11    b at the current k; bytes between its rows
//	R12         remaining k's
//	R14, R13    in the loop over k, what to fetch into the outer cache; bytes to its
//	            next place, every other k
//	R14         bytes from c to the c of the next tile

#define INSIDE32(address, lo, hi) \
	VFMADD231PS.BCST address, Z28, lo; \
	VFMADD231PS.BCST address, Z29, hi

// U(n) is W(n) of an upright a.
#define U1(d) INSIDE32((d+0)(AX), Z0, Z1)
#define U2(d) U1(d); INSIDE32((d+4)(AX), Z2, Z3)
#define U3(d) U2(d); INSIDE32((d+8)(AX), Z4, Z5)
#define U4(d) U3(d); ROW32((d+12)(AX), Z6, Z7)
#define U5(d) U4(d); INSIDE32((d+16)(AX), Z8, Z9)
#define U6(d) U5(d); ROW32((d+20)(AX), Z10, Z11)
#define U7(d) U6(d); INSIDE32((d+24)(AX), Z12, Z13)
#define U8(d) U7(d); INSIDE32((d+28)(AX), Z14, Z15)
#define U9(d) U8(d); INSIDE32((d+32)(AX), Z16, Z17)
#define U10(d) U9(d); ROW32((d+36)(AX), Z18, Z19)
#define U11(d) U10(d); INSIDE32((d+40)(AX), Z20, Z21)
#define U12(d) U11(d); ROW32((d+44)(AX), Z22, Z23)
#define U13(d) U12(d); INSIDE32((d+48)(AX), Z24, Z25)
#define U14(d) U13(d); ROW32((d+52)(AX), Z26, Z27)

#define INSIDE16(address, lo) \
	VFMADD231PS.BCST address, Z28, lo

// V(n) is N(n) of an upright a.
#define V1(d) INSIDE16((d+0)(AX), Z0)
#define V2(d) V1(d); INSIDE16((d+4)(AX), Z2)
#define V3(d) V2(d); INSIDE16((d+8)(AX), Z4)
#define V4(d) V3(d); INSIDE16((d+12)(AX), Z6)
#define V5(d) V4(d); INSIDE16((d+16)(AX), Z8)
#define V6(d) V5(d); INSIDE16((d+20)(AX), Z10)
#define V7(d) V6(d); INSIDE16((d+24)(AX), Z12)
#define V8(d) V7(d); INSIDE16((d+28)(AX), Z14)
#define V9(d) V8(d); INSIDE16((d+32)(AX), Z16)
#define V10(d) V9(d); INSIDE16((d+36)(AX), Z18)
#define V11(d) V10(d); INSIDE16((d+40)(AX), Z20)
#define V12(d) V11(d); INSIDE16((d+44)(AX), Z22)
#define V13(d) V12(d); INSIDE16((d+48)(AX), Z24)
#define V14(d) V13(d); INSIDE16((d+52)(AX), Z26)

#define ADVANCE(bytes) \
	ADDQ $bytes, AX; \
	ADDQ $bytes, R8; \
	ADDQ $bytes, R9

#define CLIMB(bytes) \
	ADDQ $bytes, AX

#define LOAD32 \
	VMOVUPS (R10), Z28; \
	VMOVUPS 64(R10), Z29

#define LOAD32NEXT \
	VMOVUPS (R10)(R11*1), Z28; \
	VMOVUPS 64(R10)(R11*1), Z29; \
	PREFETCHT1 (R14); \
	PREFETCHT1 64(R14); \
	ADDQ R13, R14

#define LOAD16 VMOVUPS (R10), Z28
#define LOAD16NEXT VMOVUPS (R10)(R11*1), Z28

// DEPTH is the loop over k, two at a time after an odd one. bytes lie between
// the k's of a.
#define DEPTH(first, pair, load, loadnext, rows, bytes, advance) \
first: \
	TESTQ $1, R12; \
	JZ   pair; \
	load; \
	rows(0); \
	advance(bytes); \
	ADDQ R11, R10; \
	DECQ R12; \
	JZ   store; \
	PCALIGN $64; \
pair: \
	load; \
	rows(0); \
	loadnext; \
	rows(bytes); \
	advance(2*bytes); \
	LEAQ (R10)(R11*2), R10; \
	SUBQ $2, R12; \
	JNZ  pair; \
	JMP  store

#define WIDE(first, pair, rows) DEPTH(first, pair, LOAD32, LOAD32NEXT, rows, 4, ADVANCE)
#define WIDEUP(first, pair, rows) DEPTH(first, pair, LOAD32, LOAD32NEXT, rows, 64, CLIMB)
#define NARROW(first, pair, rows) DEPTH(first, pair, LOAD16, LOAD16NEXT, rows, 4, ADVANCE)
#define NARROWUP(first, pair, rows) DEPTH(first, pair, LOAD16, LOAD16NEXT, rows, 64, CLIMB)

// LOADAHEAD is LOADC that prefetches the next tile's part of c: a chain begins with it.
#define LOADAHEAD(n, lo, hi) \
	VMOVUPS.Z (R13), K1, lo; \
	VMOVUPS.Z 64(R13), K2, hi; \
	PREFETCHT0 (R13)(R14*1); \
	PREFETCHT0 64(R13)(R14*1); \
	NEXTROW(n, depth)

// func tile512(c *float32, ldc int, a *float32, rs int, upright bool, b *float32, bs, k, rows int, ahead *float32, step, next int, mask uint32, acc bool)
// Distances are in bytes. Rows of a are rs apart and its k's 4; if it is
// upright, 4 and 64.
TEXT ·tile512(SB), NOSPLIT, $0-101
	MOVQ c+0(FP), DI
	MOVQ ldc+8(FP), SI
	MOVQ a+16(FP), AX
	MOVQ rs+24(FP), BX
	MOVQ b+40(FP), R10
	MOVQ bs+48(FP), R11
	MOVQ k+56(FP), R12
	MOVQ rows+64(FP), R15
	MOVQ next+88(FP), R14
	COLUMNS(mask+96(FP))
	ROWPOINTERS
	MOVQ DI, R13

	CMPB acc+100(FP), $0
	JEQ  zero
	EACH(LOADAHEAD)

zero:
	EACH(EMPTY)
	MOVQ R15, CX

ahead:
	PREFETCHT0 (R13)(R14*1)
	PREFETCHT0 64(R13)(R14*1)
	ADDQ SI, R13
	DECQ CX
	JNZ  ahead
	LEAQ (BX)(BX*2), CX

depth:
	TESTQ R12, R12
	JZ    store
	MOVQ  ahead+72(FP), R14
	MOVQ  step+80(FP), R13
	CMPB  upright+32(FP), $0
	JNE   stands
	KTESTW K2, K2
	JZ    narrow
	CHOOSE(14, wide14)
	CHOOSE(1, wide1)
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
	CHOOSE(14, narrow14)
	CHOOSE(1, narrow1)
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

stands:
	KTESTW K2, K2
	JZ    narrowup
	CHOOSE(14, wideup14)
	CHOOSE(1, wideup1)
	CHOOSE(2, wideup2)
	CHOOSE(3, wideup3)
	CHOOSE(4, wideup4)
	CHOOSE(5, wideup5)
	CHOOSE(6, wideup6)
	CHOOSE(7, wideup7)
	CHOOSE(8, wideup8)
	CHOOSE(9, wideup9)
	CHOOSE(10, wideup10)
	CHOOSE(11, wideup11)
	CHOOSE(12, wideup12)
	JMP wideup13

narrowup:
	CHOOSE(14, narrowup14)
	CHOOSE(1, narrowup1)
	CHOOSE(2, narrowup2)
	CHOOSE(3, narrowup3)
	CHOOSE(4, narrowup4)
	CHOOSE(5, narrowup5)
	CHOOSE(6, narrowup6)
	CHOOSE(7, narrowup7)
	CHOOSE(8, narrowup8)
	CHOOSE(9, narrowup9)
	CHOOSE(10, narrowup10)
	CHOOSE(11, narrowup11)
	CHOOSE(12, narrowup12)
	JMP narrowup13

	PCALIGN $64
	WIDE(wide14, widepair14, W14)
	WIDE(wide13, widepair13, W13)
	WIDE(wide12, widepair12, W12)
	WIDE(wide11, widepair11, W11)
	WIDE(wide10, widepair10, W10)
	WIDE(wide9, widepair9, W9)
	WIDE(wide8, widepair8, W8)
	WIDE(wide7, widepair7, W7)
	WIDE(wide6, widepair6, W6)
	WIDE(wide5, widepair5, W5)
	WIDE(wide4, widepair4, W4)
	WIDE(wide3, widepair3, W3)
	WIDE(wide2, widepair2, W2)
	WIDE(wide1, widepair1, W1)

	PCALIGN $64
	WIDEUP(wideup14, wideuppair14, U14)
	WIDEUP(wideup13, wideuppair13, U13)
	WIDEUP(wideup12, wideuppair12, U12)
	WIDEUP(wideup11, wideuppair11, U11)
	WIDEUP(wideup10, wideuppair10, U10)
	WIDEUP(wideup9, wideuppair9, U9)
	WIDEUP(wideup8, wideuppair8, U8)
	WIDEUP(wideup7, wideuppair7, U7)
	WIDEUP(wideup6, wideuppair6, U6)
	WIDEUP(wideup5, wideuppair5, U5)
	WIDEUP(wideup4, wideuppair4, U4)
	WIDEUP(wideup3, wideuppair3, U3)
	WIDEUP(wideup2, wideuppair2, U2)
	WIDEUP(wideup1, wideuppair1, U1)

	PCALIGN $64
	NARROW(narrow14, narrowpair14, N14)
	NARROW(narrow13, narrowpair13, N13)
	NARROW(narrow12, narrowpair12, N12)
	NARROW(narrow11, narrowpair11, N11)
	NARROW(narrow10, narrowpair10, N10)
	NARROW(narrow9, narrowpair9, N9)
	NARROW(narrow8, narrowpair8, N8)
	NARROW(narrow7, narrowpair7, N7)
	NARROW(narrow6, narrowpair6, N6)
	NARROW(narrow5, narrowpair5, N5)
	NARROW(narrow4, narrowpair4, N4)
	NARROW(narrow3, narrowpair3, N3)
	NARROW(narrow2, narrowpair2, N2)
	NARROW(narrow1, narrowpair1, N1)

	PCALIGN $64
	NARROWUP(narrowup14, narrowuppair14, V14)
	NARROWUP(narrowup13, narrowuppair13, V13)
	NARROWUP(narrowup12, narrowuppair12, V12)
	NARROWUP(narrowup11, narrowuppair11, V11)
	NARROWUP(narrowup10, narrowuppair10, V10)
	NARROWUP(narrowup9, narrowuppair9, V9)
	NARROWUP(narrowup8, narrowuppair8, V8)
	NARROWUP(narrowup7, narrowuppair7, V7)
	NARROWUP(narrowup6, narrowuppair6, V6)
	NARROWUP(narrowup5, narrowuppair5, V5)
	NARROWUP(narrowup4, narrowuppair4, V4)
	NARROWUP(narrowup3, narrowuppair3, V3)
	NARROWUP(narrowup2, narrowuppair2, V2)
	NARROWUP(narrowup1, narrowuppair1, V1)

store:
	MOVQ DI, R13
	EACH(STOREC)

done:
	VZEROUPPER
	RET
