#include "textflag.h"
#include "expconst.h"

// Vector functions, 16 values at a time; the last group is masked, so there is
// one body per function. DX is the offset in bytes, R12 the values left, K1 the
// values of this group. Sums keep one accumulator per lane and add the lanes in
// a fixed tree at the end.

#define BEGIN(length) \
	MOVQ length, R12; \
	XORL DX, DX; \
	MOVL $0xffff, R13; \
	KMOVW R13, K1; \
	TESTQ R12, R12; \
	JLE  done

#define GROUP \
loop: \
	CMPQ R12, $16; \
	JGE  body; \
	MOVQ R12, CX; \
	MOVL $1, R13; \
	SHLL CX, R13; \
	DECL R13; \
	KMOVW R13, K1; \
body:

#define NEXT \
	ADDQ $64, DX; \
	SUBQ $16, R12; \
	JG   loop; \
done:

// ADDLANES adds the 16 lanes of Z0 into X0. Scratch: Y1.
#define ADDLANES \
	VEXTRACTF64X4 $1, Z0, Y1; \
	VADDPS Y1, Y0, Y0; \
	VEXTRACTF128 $1, Y0, X1; \
	VADDPS X1, X0, X0; \
	VMOVHLPS X0, X0, X1; \
	VADDPS X1, X0, X0; \
	VMOVSHDUP X0, X1; \
	VADDSS X1, X0, X0

// ADDLANES64 adds the 8 float64 lanes of Z0 and of Z1 into X0.
#define ADDLANES64 \
	VADDPD Z1, Z0, Z0; \
	VEXTRACTF64X4 $1, Z0, Y1; \
	VADDPD Y1, Y0, Y0; \
	VEXTRACTF128 $1, Y0, X1; \
	VADDPD X1, X0, X0; \
	VUNPCKHPD X0, X0, X1; \
	VADDSD X1, X0, X0

// func dot512(a, b []float32) float32
TEXT ·dot512(SB), NOSPLIT, $0-52
	MOVQ a_base+0(FP), AX
	MOVQ b_base+24(FP), BX
	VPXORQ Z0, Z0, Z0
	BEGIN(a_len+8(FP))
	GROUP
	VMOVUPS.Z (AX)(DX*1), K1, Z2
	VMOVUPS.Z (BX)(DX*1), K1, Z3
	VFMADD231PS Z2, Z3, Z0
	NEXT
	ADDLANES
	VMOVSS X0, ret+48(FP)
	VZEROUPPER
	RET

// func axpy512(y, x []float32, a float32)
TEXT ·axpy512(SB), NOSPLIT, $0-52
	MOVQ y_base+0(FP), DI
	MOVQ x_base+24(FP), AX
	VBROADCASTSS a+48(FP), Z2
	BEGIN(x_len+32(FP))
	GROUP
	VMOVUPS.Z (DI)(DX*1), K1, Z0
	VMOVUPS.Z (AX)(DX*1), K1, Z1
	VFMADD231PS Z1, Z2, Z0
	VMOVUPS Z0, K1, (DI)(DX*1)
	NEXT
	VZEROUPPER
	RET

// func add512(y, x []float32)
TEXT ·add512(SB), NOSPLIT, $0-48
	MOVQ y_base+0(FP), DI
	MOVQ x_base+24(FP), AX
	BEGIN(x_len+32(FP))
	GROUP
	VMOVUPS.Z (DI)(DX*1), K1, Z0
	VMOVUPS.Z (AX)(DX*1), K1, Z1
	VADDPS Z1, Z0, Z0
	VMOVUPS Z0, K1, (DI)(DX*1)
	NEXT
	VZEROUPPER
	RET

// func scale512(x []float32, a float32)
TEXT ·scale512(SB), NOSPLIT, $0-28
	MOVQ x_base+0(FP), DI
	VBROADCASTSS a+24(FP), Z2
	BEGIN(x_len+8(FP))
	GROUP
	VMOVUPS.Z (DI)(DX*1), K1, Z0
	VMULPS Z2, Z0, Z0
	VMOVUPS Z0, K1, (DI)(DX*1)
	NEXT
	VZEROUPPER
	RET

