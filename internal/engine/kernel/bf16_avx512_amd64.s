#include "textflag.h"
#include "bf16_encoding_amd64.h"
#include "rows_avx512_amd64.h"

// A tile is up to 14 rows of the result by 32 columns, as in tile512. For each
// pair of k's, two loads of b serve all rows and one broadcast of a pair of a
// serves two instructions of 32 multiply-adds each.
//
// Registers beside those of rows_avx512_amd64.h, k's being pairs:
//	R10         b at the current pair, 128 bytes each
//	R12         remaining pairs
//	Z30         a pair of a

#define PAIR(address) VPBROADCASTD address, Z30

#define B1 PAIR((AX)); DP0; DP1
#define B2 B1; PAIR((AX)(BX*1)); DP2; DP3
#define B3 B2; PAIR((AX)(BX*2)); DP4; DP5
#define B4 B3; PAIR((AX)(CX*1)); DP6; DP7
#define B5 B4; PAIR((AX)(BX*4)); DP8; DP9
#define B6 B5; PAIR((R8)); DP10; DP11
#define B7 B6; PAIR((R8)(BX*1)); DP12; DP13
#define B8 B7; PAIR((R8)(BX*2)); DP14; DP15
#define B9 B8; PAIR((R8)(CX*1)); DP16; DP17
#define B10 B9; PAIR((R8)(BX*4)); DP18; DP19
#define B11 B10; PAIR((R9)); DP20; DP21
#define B12 B11; PAIR((R9)(BX*1)); DP22; DP23
#define B13 B12; PAIR((R9)(BX*2)); DP24; DP25
#define B14 B13; PAIR((R9)(CX*1)); DP26; DP27

#define PAIRS(loop, rows) \
loop: \
	VMOVUPS (R10), Z28; \
	VMOVUPS 64(R10), Z29; \
	PREFETCHT0 6144(R10); \
	PREFETCHT0 6208(R10); \
	rows; \
	ADDQ $4, AX; \
	ADDQ $4, R8; \
	ADDQ $4, R9; \
	ADDQ $128, R10; \
	DECQ R12; \
	JNZ  loop; \
	JMP  store

// func pairs512(c *float32, ldc int, a *uint16, lda int, b *uint16, pairs, rows int, mask uint32, acc bool)
// Distances are in bytes; pairs and rows are at least one.
TEXT ·pairs512(SB), NOSPLIT, $0-61
	MOVQ c+0(FP), DI
	MOVQ ldc+8(FP), SI
	MOVQ a+16(FP), AX
	MOVQ lda+24(FP), BX
	MOVQ b+32(FP), R10
	MOVQ pairs+40(FP), R12
	MOVQ rows+48(FP), R15
	COLUMNS(mask+56(FP))
	ROWPOINTERS
	MOVQ DI, R13

	CMPB acc+60(FP), $0
	JEQ  zero
	EACH(LOADC)

zero:
	EACH(EMPTY)

depth:
	CHOOSE(14, pairs14)
	CHOOSE(1, pairs1)
	CHOOSE(2, pairs2)
	CHOOSE(3, pairs3)
	CHOOSE(4, pairs4)
	CHOOSE(5, pairs5)
	CHOOSE(6, pairs6)
	CHOOSE(7, pairs7)
	CHOOSE(8, pairs8)
	CHOOSE(9, pairs9)
	CHOOSE(10, pairs10)
	CHOOSE(11, pairs11)
	CHOOSE(12, pairs12)
	JMP pairs13

	PCALIGN $64
	PAIRS(pairs14, B14)
	PAIRS(pairs13, B13)
	PAIRS(pairs12, B12)
	PAIRS(pairs11, B11)
	PAIRS(pairs10, B10)
	PAIRS(pairs9, B9)
	PAIRS(pairs8, B8)
	PAIRS(pairs7, B7)
	PAIRS(pairs6, B6)
	PAIRS(pairs5, B5)
	PAIRS(pairs4, B4)
	PAIRS(pairs3, B3)
	PAIRS(pairs2, B2)
	PAIRS(pairs1, B1)

store:
	MOVQ DI, R13
	EACH(STOREC)

done:
	VZEROUPPER
	RET

