#include "textflag.h"
#include "expconst.h"

// Vector functions, 8 values at a time; the last group goes through masked
// loads and stores, so every body is expanded twice. DX is the offset in bytes,
// R12 the values left, Y15 the mask of the last group. Sums keep one
// accumulator per lane and add the lanes in a fixed tree at the end.

// A window of 8 words that begins n words before the middle has n ones first.
DATA window<>+0(SB)/8, $-1
DATA window<>+8(SB)/8, $-1
DATA window<>+16(SB)/8, $-1
DATA window<>+24(SB)/8, $-1
DATA window<>+32(SB)/8, $0
DATA window<>+40(SB)/8, $0
DATA window<>+48(SB)/8, $0
DATA window<>+56(SB)/8, $0
GLOBL window<>(SB), RODATA|NOPTR, $64

#define LOADALL(address, y) VMOVUPS address, y
#define LOADSOME(address, y) VMASKMOVPS address, Y15, y
#define STOREALL(y, address) VMOVUPS y, address
#define STORESOME(y, address) VMASKMOVPS y, Y15, address

#define BEGIN(length) \
	MOVQ length, R12; \
	XORL DX, DX; \
	SUBQ $8, R12; \
	JL   last; \
loop:

#define NEXT \
	ADDQ $32, DX; \
	SUBQ $8, R12; \
	JGE  loop; \
last: \
	ADDQ $8, R12; \
	JZ   done; \
	LEAQ window<>+32(SB), R13; \
	SHLQ $2, R12; \
	SUBQ R12, R13; \
	VMOVUPS (R13), Y15

#define END \
done:

// ADDLANES adds the 8 lanes of Y0 into X0. Scratch: X1.
#define ADDLANES \
	VEXTRACTF128 $1, Y0, X1; \
	VADDPS X1, X0, X0; \
	VMOVHLPS X0, X0, X1; \
	VADDPS X1, X0, X0; \
	VMOVSHDUP X0, X1; \
	VADDSS X1, X0, X0

// ADDLANES64 adds the 4 float64 lanes of Y0 and of Y1 into X0.
#define ADDLANES64 \
	VADDPD Y1, Y0, Y0; \
	VEXTRACTF128 $1, Y0, X1; \
	VADDPD X1, X0, X0; \
	VUNPCKHPD X0, X0, X1; \
	VADDSD X1, X0, X0

#define DOT(LOAD, STORE) \
	LOAD((AX)(DX*1), Y2); \
	LOAD((BX)(DX*1), Y3); \
	VFMADD231PS Y2, Y3, Y0

// func dot256(a, b []float32) float32
TEXT ·dot256(SB), NOSPLIT, $0-52
	MOVQ a_base+0(FP), AX
	MOVQ b_base+24(FP), BX
	VXORPS Y0, Y0, Y0
	BEGIN(a_len+8(FP))
	DOT(LOADALL, STOREALL)
	NEXT
	DOT(LOADSOME, STORESOME)
	END
	ADDLANES
	VMOVSS X0, ret+48(FP)
	VZEROUPPER
	RET

#define AXPY(LOAD, STORE) \
	LOAD((DI)(DX*1), Y0); \
	LOAD((AX)(DX*1), Y1); \
	VFMADD231PS Y1, Y2, Y0; \
	STORE(Y0, (DI)(DX*1))

// func axpy256(y, x []float32, a float32)
TEXT ·axpy256(SB), NOSPLIT, $0-52
	MOVQ y_base+0(FP), DI
	MOVQ x_base+24(FP), AX
	VBROADCASTSS a+48(FP), Y2
	BEGIN(x_len+32(FP))
	AXPY(LOADALL, STOREALL)
	NEXT
	AXPY(LOADSOME, STORESOME)
	END
	VZEROUPPER
	RET

#define ADD(LOAD, STORE) \
	LOAD((DI)(DX*1), Y0); \
	LOAD((AX)(DX*1), Y1); \
	VADDPS Y1, Y0, Y0; \
	STORE(Y0, (DI)(DX*1))

