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