// func sumSquares512(x []float32) float64
TEXT ·sumSquares512(SB), NOSPLIT, $0-32
	MOVQ x_base+0(FP), AX
	VPXORQ Z0, Z0, Z0
	VPXORQ Z1, Z1, Z1
	BEGIN(x_len+8(FP))
	GROUP
	VMOVUPS.Z (AX)(DX*1), K1, Z2
	VEXTRACTF64X4 $1, Z2, Y3
	VCVTPS2PD Y2, Z2
	VCVTPS2PD Y3, Z3
	VFMADD231PD Z2, Z2, Z0
	VFMADD231PD Z3, Z3, Z1
	NEXT
	ADDLANES64
	VMOVSD X0, ret+24(FP)
	VZEROUPPER
	RET

// func dot3x512(a, b, c []float32) float64
// The sum of a*b*c, a*b rounded to float32.
TEXT ·dot3x512(SB), NOSPLIT, $0-80
	MOVQ a_base+0(FP), AX
	MOVQ b_base+24(FP), BX
	MOVQ c_base+48(FP), SI
	VPXORQ Z0, Z0, Z0
	VPXORQ Z1, Z1, Z1
	BEGIN(a_len+8(FP))
	GROUP
	VMOVUPS.Z (AX)(DX*1), K1, Z2
	VMOVUPS.Z (BX)(DX*1), K1, Z3
	VMOVUPS.Z (SI)(DX*1), K1, Z4
	VMULPS Z3, Z2, Z2
	VEXTRACTF64X4 $1, Z2, Y3
	VEXTRACTF64X4 $1, Z4, Y5
	VCVTPS2PD Y2, Z2
	VCVTPS2PD Y3, Z3
	VCVTPS2PD Y4, Z4
	VCVTPS2PD Y5, Z5
	VFMADD231PD Z4, Z2, Z0
	VFMADD231PD Z5, Z3, Z1
	NEXT
	ADDLANES64
	VMOVSD X0, ret+72(FP)
	VZEROUPPER
	RET

// func normApply512(y, x, w []float32, inv float32)
TEXT ·normApply512(SB), NOSPLIT, $0-76
	MOVQ y_base+0(FP), DI
	MOVQ x_base+24(FP), AX
	MOVQ w_base+48(FP), BX
	VBROADCASTSS inv+72(FP), Z2
	BEGIN(x_len+32(FP))
	GROUP
	VMOVUPS.Z (AX)(DX*1), K1, Z0
	VMOVUPS.Z (BX)(DX*1), K1, Z1
	VMULPS Z2, Z0, Z0
	VMULPS Z1, Z0, Z0
	VMOVUPS Z0, K1, (DI)(DX*1)
	NEXT
	VZEROUPPER
	RET

// func normBack512(dx, dy, x, w []float32, inv, c float32)
// dx += inv*(w*dy) - c*x
TEXT ·normBack512(SB), NOSPLIT, $0-104
	MOVQ dx_base+0(FP), DI
	MOVQ dy_base+24(FP), BX
	MOVQ x_base+48(FP), AX
	MOVQ w_base+72(FP), SI
	VBROADCASTSS inv+96(FP), Z6
	VBROADCASTSS c+100(FP), Z7
	BEGIN(x_len+56(FP))
	GROUP
	VMOVUPS.Z (DI)(DX*1), K1, Z0
	VMOVUPS.Z (BX)(DX*1), K1, Z1
	VMOVUPS.Z (AX)(DX*1), K1, Z2
	VMOVUPS.Z (SI)(DX*1), K1, Z3
	VMULPS Z1, Z3, Z3
	VMULPS Z7, Z2, Z2
	VFMSUB213PS Z2, Z6, Z3
	VADDPS Z3, Z0, Z0
	VMOVUPS Z0, K1, (DI)(DX*1)
	NEXT
	VZEROUPPER
	RET

// func rotate512(lo, hi, cos, sin []float32)
TEXT ·rotate512(SB), NOSPLIT, $0-96
	MOVQ lo_base+0(FP), DI
	MOVQ hi_base+24(FP), SI
	MOVQ cos_base+48(FP), AX
	MOVQ sin_base+72(FP), BX
	BEGIN(lo_len+8(FP))
	GROUP
	VMOVUPS.Z (DI)(DX*1), K1, Z0
	VMOVUPS.Z (SI)(DX*1), K1, Z1
	VMOVUPS.Z (AX)(DX*1), K1, Z2
	VMOVUPS.Z (BX)(DX*1), K1, Z3
	VMULPS Z3, Z1, Z4
	VMULPS Z3, Z0, Z5
	VFMSUB231PS Z2, Z0, Z4
	VFMADD231PS Z2, Z1, Z5
	VMOVUPS Z4, K1, (DI)(DX*1)
	VMOVUPS Z5, K1, (SI)(DX*1)
	NEXT
	VZEROUPPER
	RET