// func add256(y, x []float32)
TEXT ·add256(SB), NOSPLIT, $0-48
	MOVQ y_base+0(FP), DI
	MOVQ x_base+24(FP), AX
	BEGIN(x_len+32(FP))
	ADD(LOADALL, STOREALL)
	NEXT
	ADD(LOADSOME, STORESOME)
	END
	VZEROUPPER
	RET

#define SCALE(LOAD, STORE) \
	LOAD((DI)(DX*1), Y0); \
	VMULPS Y2, Y0, Y0; \
	STORE(Y0, (DI)(DX*1))

// func scale256(x []float32, a float32)
TEXT ·scale256(SB), NOSPLIT, $0-28
	MOVQ x_base+0(FP), DI
	VBROADCASTSS a+24(FP), Y2
	BEGIN(x_len+8(FP))
	SCALE(LOADALL, STOREALL)
	NEXT
	SCALE(LOADSOME, STORESOME)
	END
	VZEROUPPER
	RET

#define SUMSQUARES(LOAD, STORE) \
	LOAD((AX)(DX*1), Y2); \
	VEXTRACTF128 $1, Y2, X3; \
	VCVTPS2PD X2, Y2; \
	VCVTPS2PD X3, Y3; \
	VFMADD231PD Y2, Y2, Y0; \
	VFMADD231PD Y3, Y3, Y1

// func sumSquares256(x []float32) float64
TEXT ·sumSquares256(SB), NOSPLIT, $0-32
	MOVQ x_base+0(FP), AX
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	BEGIN(x_len+8(FP))
	SUMSQUARES(LOADALL, STOREALL)
	NEXT
	SUMSQUARES(LOADSOME, STORESOME)
	END
	ADDLANES64
	VMOVSD X0, ret+24(FP)
	VZEROUPPER
	RET

#define DOT3(LOAD, STORE) \
	LOAD((AX)(DX*1), Y2); \
	LOAD((BX)(DX*1), Y3); \
	LOAD((SI)(DX*1), Y4); \
	VMULPS Y3, Y2, Y2; \
	VEXTRACTF128 $1, Y2, X3; \
	VEXTRACTF128 $1, Y4, X5; \
	VCVTPS2PD X2, Y2; \
	VCVTPS2PD X3, Y3; \
	VCVTPS2PD X4, Y4; \
	VCVTPS2PD X5, Y5; \
	VFMADD231PD Y4, Y2, Y0; \
	VFMADD231PD Y5, Y3, Y1

// func dot3x256(a, b, c []float32) float64
// The sum of a*b*c, a*b rounded to float32.
TEXT ·dot3x256(SB), NOSPLIT, $0-80
	MOVQ a_base+0(FP), AX
	MOVQ b_base+24(FP), BX
	MOVQ c_base+48(FP), SI
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	BEGIN(a_len+8(FP))
	DOT3(LOADALL, STOREALL)
	NEXT
	DOT3(LOADSOME, STORESOME)
	END
	ADDLANES64
	VMOVSD X0, ret+72(FP)
	VZEROUPPER
	RET

#define NORMAPPLY(LOAD, STORE) \
	LOAD((AX)(DX*1), Y0); \
	LOAD((BX)(DX*1), Y1); \
	VMULPS Y2, Y0, Y0; \
	VMULPS Y1, Y0, Y0; \
	STORE(Y0, (DI)(DX*1))

// func normApply256(y, x, w []float32, inv float32)
TEXT ·normApply256(SB), NOSPLIT, $0-76
	MOVQ y_base+0(FP), DI
	MOVQ x_base+24(FP), AX
	MOVQ w_base+48(FP), BX
	VBROADCASTSS inv+72(FP), Y2
	BEGIN(x_len+32(FP))
	NORMAPPLY(LOADALL, STOREALL)
	NEXT
	NORMAPPLY(LOADSOME, STORESOME)
	END
	VZEROUPPER
	RET