// func round512(dst *uint16, src *float32, chunks int, mask uint32)
// Rounds chunks*32 values and those of mask behind them.
TEXT ·round512(SB), NOSPLIT, $0-28
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), AX
	MOVQ chunks+16(FP), R12
	MOVL mask+24(FP), R13
	TESTQ R12, R12
	JZ   last

round:
	VMOVUPS (AX), Z0
	VMOVUPS 64(AX), Z1
	ROUND2
	VMOVUPS Z0, (DI)
	ADDQ $128, AX
	ADDQ $64, DI
	DECQ R12
	JNZ  round

last:
	TESTL R13, R13
	JZ   rounded
	KMOVD R13, K3
	KMOVW R13, K1
	SHRL $16, R13
	KMOVW R13, K2
	VMOVUPS.Z (AX), K1, Z0
	VMOVUPS.Z 64(AX), K2, Z1
	ROUND2
	VMOVDQU16 Z0, K3, (DI)

rounded:
	VZEROUPPER
	RET

// swap exchanges the middle 16 bits of every 64.
DATA swap<>+0(SB)/8, $0x0706030205040100
DATA swap<>+8(SB)/8, $0x0f0e0b0a0d0c0908
GLOBL swap<>(SB), RODATA|NOPTR, $16

// LOADQ loads half a row of pairs and makes of W[2r][2c], W[2r][2c+1],
// W[2r+1][2c], W[2r+1][2c+1] the two turned pairs.
#define LOADQ(at, z) \
	VMOVUPS at, z; \
	VPSHUFB Z31, z, z

#define UNPACK(a, b, lo, hi) \
	VUNPCKLPD b, a, lo; \
	VUNPCKHPD b, a, hi

// ROWS stores the rows n, n+2, n+4, n+6 of 128 bytes from the lanes of a, b, c, d.
#define ROWS(n, a, b, c, d) \
	VSHUFF64X2 $0x88, b, a, Z16; \
	VSHUFF64X2 $0xdd, b, a, Z17; \
	VSHUFF64X2 $0x88, d, c, Z18; \
	VSHUFF64X2 $0xdd, d, c, Z19; \
	VSHUFF64X2 $0x88, Z18, Z16, Z20; \
	VSHUFF64X2 $0x88, Z19, Z17, Z21; \
	VSHUFF64X2 $0xdd, Z18, Z16, Z22; \
	VSHUFF64X2 $0xdd, Z19, Z17, Z23; \
	VMOVUPS Z20, (n*128)(BX); \
	VMOVUPS Z21, (n*128+256)(BX); \
	VMOVUPS Z22, (n*128+512)(BX); \
	VMOVUPS Z23, (n*128+768)(BX)

// func turnPairs512(dst, src *uint16)
// A block of 16x16 pairs of pairs is turned in four 8x8 quarters of 64 bits.
TEXT ·turnPairs512(SB), NOSPLIT, $0-16
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	VBROADCASTI32X4 swap<>(SB), Z31
	XORQ CX, CX

quarter:
	// CX: bit 0 = right half of src, bit 1 = lower half of src.
	MOVQ CX, R8
	ANDQ $1, R8
	MOVQ CX, R9
	SHRQ $1, R9
	MOVQ R8, R10
	SHLQ $6, R10
	MOVQ R9, R11
	SHLQ $10, R11
	LEAQ (SI)(R10*1), AX
	ADDQ R11, AX
	SHLQ $10, R8
	SHLQ $6, R9
	LEAQ (DI)(R8*1), BX
	ADDQ R9, BX
	LOADQ((AX), Z0)
	LOADQ(128(AX), Z1)
	LOADQ(256(AX), Z2)
	LOADQ(384(AX), Z3)
	LOADQ(512(AX), Z4)
	LOADQ(640(AX), Z5)
	LOADQ(768(AX), Z6)
	LOADQ(896(AX), Z7)
	UNPACK(Z0, Z1, Z8, Z9)
	UNPACK(Z2, Z3, Z10, Z11)
	UNPACK(Z4, Z5, Z12, Z13)
	UNPACK(Z6, Z7, Z14, Z15)
	ROWS(0, Z8, Z10, Z12, Z14)
	ROWS(1, Z9, Z11, Z13, Z15)
	INCQ CX
	CMPQ CX, $4
	JNE  quarter
	VZEROUPPER
	RET
