#include "textflag.h"

// Turning 8x8 blocks: two rounds of unpacking within the 128-bit lanes, one of
// exchanging lanes.

#define SQUARES(a, b, c, d) \
	VUNPCKLPS b, a, Y8; \
	VUNPCKHPS b, a, Y9; \
	VUNPCKLPS d, c, Y10; \
	VUNPCKHPS d, c, Y11; \
	VUNPCKLPD Y10, Y8, a; \
	VUNPCKHPD Y10, Y8, b; \
	VUNPCKLPD Y11, Y9, c; \
	VUNPCKHPD Y11, Y9, d

// LANES scales and stores columns n and n+4 from the lanes of a and b.
#define LANES(n, a, b) \
	VPERM2F128 $0x20, b, a, Y8; \
	VPERM2F128 $0x31, b, a, Y9; \
	VMULPS Y15, Y8, Y8; \
	VMULPS Y15, Y9, Y9; \
	VMOVUPS Y8, (n*128)(DI); \
	VMOVUPS Y9, (n*128+512)(DI)

// func turn256(dst, src *float32, lds, blocks int, alpha float32)
// dst[i*Panel + j] = alpha * src[j*lds + i], j < 8, i < 8*blocks; lds in bytes.
//	DI dst, AX src at rows 0-3, BX at rows 4-7, SI lds, DX 3*lds, R12 blocks
TEXT ·turn256(SB), NOSPLIT, $0-36
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), AX
	MOVQ lds+16(FP), SI
	MOVQ blocks+24(FP), R12
	VBROADCASTSS alpha+32(FP), Y15
	LEAQ (SI)(SI*2), DX
	LEAQ (AX)(SI*4), BX

block:
	VMOVUPS (AX), Y0
	VMOVUPS (AX)(SI*1), Y1
	VMOVUPS (AX)(SI*2), Y2
	VMOVUPS (AX)(DX*1), Y3
	VMOVUPS (BX), Y4
	VMOVUPS (BX)(SI*1), Y5
	VMOVUPS (BX)(SI*2), Y6
	VMOVUPS (BX)(DX*1), Y7
	SQUARES(Y0, Y1, Y2, Y3)
	SQUARES(Y4, Y5, Y6, Y7)
	LANES(0, Y0, Y4)
	LANES(1, Y1, Y5)
	LANES(2, Y2, Y6)
	LANES(3, Y3, Y7)
	ADDQ $32, AX
	ADDQ $32, BX
	ADDQ $1024, DI
	DECQ R12
	JNZ  block
	VZEROUPPER
	RET

// func copy256(dst, src *float32, ldd, lds, rows int, alpha float32)
// dst[i*ldd + j] = alpha * src[i*lds + j], j < 32; distances in bytes.
TEXT ·copy256(SB), NOSPLIT, $0-44
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), AX
	MOVQ ldd+16(FP), DX
	MOVQ lds+24(FP), SI
	MOVQ rows+32(FP), R12
	VBROADCASTSS alpha+40(FP), Y15

row:
	VMULPS (AX), Y15, Y0
	VMULPS 32(AX), Y15, Y1
	VMULPS 64(AX), Y15, Y2
	VMULPS 96(AX), Y15, Y3
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	ADDQ SI, AX
	ADDQ DX, DI
	DECQ R12
	JNZ  row
	VZEROUPPER
	RET

// STANDING stores k's n and n+4 of an upright strip from the lanes of a and b.
#define STANDING(n, a, b) \
	VPERM2F128 $0x20, b, a, Y8; \
	VPERM2F128 $0x31, b, a, Y9; \
	VMOVUPS Y8, (n*32)(DI); \
	VMOVUPS Y9, (n*32+128)(DI)

// NEXTROW is the row behind from, or the same if there are no n of them: then lds
// becomes zero.
#define NEXTROW(n, from, to) \
	CMPQ R15, $n; \
	CMOVQLT DX, SI; \
	LEAQ (from)(SI*1), to

// func stand256(dst, src *float32, lds, blocks, rows int)
// dst[k*8 + i] = src[i*lds + k], i < rows <= 6, k < 8*blocks; lds in bytes.
//	DI dst, R8-R13 rows of src, CX bytes into them, AX remaining blocks
TEXT ·stand256(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), R8
	MOVQ lds+16(FP), SI
	MOVQ blocks+24(FP), AX
	MOVQ rows+32(FP), R15
	XORQ DX, DX
	XORQ CX, CX
	NEXTROW(2, R8, R9)
	NEXTROW(3, R9, R10)
	NEXTROW(4, R10, R11)
	NEXTROW(5, R11, R12)
	NEXTROW(6, R12, R13)

standing:
	VMOVUPS (R8)(CX*1), Y0
	VMOVUPS (R9)(CX*1), Y1
	VMOVUPS (R10)(CX*1), Y2
	VMOVUPS (R11)(CX*1), Y3
	VMOVUPS (R12)(CX*1), Y4
	VMOVUPS (R13)(CX*1), Y5
	VXORPS  Y6, Y6, Y6
	VXORPS  Y7, Y7, Y7
	SQUARES(Y0, Y1, Y2, Y3)
	SQUARES(Y4, Y5, Y6, Y7)
	STANDING(0, Y0, Y4)
	STANDING(1, Y1, Y5)
	STANDING(2, Y2, Y6)
	STANDING(3, Y3, Y7)
	ADDQ $32, CX
	ADDQ $256, DI
	DECQ AX
	JNZ  standing
	VZEROUPPER
	RET

// func upright256(dst, src *float32, lds, depth int, mask *int32)
// dst[k*8 + i] = src[k*lds + i] where mask has i; lds in bytes.
TEXT ·upright256(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), AX
	MOVQ lds+16(FP), SI
	MOVQ depth+24(FP), R12
	MOVQ mask+32(FP), DX
	VMOVDQU (DX), Y15

upright:
	VMASKMOVPS (AX), Y15, Y0
	VMOVUPS Y0, (DI)
	ADDQ SI, AX
	ADDQ $32, DI
	DECQ R12
	JNZ  upright
	VZEROUPPER
	RET