// func rotateBack512(lo, hi, cos, sin []float32)
TEXT ·rotateBack512(SB), NOSPLIT, $0-96
	MOVQ lo_base+0(FP), DI
	MOVQ hi_base+24(FP), SI
	MOVQ cos_base+48(FP), AX
	MOVQ sin_base+72(FP), BX
	BEGIN(lo_len+8(FP))
	GROUP
	VMOVUPS.Z (DI)(DX*1), K1, Z0
	VMOVUPS.Z (SI)(DX*1), K1, Z1
	VMOVUPS.Z (AX)(DX*1), K1, Z2
	VMOVUPS.Z (BX)(DX*1), K1, Z3
	VMULPS Z3, Z1, Z4
	VMULPS Z3, Z0, Z5
	VFMADD231PS Z2, Z0, Z4
	VFMSUB231PS Z2, Z1, Z5
	VMOVUPS Z4, K1, (DI)(DX*1)
	VMOVUPS Z5, K1, (SI)(DX*1)
	NEXT
	VZEROUPPER
	RET

// func max512(x []float32) float32
// K2 collects the lanes where a NaN was seen.
TEXT ·max512(SB), NOSPLIT, $0-28
	MOVQ x_base+0(FP), AX
	VBROADCASTSS expconst<>+480(SB), Z2
	VMOVAPS Z2, Z0
	KXORW K2, K2, K2
	BEGIN(x_len+8(FP))
	GROUP
	VMOVAPS Z2, Z1
	VMOVUPS (AX)(DX*1), K1, Z1
	VCMPPS $3, Z1, Z1, K3
	KORW K3, K2, K2
	VMAXPS Z1, Z0, Z0
	NEXT
	VEXTRACTF64X4 $1, Z0, Y1
	VMAXPS Y1, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VMAXPS X1, X0, X0
	VMOVHLPS X0, X0, X1
	VMAXPS X1, X0, X0
	VMOVSHDUP X0, X1
	VMAXSS X1, X0, X0
	KTESTW K2, K2
	JZ   ordered
	VPCMPEQD X0, X0, X0 // all ones is a NaN

ordered:
	VMOVSS X0, ret+24(FP)
	VZEROUPPER
	RET

#define EXPCONSTANTS \
	VBROADCASTSS expconst<>+0(SB), Z16; \
	VBROADCASTSS expconst<>+32(SB), Z17; \
	VBROADCASTSS expconst<>+64(SB), Z18; \
	VBROADCASTSS expconst<>+96(SB), Z19; \
	VBROADCASTSS expconst<>+128(SB), Z20; \
	VBROADCASTSS expconst<>+160(SB), Z21; \
	VBROADCASTSS expconst<>+192(SB), Z22; \
	VBROADCASTSS expconst<>+224(SB), Z23; \
	VBROADCASTSS expconst<>+256(SB), Z24; \
	VBROADCASTSS expconst<>+288(SB), Z25; \
	VBROADCASTSS expconst<>+320(SB), Z26; \
	VBROADCASTSS expconst<>+352(SB), Z27; \
	VBROADCASTSS expconst<>+384(SB), Z28

// EXP replaces Z0 by exp(Z0). A NaN stays one: it is the last operand of the
// minimum and the maximum, and "not less" in the comparison. Scratch: Z1-Z3, K3.
#define EXP \
	VMINPS Z0, Z16, Z0; \
	VMAXPS Z0, Z17, Z0; \
	VCMPPS $5, Z18, Z0, K3; \
	VMULPS Z19, Z0, Z1; \
	VRNDSCALEPS $8, Z1, Z1; \
	VFMADD231PS Z20, Z1, Z0; \
	VFMADD231PS Z21, Z1, Z0; \
	VMOVAPS Z22, Z2; \
	VFMADD213PS Z23, Z0, Z2; \
	VFMADD213PS Z24, Z0, Z2; \
	VFMADD213PS Z25, Z0, Z2; \
	VFMADD213PS Z26, Z0, Z2; \
	VFMADD213PS Z27, Z0, Z2; \
	VMULPS Z0, Z0, Z3; \
	VFMADD213PS Z0, Z3, Z2; \
	VADDPS Z28, Z2, Z2; \
	VSCALEFPS.Z Z1, Z2, K3, Z0

