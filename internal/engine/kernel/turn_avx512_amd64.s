#include "textflag.h"

// Turning 16x16 blocks. With rows r0..r15 in Z0-Z15, two rounds of unpacking
// turn the 4x4 squares of every four rows within the 128-bit lanes, and two
// rounds of lane shuffles turn the 4x4 arrangement of lanes.

#define LOAD(n, z) \
	VMOVUPS.Z (R13), K1, z; \
	CMPQ R15, $n; \
	JEQ  loaded; \
	ADDQ SI, R13

// SQUARES turns the squares of rows a, b, c, d in place: afterwards a holds
// columns 0, 4, 8, 12 of the four rows (one per lane), b columns 1, 5, 9, 13,
// and so on. Scratch: Z16-Z19.
#define SQUARES(a, b, c, d) \
	VUNPCKLPS b, a, Z16; \
	VUNPCKHPS b, a, Z17; \
	VUNPCKLPS d, c, Z18; \
	VUNPCKHPS d, c, Z19; \
	VUNPCKLPD Z18, Z16, a; \
	VUNPCKHPD Z18, Z16, b; \
	VUNPCKLPD Z19, Z17, c; \
	VUNPCKHPD Z19, Z17, d

// LANES scales and stores columns n, n+4, n+8, n+12 from the lanes of a, b, c,
// d: the first at R8, which goes on to the next. Scratch: Z16-Z23.
#define LANES(a, b, c, d) \
	VSHUFF32X4 $0x88, b, a, Z16; \
	VSHUFF32X4 $0xdd, b, a, Z17; \
	VSHUFF32X4 $0x88, d, c, Z18; \
	VSHUFF32X4 $0xdd, d, c, Z19; \
	VSHUFF32X4 $0x88, Z18, Z16, Z20; \
	VSHUFF32X4 $0x88, Z19, Z17, Z21; \
	VSHUFF32X4 $0xdd, Z18, Z16, Z22; \
	VSHUFF32X4 $0xdd, Z19, Z17, Z23; \
	VMULPS Z31, Z20, Z20; \
	VMULPS Z31, Z21, Z21; \
	VMULPS Z31, Z22, Z22; \
	VMULPS Z31, Z23, Z23; \
	VMOVUPS Z20, (R8); \
	VMOVUPS Z21, (R8)(DX*4); \
	VMOVUPS Z22, (R8)(DX*8); \
	VMOVUPS Z23, (R8)(R9*1); \
	ADDQ DX, R8

// func turn512(dst, src *float32, ldd, lds, rows, cols int, alpha float32)
// dst[i*ldd + j] = alpha * src[j*lds + i], j < rows <= 16, i < cols; distances in
// bytes. Writes whole blocks: 16 columns of dst, its rows up to a multiple of 16.
//	DI, R8 dst, DX ldd, R9 12 ldd, AX src, SI lds, R15 rows, R12 remaining columns,
//	R13 walks the rows
TEXT ·turn512(SB), NOSPLIT, $0-52
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), AX
	MOVQ ldd+16(FP), DX
	MOVQ lds+24(FP), SI
	MOVQ rows+32(FP), R15
	MOVQ cols+40(FP), R12
	VBROADCASTSS alpha+48(FP), Z31
	LEAQ (DX)(DX*2), R9
	SHLQ $2, R9

block:
	MOVL $0xffff, R13
	CMPQ R12, $16
	JGE  whole
	MOVQ R12, CX
	MOVL $1, R13
	SHLL CX, R13
	DECL R13

whole:
	KMOVW R13, K1
	MOVQ AX, R13
	VPXORQ Z1, Z1, Z1
	VPXORQ Z2, Z2, Z2
	VPXORQ Z3, Z3, Z3
	VPXORQ Z4, Z4, Z4
	VPXORQ Z5, Z5, Z5
	VPXORQ Z6, Z6, Z6
	VPXORQ Z7, Z7, Z7
	VPXORQ Z8, Z8, Z8
	VPXORQ Z9, Z9, Z9
	VPXORQ Z10, Z10, Z10
	VPXORQ Z11, Z11, Z11
	VPXORQ Z12, Z12, Z12
	VPXORQ Z13, Z13, Z13
	VPXORQ Z14, Z14, Z14
	VPXORQ Z15, Z15, Z15
	LOAD(1, Z0)
	LOAD(2, Z1)
	LOAD(3, Z2)
	LOAD(4, Z3)
	LOAD(5, Z4)
	LOAD(6, Z5)
	LOAD(7, Z6)
	LOAD(8, Z7)
	LOAD(9, Z8)
	LOAD(10, Z9)
	LOAD(11, Z10)
	LOAD(12, Z11)
	LOAD(13, Z12)
	LOAD(14, Z13)
	LOAD(15, Z14)
	VMOVUPS.Z (R13), K1, Z15

loaded:
	SQUARES(Z0, Z1, Z2, Z3)
	SQUARES(Z4, Z5, Z6, Z7)
	SQUARES(Z8, Z9, Z10, Z11)
	SQUARES(Z12, Z13, Z14, Z15)
	MOVQ DI, R8
	LANES(Z0, Z4, Z8, Z12)
	LANES(Z1, Z5, Z9, Z13)
	LANES(Z2, Z6, Z10, Z14)
	LANES(Z3, Z7, Z11, Z15)
	ADDQ $64, AX
	LEAQ (DI)(DX*8), DI
	LEAQ (DI)(DX*8), DI
	SUBQ $16, R12
	JG   block
	VZEROUPPER
	RET

// func copy512(dst, src *float32, ldd, lds, rows int, mask uint32, alpha float32)
// dst[i*ldd + j] = alpha * src[i*lds + j] for the columns j in mask, zero for
// the others of 32 (or of 16, where mask has no higher bit); distances in bytes.
TEXT ·copy512(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), AX
	MOVQ ldd+16(FP), DX
	MOVQ lds+24(FP), SI
	MOVQ rows+32(FP), R12
	MOVL mask+40(FP), R13
	VBROADCASTSS alpha+44(FP), Z31
	KMOVW R13, K1
	SHRL $16, R13
	JZ   single
	KMOVW R13, K2

both:
	VMOVUPS.Z (AX), K1, Z0
	VMOVUPS.Z 64(AX), K2, Z1
	VMULPS Z31, Z0, Z0
	VMULPS Z31, Z1, Z1
	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	ADDQ SI, AX
	ADDQ DX, DI
	DECQ R12
	JNZ  both
	VZEROUPPER
	RET

single:
	VMOVUPS.Z (AX), K1, Z0
	VMULPS Z31, Z0, Z0
	VMOVUPS Z0, (DI)
	ADDQ SI, AX
	ADDQ DX, DI
	DECQ R12
	JNZ  single
	VZEROUPPER
	RET