#define NORMBACK(LOAD, STORE) \
	LOAD((DI)(DX*1), Y0); \
	LOAD((BX)(DX*1), Y1); \
	LOAD((AX)(DX*1), Y2); \
	LOAD((SI)(DX*1), Y3); \
	VMULPS Y1, Y3, Y3; \
	VMULPS Y7, Y2, Y2; \
	VFMSUB213PS Y2, Y6, Y3; \
	VADDPS Y3, Y0, Y0; \
	STORE(Y0, (DI)(DX*1))

// func normBack256(dx, dy, x, w []float32, inv, c float32)
// dx += inv*(w*dy) - c*x
TEXT ·normBack256(SB), NOSPLIT, $0-104
	MOVQ dx_base+0(FP), DI
	MOVQ dy_base+24(FP), BX
	MOVQ x_base+48(FP), AX
	MOVQ w_base+72(FP), SI
	VBROADCASTSS inv+96(FP), Y6
	VBROADCASTSS c+100(FP), Y7
	BEGIN(x_len+56(FP))
	NORMBACK(LOADALL, STOREALL)
	NEXT
	NORMBACK(LOADSOME, STORESOME)
	END
	VZEROUPPER
	RET

#define ROTATE(LOAD, STORE) \
	LOAD((DI)(DX*1), Y0); \
	LOAD((SI)(DX*1), Y1); \
	LOAD((AX)(DX*1), Y2); \
	LOAD((BX)(DX*1), Y3); \
	VMULPS Y3, Y1, Y4; \
	VMULPS Y3, Y0, Y5; \
	VFMSUB231PS Y2, Y0, Y4; \
	VFMADD231PS Y2, Y1, Y5; \
	STORE(Y4, (DI)(DX*1)); \
	STORE(Y5, (SI)(DX*1))

// func rotate256(lo, hi, cos, sin []float32)
TEXT ·rotate256(SB), NOSPLIT, $0-96
	MOVQ lo_base+0(FP), DI
	MOVQ hi_base+24(FP), SI
	MOVQ cos_base+48(FP), AX
	MOVQ sin_base+72(FP), BX
	BEGIN(lo_len+8(FP))
	ROTATE(LOADALL, STOREALL)
	NEXT
	ROTATE(LOADSOME, STORESOME)
	END
	VZEROUPPER
	RET

#define ROTATEBACK(LOAD, STORE) \
	LOAD((DI)(DX*1), Y0); \
	LOAD((SI)(DX*1), Y1); \
	LOAD((AX)(DX*1), Y2); \
	LOAD((BX)(DX*1), Y3); \
	VMULPS Y3, Y1, Y4; \
	VMULPS Y3, Y0, Y5; \
	VFMADD231PS Y2, Y0, Y4; \
	VFMSUB231PS Y2, Y1, Y5; \
	STORE(Y4, (DI)(DX*1)); \
	STORE(Y5, (SI)(DX*1))

// func rotateBack256(lo, hi, cos, sin []float32)
TEXT ·rotateBack256(SB), NOSPLIT, $0-96
	MOVQ lo_base+0(FP), DI
	MOVQ hi_base+24(FP), SI
	MOVQ cos_base+48(FP), AX
	MOVQ sin_base+72(FP), BX
	BEGIN(lo_len+8(FP))
	ROTATEBACK(LOADALL, STOREALL)
	NEXT
	ROTATEBACK(LOADSOME, STORESOME)
	END
	VZEROUPPER
	RET