// func expSub512(y, x []float32, c float32) float64
TEXT ·expSub512(SB), NOSPLIT, $0-64
	MOVQ y_base+0(FP), DI
	MOVQ x_base+24(FP), AX
	VBROADCASTSS c+48(FP), Z15
	EXPCONSTANTS
	VPXORQ Z13, Z13, Z13
	VPXORQ Z14, Z14, Z14
	BEGIN(x_len+32(FP))
	GROUP
	VMOVUPS.Z (AX)(DX*1), K1, Z0
	VSUBPS Z15, Z0, Z0
	EXP
	VMOVUPS Z0, K1, (DI)(DX*1)
	VMOVAPS.Z Z0, K1, Z0
	VEXTRACTF64X4 $1, Z0, Y1
	VCVTPS2PD Y0, Z0
	VCVTPS2PD Y1, Z1
	VADDPD Z0, Z13, Z13
	VADDPD Z1, Z14, Z14
	NEXT
	VMOVAPS Z13, Z0
	VMOVAPS Z14, Z1
	ADDLANES64
	VMOVSD X0, ret+56(FP)
	VZEROUPPER
	RET

// func softmaxBack512(p, dp []float32, lse, d float32)
TEXT ·softmaxBack512(SB), NOSPLIT, $0-56
	MOVQ p_base+0(FP), DI
	MOVQ dp_base+24(FP), SI
	VBROADCASTSS lse+48(FP), Z15
	VBROADCASTSS d+52(FP), Z14
	EXPCONSTANTS
	BEGIN(p_len+8(FP))
	GROUP
	VMOVUPS.Z (DI)(DX*1), K1, Z0
	VMOVUPS.Z (SI)(DX*1), K1, Z4
	VSUBPS Z15, Z0, Z0
	EXP
	VSUBPS Z14, Z4, Z4
	VMULPS Z4, Z0, Z4
	VMOVUPS Z0, K1, (DI)(DX*1)
	VMOVUPS Z4, K1, (SI)(DX*1)
	NEXT
	VZEROUPPER
	RET

// SIGMOID replaces Z0 by 1/(1+exp(-Z0)). Z12 is the sign bit.
#define SIGMOID \
	VPXORQ Z12, Z0, Z0; \
	EXP; \
	VADDPS Z28, Z0, Z0; \
	VDIVPS Z0, Z28, Z0

// func siluMul512(out, gate, up []float32)
TEXT ·siluMul512(SB), NOSPLIT, $0-72
	MOVQ out_base+0(FP), DI
	MOVQ gate_base+24(FP), AX
	MOVQ up_base+48(FP), BX
	EXPCONSTANTS
	VBROADCASTSS expconst<>+448(SB), Z12
	BEGIN(gate_len+32(FP))
	GROUP
	VMOVUPS.Z (AX)(DX*1), K1, Z0
	VMOVAPS Z0, Z4
	VMOVUPS.Z (BX)(DX*1), K1, Z5
	SIGMOID
	VMULPS Z0, Z4, Z4
	VMULPS Z5, Z4, Z4
	VMOVUPS Z4, K1, (DI)(DX*1)
	NEXT
	VZEROUPPER
	RET

// func siluMulBack512(dgate, dup, dout, gate, up []float32)
//	Z4 gate, then silu; Z5 up; Z6 dout; Z7 the derivative
TEXT ·siluMulBack512(SB), NOSPLIT, $0-120
	MOVQ dgate_base+0(FP), DI
	MOVQ dup_base+24(FP), SI
	MOVQ dout_base+48(FP), R8
	MOVQ gate_base+72(FP), AX
	MOVQ up_base+96(FP), BX
	EXPCONSTANTS
	VBROADCASTSS expconst<>+448(SB), Z12
	BEGIN(gate_len+80(FP))
	GROUP
	VMOVUPS.Z (AX)(DX*1), K1, Z0
	VMOVAPS Z0, Z4
	VMOVUPS.Z (BX)(DX*1), K1, Z5
	VMOVUPS.Z (R8)(DX*1), K1, Z6
	SIGMOID
	VMULPS Z0, Z4, Z4
	VSUBPS Z0, Z28, Z7
	VFMADD213PS Z0, Z4, Z7
	VMULPS Z5, Z6, Z5
	VMULPS Z7, Z5, Z5
	VMULPS Z4, Z6, Z6
	VMOVUPS Z5, K1, (DI)(DX*1)
	VMOVUPS Z6, K1, (SI)(DX*1)
	NEXT
	VZEROUPPER
	RET
