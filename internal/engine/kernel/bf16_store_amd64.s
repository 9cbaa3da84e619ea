#include "textflag.h"
#include "bf16_encoding_amd64.h"

// WIDEN makes float32 values of the 32 in Z0: Z1 and Z2.
#define WIDEN \
	VEXTRACTI64X4 $1, Z0, Y2; \
	VPMOVZXWD     Y0, Z1; \
	VPMOVZXWD     Y2, Z2; \
	VPSLLD        $16, Z1, Z1; \
	VPSLLD        $16, Z2, Z2

// func through512(x *float32, chunks int)
// Chunks of 32 values; chunks is at least one.
TEXT ·through512(SB), NOSPLIT, $0-16
	MOVQ x+0(FP), AX
	MOVQ chunks+8(FP), CX

chunk:
	VMOVUPS (AX), Z0
	VMOVUPS 64(AX), Z1
	ROUND2
	WIDEN
	VMOVUPS Z1, (AX)
	VMOVUPS Z2, 64(AX)
	ADDQ    $128, AX
	DECQ    CX
	JNZ     chunk
	VZEROUPPER
	RET

// func widen512(dst *float32, src, ahead *uint16, chunks int)
// Chunks of 32 values; chunks is at least one.
TEXT ·widen512(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), AX
	MOVQ ahead+16(FP), R8
	MOVQ chunks+24(FP), CX

chunk:
	PREFETCHT0 (R8)
	VMOVUPS (AX), Z0
	WIDEN
	VMOVUPS Z1, (DI)
	VMOVUPS Z2, 64(DI)
	ADDQ    $64, AX
	ADDQ    $64, R8
	ADDQ    $128, DI
	DECQ    CX
	JNZ     chunk
	VZEROUPPER
	RET
