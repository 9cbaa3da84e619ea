#include "textflag.h"
#include "bf16_encoding_amd64.h"

// Dense operands of products in bfloat16, rounded and arranged in one pass.

// SQUARES and LANES turn 16 rows of 16 pairs as in turn_avx512_amd64.s.
#define SQUARES(a, b, c, d) \
	VUNPCKLPS b, a, Z18; \
	VUNPCKHPS b, a, Z19; \
	VUNPCKLPS d, c, Z20; \
	VUNPCKHPS d, c, Z21; \
	VUNPCKLPD Z20, Z18, a; \
	VUNPCKHPD Z20, Z18, b; \
	VUNPCKLPD Z21, Z19, c; \
	VUNPCKHPD Z21, Z19, d

// LANES leaves columns n, n+4, n+8, n+12 in Z22-Z25.
#define LANES(a, b, c, d) \
	VSHUFF32X4 $0x88, b, a, Z18; \
	VSHUFF32X4 $0xdd, b, a, Z19; \
	VSHUFF32X4 $0x88, d, c, Z20; \
	VSHUFF32X4 $0xdd, d, c, Z21; \
	VSHUFF32X4 $0x88, Z20, Z18, Z22; \
	VSHUFF32X4 $0x88, Z21, Z19, Z23; \
	VSHUFF32X4 $0xdd, Z20, Z18, Z24; \
	VSHUFF32X4 $0xdd, Z21, Z19, Z25

#define TURN \
	SQUARES(Z2, Z3, Z4, Z5); \
	SQUARES(Z6, Z7, Z8, Z9); \
	SQUARES(Z10, Z11, Z12, Z13); \
	SQUARES(Z14, Z15, Z16, Z17)

#define ZERO4(a, b, c, d) \
	VPXORQ a, a, a; \
	VPXORQ b, b, b; \
	VPXORQ c, c, c; \
	VPXORQ d, d, d

// COLUMN loads the depth of column n: 32 values of a row of src.
#define COLUMN(n, z) \
	VMOVUPS.Z (AX), K1, Z0; \
	VMOVUPS.Z 64(AX), K2, Z1; \
	VMULPS Z31, Z0, Z0; \
	VMULPS Z31, Z1, Z1; \
	ROUND2; \
	VMOVAPS Z0, z; \
	CMPQ R15, $n; \
	JEQ  loaded; \
	ADDQ SI, AX

#define PAIRROWS(n) \
	VMOVUPS Z22, (n*128)(DI); \
	VMOVUPS Z23, (n*128+512)(DI); \
	VMOVUPS Z24, (n*128+1024)(DI); \
	VMOVUPS Z25, (n*128+1536)(DI)

// func packColumns512(dst *uint16, src *float32, ld, cols int, mask uint32, alpha float32)
// 16 columns of a block: pair p of column j goes to the 32-bit dst[32p + j]. cols
// is 1 to 16, the others become zero; mask says which of 32 depths exist.
TEXT ·packColumns512(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), AX
	MOVQ ld+16(FP), SI
	MOVQ cols+24(FP), R15
	MOVL mask+32(FP), R13
	VBROADCASTSS alpha+36(FP), Z31
	KMOVW R13, K1
	SHRL $16, R13
	KMOVW R13, K2
	CMPQ R15, $16
	JEQ  all
	ZERO4(Z2, Z3, Z4, Z5)
	ZERO4(Z6, Z7, Z8, Z9)
	ZERO4(Z10, Z11, Z12, Z13)
	ZERO4(Z14, Z15, Z16, Z17)

all:
	COLUMN(1, Z2)
	COLUMN(2, Z3)
	COLUMN(3, Z4)
	COLUMN(4, Z5)
	COLUMN(5, Z6)
	COLUMN(6, Z7)
	COLUMN(7, Z8)
	COLUMN(8, Z9)
	COLUMN(9, Z10)
	COLUMN(10, Z11)
	COLUMN(11, Z12)
	COLUMN(12, Z13)
	COLUMN(13, Z14)
	COLUMN(14, Z15)
	COLUMN(15, Z16)
	COLUMN(16, Z17)

loaded:
	TURN
	LANES(Z2, Z6, Z10, Z14)
	PAIRROWS(0)
	LANES(Z3, Z7, Z11, Z15)
	PAIRROWS(1)
	LANES(Z4, Z8, Z12, Z16)
	PAIRROWS(2)
	LANES(Z5, Z9, Z13, Z17)
	PAIRROWS(3)
	VZEROUPPER
	RET

// interleave pairs the two halves of 32 words.
DATA interleave<>+0(SB)/8, $0x0011000100100000
DATA interleave<>+8(SB)/8, $0x0013000300120002
DATA interleave<>+16(SB)/8, $0x0015000500140004
DATA interleave<>+24(SB)/8, $0x0017000700160006
DATA interleave<>+32(SB)/8, $0x0019000900180008
DATA interleave<>+40(SB)/8, $0x001b000b001a000a
DATA interleave<>+48(SB)/8, $0x001d000d001c000c
DATA interleave<>+56(SB)/8, $0x001f000f001e000e
GLOBL interleave<>(SB), RODATA|NOPTR, $64

// func packDepth512(dst *uint16, src *float32, ld, depth int, mask uint32, alpha float32)
// A block whose depth goes down the rows of src, depth 1 to 32; mask says which of
// 32 columns exist.
//	R12 remaining depth, R15 remaining pairs of the block
TEXT ·packDepth512(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), AX
	MOVQ ld+16(FP), SI
	MOVQ depth+24(FP), R12
	MOVL mask+32(FP), R13
	VBROADCASTSS alpha+36(FP), Z31
	VMOVUPS interleave<>(SB), Z30
	KMOVW R13, K1
	SHRL $16, R13
	KMOVW R13, K2
	MOVQ $16, R15