// func max256(x []float32) float32
// Y3 collects the lanes where a NaN was seen; Y2 is -Inf, which takes the place
// of the lanes past the end.
TEXT ·max256(SB), NOSPLIT, $0-28
	MOVQ x_base+0(FP), AX
	VMOVUPS expconst<>+480(SB), Y2
	VMOVAPS Y2, Y0
	VXORPS Y3, Y3, Y3
	BEGIN(x_len+8(FP))
	VMOVUPS (AX)(DX*1), Y1
	VCMPPS $3, Y1, Y1, Y4
	VORPS Y4, Y3, Y3
	VMAXPS Y1, Y0, Y0
	NEXT
	VMASKMOVPS (AX)(DX*1), Y15, Y1
	VBLENDVPS Y15, Y1, Y2, Y1
	VCMPPS $3, Y1, Y1, Y4
	VORPS Y4, Y3, Y3
	VMAXPS Y1, Y0, Y0
	END
	VEXTRACTF128 $1, Y0, X1
	VMAXPS X1, X0, X0
	VMOVHLPS X0, X0, X1
	VMAXPS X1, X0, X0
	VMOVSHDUP X0, X1
	VMAXSS X1, X0, X0
	VMOVMSKPS Y3, R13
	TESTL R13, R13
	JZ   ordered
	VPCMPEQD X0, X0, X0 // all ones is a NaN

ordered:
	VMOVSS X0, ret+24(FP)
	VZEROUPPER
	RET

// EXP replaces Y0 by exp(Y0). A NaN stays one: it is the last operand of the
// minimum and the maximum, and "not less" in the comparison. 2^n is two factors
// because n may be 128. Scratch: Y1-Y4.
#define EXP \
	VMOVUPS expconst<>+0(SB), Y1; \
	VMOVUPS expconst<>+32(SB), Y2; \
	VMINPS Y0, Y1, Y0; \
	VMAXPS Y0, Y2, Y0; \
	VCMPPS $5, expconst<>+64(SB), Y0, Y3; \
	VMULPS expconst<>+96(SB), Y0, Y1; \
	VROUNDPS $8, Y1, Y1; \
	VFMADD231PS expconst<>+128(SB), Y1, Y0; \
	VFMADD231PS expconst<>+160(SB), Y1, Y0; \
	VMOVUPS expconst<>+192(SB), Y2; \
	VFMADD213PS expconst<>+224(SB), Y0, Y2; \
	VFMADD213PS expconst<>+256(SB), Y0, Y2; \
	VFMADD213PS expconst<>+288(SB), Y0, Y2; \
	VFMADD213PS expconst<>+320(SB), Y0, Y2; \
	VFMADD213PS expconst<>+352(SB), Y0, Y2; \
	VMULPS Y0, Y0, Y4; \
	VFMADD213PS Y0, Y4, Y2; \
	VADDPS expconst<>+384(SB), Y2, Y2; \
	VCVTPS2DQ Y1, Y1; \
	VPSRAD $1, Y1, Y4; \
	VPSUBD Y4, Y1, Y1; \
	VPADDD expconst<>+416(SB), Y1, Y1; \
	VPADDD expconst<>+416(SB), Y4, Y4; \
	VPSLLD $23, Y1, Y1; \
	VPSLLD $23, Y4, Y4; \
	VMULPS Y1, Y2, Y2; \
	VMULPS Y4, Y2, Y2; \
	VANDPS Y3, Y2, Y0

#define SUMEXP \
	VEXTRACTF128 $1, Y0, X1; \
	VCVTPS2PD X0, Y0; \
	VCVTPS2PD X1, Y1; \
	VADDPD Y0, Y13, Y13; \
	VADDPD Y1, Y14, Y14

// func expSub256(y, x []float32, c float32) float64
TEXT ·expSub256(SB), NOSPLIT, $0-64
	MOVQ y_base+0(FP), DI
	MOVQ x_base+24(FP), AX
	VBROADCASTSS c+48(FP), Y12
	VXORPS Y13, Y13, Y13
	VXORPS Y14, Y14, Y14
	BEGIN(x_len+32(FP))
	VMOVUPS (AX)(DX*1), Y0
	VSUBPS Y12, Y0, Y0
	EXP
	VMOVUPS Y0, (DI)(DX*1)
	SUMEXP
	NEXT
	VMASKMOVPS (AX)(DX*1), Y15, Y0
	VSUBPS Y12, Y0, Y0
	EXP
	VANDPS Y15, Y0, Y0
	VMASKMOVPS Y0, Y15, (DI)(DX*1)
	SUMEXP
	END
	VMOVAPS Y13, Y0
	VMOVAPS Y14, Y1
	ADDLANES64
	VMOVSD X0, ret+56(FP)
	VZEROUPPER
	RET

