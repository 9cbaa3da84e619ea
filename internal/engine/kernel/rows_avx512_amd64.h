// What the tiles of up to 14 rows by 32 columns of AVX-512 share.
//
//	AX, R8, R9  a at rows 0, 5, 10 of the current k
//	BX, CX      1 and 3 times the bytes between rows of a
//	DI, SI      c; bytes between its rows; R13 walks over the rows
//	R15         rows
//	K1, K2      columns 0-15 and 16-31 that exist
//	Z0-Z27      accumulators: row i in Z(2i), Z(2i+1)
//	Z28, Z29    b; Z30 a broadcast

#define ROW32(address, lo, hi) \
	VBROADCASTSS address, Z30; \
	VFMADD231PS  Z28, Z30, lo; \
	VFMADD231PS  Z29, Z30, hi

// W(n) is n rows of a at displacement d.
#define W1(d) ROW32(d(AX), Z0, Z1)
#define W2(d) W1(d); ROW32(d(AX)(BX*1), Z2, Z3)
#define W3(d) W2(d); ROW32(d(AX)(BX*2), Z4, Z5)
#define W4(d) W3(d); ROW32(d(AX)(CX*1), Z6, Z7)
#define W5(d) W4(d); ROW32(d(AX)(BX*4), Z8, Z9)
#define W6(d) W5(d); ROW32(d(R8), Z10, Z11)
#define W7(d) W6(d); ROW32(d(R8)(BX*1), Z12, Z13)
#define W8(d) W7(d); ROW32(d(R8)(BX*2), Z14, Z15)
#define W9(d) W8(d); ROW32(d(R8)(CX*1), Z16, Z17)
#define W10(d) W9(d); ROW32(d(R8)(BX*4), Z18, Z19)
#define W11(d) W10(d); ROW32(d(R9), Z20, Z21)
#define W12(d) W11(d); ROW32(d(R9)(BX*1), Z22, Z23)
#define W13(d) W12(d); ROW32(d(R9)(BX*2), Z24, Z25)
#define W14(d) W13(d); ROW32(d(R9)(CX*1), Z26, Z27)

// N(n) is W(n) with one register per row, for at most 16 columns.
#define ROW16(address, lo) \
	VBROADCASTSS address, Z30; \
	VFMADD231PS  Z28, Z30, lo

#define N1(d) ROW16(d(AX), Z0)
#define N2(d) N1(d); ROW16(d(AX)(BX*1), Z2)
#define N3(d) N2(d); ROW16(d(AX)(BX*2), Z4)
#define N4(d) N3(d); ROW16(d(AX)(CX*1), Z6)
#define N5(d) N4(d); ROW16(d(AX)(BX*4), Z8)
#define N6(d) N5(d); ROW16(d(R8), Z10)
#define N7(d) N6(d); ROW16(d(R8)(BX*1), Z12)
#define N8(d) N7(d); ROW16(d(R8)(BX*2), Z14)
#define N9(d) N8(d); ROW16(d(R8)(CX*1), Z16)
#define N10(d) N9(d); ROW16(d(R8)(BX*4), Z18)
#define N11(d) N10(d); ROW16(d(R9), Z20)
#define N12(d) N11(d); ROW16(d(R9)(BX*1), Z22)
#define N13(d) N12(d); ROW16(d(R9)(BX*2), Z24)
#define N14(d) N13(d); ROW16(d(R9)(CX*1), Z26)

#define CHOOSE(n, loop) \
	CMPQ R15, $n; \
	JEQ  loop

// COLUMNS turns a mask of 32 columns into K1 and K2.
#define COLUMNS(mask) \
	MOVL mask, R13; \
	KMOVW R13, K1; \
	SHRL $16, R13; \
	KMOVW R13, K2

// ROWPOINTERS makes CX, R8 and R9 of AX and BX.
#define ROWPOINTERS \
	LEAQ (BX)(BX*2), CX; \
	LEAQ (AX)(BX*4), R8; \
	ADDQ BX, R8; \
	LEAQ (R8)(BX*4), R9; \
	ADDQ BX, R9

// EACH does op with every row's number, counted from one, and its accumulators. op
// leaves behind the last row there is.
#define EACH(op) \
	op(1, Z0, Z1); \
	op(2, Z2, Z3); \
	op(3, Z4, Z5); \
	op(4, Z6, Z7); \
	op(5, Z8, Z9); \
	op(6, Z10, Z11); \
	op(7, Z12, Z13); \
	op(8, Z14, Z15); \
	op(9, Z16, Z17); \
	op(10, Z18, Z19); \
	op(11, Z20, Z21); \
	op(12, Z22, Z23); \
	op(13, Z24, Z25); \
	op(14, Z26, Z27)

// NEXTROW leaves for out behind row n if it is the last, else goes on in c.
#define NEXTROW(n, out) \
	CHOOSE(n, out); \
	ADDQ SI, R13

#define EMPTY(n, lo, hi) \
	VPXORQ lo, lo, lo; \
	VPXORQ hi, hi, hi

#define LOADC(n, lo, hi) \
	VMOVUPS.Z (R13), K1, lo; \
	VMOVUPS.Z 64(R13), K2, hi; \
	NEXTROW(n, depth)

#define STOREC(n, lo, hi) \
	VMOVUPS lo, K1, (R13); \
	VMOVUPS hi, K2, 64(R13); \
	NEXTROW(n, done)