pair:
	CMPQ R12, $2
	JLT  single
	VMOVUPS.Z (AX), K1, Z0
	VMOVUPS.Z (AX)(SI*1), K1, Z1
	VMULPS Z31, Z0, Z0
	VMULPS Z31, Z1, Z1
	ROUND2
	VPERMW Z0, Z30, Z2
	VMOVUPS.Z 64(AX), K2, Z0
	VMOVUPS.Z 64(AX)(SI*1), K2, Z1
	VMULPS Z31, Z0, Z0
	VMULPS Z31, Z1, Z1
	ROUND2
	VPERMW Z0, Z30, Z3
	VMOVUPS Z2, (DI)
	VMOVUPS Z3, 64(DI)
	LEAQ (AX)(SI*2), AX
	ADDQ $128, DI
	SUBQ $2, R12
	DECQ R15
	JNZ  pair
	VZEROUPPER
	RET

single:
	TESTQ R12, R12
	JZ   none
	VPXORQ Z1, Z1, Z1
	VMOVUPS.Z (AX), K1, Z0
	VMULPS Z31, Z0, Z0
	ROUND2
	VPERMW Z0, Z30, Z2
	VMOVUPS.Z 64(AX), K2, Z0
	VMULPS Z31, Z0, Z0
	ROUND2
	VPERMW Z0, Z30, Z3
	VMOVUPS Z2, (DI)
	VMOVUPS Z3, 64(DI)
	ADDQ $128, DI
	DECQ R15
	JZ   filled

none:
	VPXORQ Z2, Z2, Z2

nothing:
	VMOVUPS Z2, (DI)
	VMOVUPS Z2, 64(DI)
	ADDQ $128, DI
	DECQ R15
	JNZ  nothing

filled:
	VZEROUPPER
	RET

// DEPTHS loads the depths n and n+1 of 16 columns; the last may be alone.
#define DEPTHS(n, z) \
	CMPQ R12, $(n+1); \
	JLT  turn; \
	VMOVUPS.Z (AX), K1, Z0; \
	VPXORQ Z1, Z1, Z1; \
	JEQ  3(PC); \
	VMOVUPS.Z (AX)(SI*1), K1, Z1; \
	LEAQ (AX)(SI*2), AX; \
	ROUND2; \
	VPERMW Z0, Z30, z

#define UPRIGHT \
	VMOVUPS Z22, (BX); \
	VMOVUPS Z23, (BX)(R8*1); \
	VMOVUPS Z24, (BX)(R8*2); \
	VMOVUPS Z25, (BX)(R9*1); \
	ADDQ DX, BX

// func uprightPairs512(dst *uint16, ldd int, src *float32, lds, depth int, mask uint32)
// 16 rows of dst, 32 depths each, from 16 columns of src, of which mask says which
// exist; depth 1 to 32, the others become zero.
TEXT ·uprightPairs512(SB), NOSPLIT, $0-44
	MOVQ dst+0(FP), BX
	MOVQ ldd+8(FP), DX
	MOVQ src+16(FP), AX
	MOVQ lds+24(FP), SI
	MOVQ depth+32(FP), R12
	MOVL mask+40(FP), R13
	VMOVUPS interleave<>(SB), Z30
	KMOVW R13, K1
	MOVQ DX, R8
	SHLQ $2, R8
	LEAQ (R8)(R8*2), R9
	CMPQ R12, $32
	JEQ  all
	ZERO4(Z2, Z3, Z4, Z5)
	ZERO4(Z6, Z7, Z8, Z9)
	ZERO4(Z10, Z11, Z12, Z13)
	ZERO4(Z14, Z15, Z16, Z17)

all:
	DEPTHS(0, Z2)
	DEPTHS(2, Z3)
	DEPTHS(4, Z4)
	DEPTHS(6, Z5)
	DEPTHS(8, Z6)
	DEPTHS(10, Z7)
	DEPTHS(12, Z8)
	DEPTHS(14, Z9)
	DEPTHS(16, Z10)
	DEPTHS(18, Z11)
	DEPTHS(20, Z12)
	DEPTHS(22, Z13)
	DEPTHS(24, Z14)
	DEPTHS(26, Z15)
	DEPTHS(28, Z16)
	DEPTHS(30, Z17)

turn:
	TURN
	LANES(Z2, Z6, Z10, Z14)
	UPRIGHT
	LANES(Z3, Z7, Z11, Z15)
	UPRIGHT
	LANES(Z4, Z8, Z12, Z16)
	UPRIGHT
	LANES(Z5, Z9, Z13, Z17)
	UPRIGHT
	VZEROUPPER
	RET

// func rest512(dst, src *float32, n int)
// dst = src - round(src), zero where that rounds to no number.
TEXT ·rest512(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), AX
	MOVQ n+16(FP), R12
	MOVL $0xffff, R13
	KMOVW R13, K1
	VPXORQ Z1, Z1, Z1

sixteen:
	CMPQ R12, $16
	JGE  full
	MOVQ R12, CX
	MOVL $1, R13
	SHLL CX, R13
	DECL R13
	KMOVW R13, K1

full:
	VMOVUPS.Z (AX), K1, Z2
	VMOVAPS Z2, Z0
	ROUND2
	VPMOVZXWD Y0, Z0
	VPSLLD $16, Z0, Z0
	VSUBPS Z0, Z2, Z3
	VSUBPS Z0, Z0, Z4
	VCMPPS $0, Z1, Z4, K1, K2
	VMOVAPS.Z Z3, K2, Z3
	VMOVUPS Z3, K1, (DI)
	ADDQ $64, AX
	ADDQ $64, DI
	SUBQ $16, R12
	JG   sixteen
	VZEROUPPER
	RET