#define SOFTMAXBACK(LOAD, STORE) \
	LOAD((DI)(DX*1), Y0); \
	LOAD((SI)(DX*1), Y5); \
	VSUBPS Y12, Y0, Y0; \
	EXP; \
	VSUBPS Y13, Y5, Y5; \
	VMULPS Y5, Y0, Y5; \
	STORE(Y0, (DI)(DX*1)); \
	STORE(Y5, (SI)(DX*1))

// func softmaxBack256(p, dp []float32, lse, d float32)
TEXT ·softmaxBack256(SB), NOSPLIT, $0-56
	MOVQ p_base+0(FP), DI
	MOVQ dp_base+24(FP), SI
	VBROADCASTSS lse+48(FP), Y12
	VBROADCASTSS d+52(FP), Y13
	BEGIN(p_len+8(FP))
	SOFTMAXBACK(LOADALL, STOREALL)
	NEXT
	SOFTMAXBACK(LOADSOME, STORESOME)
	END
	VZEROUPPER
	RET

// SIGMOID replaces Y0 by 1/(1+exp(-Y0)). Y11 is 1, Y12 the sign bit.
#define SIGMOID \
	VXORPS Y12, Y0, Y0; \
	EXP; \
	VADDPS Y11, Y0, Y0; \
	VDIVPS Y0, Y11, Y0

#define SILUMUL(LOAD, STORE) \
	LOAD((AX)(DX*1), Y0); \
	VMOVAPS Y0, Y5; \
	LOAD((BX)(DX*1), Y6); \
	SIGMOID; \
	VMULPS Y0, Y5, Y5; \
	VMULPS Y6, Y5, Y5; \
	STORE(Y5, (DI)(DX*1))

// func siluMul256(out, gate, up []float32)
TEXT ·siluMul256(SB), NOSPLIT, $0-72
	MOVQ out_base+0(FP), DI
	MOVQ gate_base+24(FP), AX
	MOVQ up_base+48(FP), BX
	VMOVUPS expconst<>+384(SB), Y11
	VMOVUPS expconst<>+448(SB), Y12
	BEGIN(gate_len+32(FP))
	SILUMUL(LOADALL, STOREALL)
	NEXT
	SILUMUL(LOADSOME, STORESOME)
	END
	VZEROUPPER
	RET

// Y5 gate, then silu; Y6 up; Y7 dout; Y8 the derivative.
#define SILUMULBACK(LOAD, STORE) \
	LOAD((AX)(DX*1), Y0); \
	VMOVAPS Y0, Y5; \
	LOAD((BX)(DX*1), Y6); \
	LOAD((R8)(DX*1), Y7); \
	SIGMOID; \
	VMULPS Y0, Y5, Y5; \
	VSUBPS Y0, Y11, Y8; \
	VFMADD213PS Y0, Y5, Y8; \
	VMULPS Y6, Y7, Y6; \
	VMULPS Y8, Y6, Y6; \
	VMULPS Y5, Y7, Y7; \
	STORE(Y6, (DI)(DX*1)); \
	STORE(Y7, (SI)(DX*1))

// func siluMulBack256(dgate, dup, dout, gate, up []float32)
TEXT ·siluMulBack256(SB), NOSPLIT, $0-120
	MOVQ dgate_base+0(FP), DI
	MOVQ dup_base+24(FP), SI
	MOVQ dout_base+48(FP), R8
	MOVQ gate_base+72(FP), AX
	MOVQ up_base+96(FP), BX
	VMOVUPS expconst<>+384(SB), Y11
	VMOVUPS expconst<>+448(SB), Y12
	BEGIN(gate_len+80(FP))
	SILUMULBACK(LOADALL, STOREALL)
	NEXT
	SILUMULBACK(LOADSOME, STORESOME)
	END
	VZEROUPPER
	RET
