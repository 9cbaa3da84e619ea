#include "textflag.h"
#include "expconst.h"
#include "neon_encoding_arm64.h"

// Vector functions, 8 values at a time in two registers of 4: the lanes, the
// order of the sums and so the bits are those of vector_avx2_amd64.s. The last
// group goes through loads and stores of less, so every body is expanded twice.
// R9 is the offset in bytes, R12 the values left; R13, V30 and V31 are scratch.
// Vectors of a call are in R0 to R4. A register named by a number in a macro for
// 8 values is the first of two.

#define FADD8(m, n, d) FADD4(m, n, d); FADD4(m+1, n+1, d+1)
#define FSUB8(m, n, d) FSUB4(m, n, d); FSUB4(m+1, n+1, d+1)
#define FMUL8(m, n, d) FMUL4(m, n, d); FMUL4(m+1, n+1, d+1)
#define FMAX8(m, n, d) FMAX4(m, n, d); FMAX4(m+1, n+1, d+1)
#define FMLA8(m, n, d) FMLA4(m, n, d); FMLA4(m+1, n+1, d+1)
#define FNEG8(n, d) FNEG4(n, d); FNEG4(n+1, d+1)
#define COPY8(n, d) COPY(n, d); COPY(n+1, d+1)

// By one register, four times the same value.
#define FMUL8X(x, n, d) FMUL4(x, n, d); FMUL4(x, n+1, d+1)
#define FMLA8X(x, n, d) FMLA4(x, n, d); FMLA4(x, n+1, d+1)

#define LOADALL(vector, lo, hi) \
	ADD  R9, vector, R13; \
	VLD1 (R13), [lo.S4, hi.S4]

#define STOREALL(lo, hi, vector) \
	ADD  R9, vector, R13; \
	VST1 [lo.S4, hi.S4], (R13)

#define LOADSOME(vector, lo, hi) \
	ADD  R9, vector, R13; \
	CALL loadsome<>(SB); \
	VORR V30.B16, V30.B16, lo.B16; \
	VORR V31.B16, V31.B16, hi.B16

#define STORESOME(lo, hi, vector) \
	ADD  R9, vector, R13; \
	VORR lo.B16, lo.B16, V30.B16; \
	VORR hi.B16, hi.B16, V31.B16; \
	CALL storesome<>(SB)

// loadsome puts the R12 values at R13, 0 < R12 < 8, into V30 and V31, zeros
// behind them.
TEXT loadsome<>(SB), NOSPLIT|NOFRAME, $0-0
	VEOR V30.B16, V30.B16, V30.B16
	VEOR V31.B16, V31.B16, V31.B16
	TBZ  $2, R12, two
	VLD1.P 16(R13), [V30.S4]

two:
	TBZ   $1, R12, one
	FMOVD (R13), F31
	TBZ   $0, R12, place
	ADD   $8, R13
	VLD1  (R13), V31.S[2]
	B     place

one:
	TBZ   $0, R12, place
	FMOVS (R13), F31

place:
	TBNZ $2, R12, placed
	VORR V31.B16, V31.B16, V30.B16
	VEOR V31.B16, V31.B16, V31.B16

placed:
	RET

// storesome is the reverse of loadsome.
TEXT storesome<>(SB), NOSPLIT|NOFRAME, $0-0
	TBZ  $2, R12, two
	VST1.P [V30.S4], 16(R13)
	VORR V31.B16, V31.B16, V30.B16

two:
	TBZ   $1, R12, one
	FMOVD F30, (R13)
	TBZ   $0, R12, stored
	ADD   $8, R13
	VST1  V30.S[2], (R13)
	RET

one:
	TBZ   $0, R12, stored
	FMOVS F30, (R13)

stored:
	RET

#define BEGIN(length) \
	MOVD length, R12; \
	MOVD ZR, R9; \
	SUBS $8, R12; \
	BLT  last; \
loop:

#define NEXT \
	ADD  $32, R9; \
	SUBS $8, R12; \
	BGE  loop; \
last: \
	ADDS $8, R12; \
	BEQ  done

#define END \
done:

// ADDLANES adds the 8 lanes of V0 and V1 into F0.
#define ADDLANES \
	FADD4(1, 0, 0); \
	VDUP V0.D[1], V1.D2; \
	FADD4(1, 0, 0); \
	FADDP2(0, 0)

// ADDLANES64 adds the 8 float64 lanes of V12 to V15 into F0.
#define ADDLANES64 \
	FADD64(14, 12, 12); \
	FADD64(15, 13, 13); \
	FADD64(13, 12, 12); \
	FADDP64(12, 0)

#define ZERO64 \
	VEOR V12.B16, V12.B16, V12.B16; \
	VEOR V13.B16, V13.B16, V13.B16; \
	VEOR V14.B16, V14.B16, V14.B16; \
	VEOR V15.B16, V15.B16, V15.B16

#define DOT(LOAD, STORE) \
	LOAD(R0, V2, V3); \
	LOAD(R1, V4, V5); \
	FMLA8(2, 4, 0)

// func dot4(a, b []float32) float32
TEXT ·dot4(SB), NOSPLIT, $0-52
	MOVD a_base+0(FP), R0
	MOVD b_base+24(FP), R1
	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	BEGIN(a_len+8(FP))
	DOT(LOADALL, STOREALL)
	NEXT
	DOT(LOADSOME, STORESOME)
	END
	ADDLANES
	FMOVS F0, ret+48(FP)
	RET

#define AXPY(LOAD, STORE) \
	LOAD(R0, V0, V1); \
	LOAD(R1, V2, V3); \
	FMLA8X(6, 2, 0); \
	STORE(V0, V1, R0)

// func axpy4(y, x []float32, a float32)
TEXT ·axpy4(SB), NOSPLIT, $0-52
	MOVD  y_base+0(FP), R0
	MOVD  x_base+24(FP), R1
	FMOVS a+48(FP), F6
	VDUP  V6.S[0], V6.S4
	BEGIN(x_len+32(FP))
	AXPY(LOADALL, STOREALL)
	NEXT
	AXPY(LOADSOME, STORESOME)
	END
	RET

#define ADDTO(LOAD, STORE) \
	LOAD(R0, V0, V1); \
	LOAD(R1, V2, V3); \
	FADD8(2, 0, 0); \
	STORE(V0, V1, R0)

// func add4(y, x []float32)
TEXT ·add4(SB), NOSPLIT, $0-48
	MOVD y_base+0(FP), R0
	MOVD x_base+24(FP), R1
	BEGIN(x_len+32(FP))
	ADDTO(LOADALL, STOREALL)
	NEXT
	ADDTO(LOADSOME, STORESOME)
	END
	RET

#define SCALE(LOAD, STORE) \
	LOAD(R0, V0, V1); \
	FMUL8X(6, 0, 0); \
	STORE(V0, V1, R0)

// func scale4(x []float32, a float32)
TEXT ·scale4(SB), NOSPLIT, $0-28
	MOVD  x_base+0(FP), R0
	FMOVS a+24(FP), F6
	VDUP  V6.S[0], V6.S4
	BEGIN(x_len+8(FP))
	SCALE(LOADALL, STOREALL)
	NEXT
	SCALE(LOADSOME, STORESOME)
	END
	RET

// WIDEN puts the 8 values of n into the 4 registers from d on, as float64.
#define WIDEN(n, d) \
	FCVTL(n, d); \
	FCVTL2(n, d+1); \
	FCVTL(n+1, d+2); \
	FCVTL2(n+1, d+3)

#define FMLA64X8(m, n) \
	FMLA64(m, n, 12); \
	FMLA64(m+1, n+1, 13); \
	FMLA64(m+2, n+2, 14); \
	FMLA64(m+3, n+3, 15)

#define SUMSQUARES(LOAD, STORE) \
	LOAD(R0, V2, V3); \
	WIDEN(2, 4); \
	FMLA64X8(4, 4)

// func sumSquares4(x []float32) float64
TEXT ·sumSquares4(SB), NOSPLIT, $0-32
	MOVD x_base+0(FP), R0
	ZERO64
	BEGIN(x_len+8(FP))
	SUMSQUARES(LOADALL, STOREALL)
	NEXT
	SUMSQUARES(LOADSOME, STORESOME)
	END
	ADDLANES64
	FMOVD F0, ret+24(FP)
	RET

#define DOT3(LOAD, STORE) \
	LOAD(R0, V2, V3); \
	LOAD(R1, V4, V5); \
	FMUL8(4, 2, 2); \
	WIDEN(2, 4); \
	LOAD(R2, V2, V3); \
	WIDEN(2, 8); \
	FMLA64X8(8, 4)

// func dot3x4(a, b, c []float32) float64
// The sum of a*b*c, a*b rounded to float32.
TEXT ·dot3x4(SB), NOSPLIT, $0-80
	MOVD a_base+0(FP), R0
	MOVD b_base+24(FP), R1
	MOVD c_base+48(FP), R2
	ZERO64
	BEGIN(a_len+8(FP))
	DOT3(LOADALL, STOREALL)
	NEXT
	DOT3(LOADSOME, STORESOME)
	END
	ADDLANES64
	FMOVD F0, ret+72(FP)
	RET

#define NORMAPPLY(LOAD, STORE) \
	LOAD(R1, V0, V1); \
	LOAD(R2, V2, V3); \
	FMUL8X(6, 0, 0); \
	FMUL8(2, 0, 0); \
	STORE(V0, V1, R0)

// func normApply4(y, x, w []float32, inv float32)
TEXT ·normApply4(SB), NOSPLIT, $0-76
	MOVD  y_base+0(FP), R0
	MOVD  x_base+24(FP), R1
	MOVD  w_base+48(FP), R2
	FMOVS inv+72(FP), F6
	VDUP  V6.S[0], V6.S4
	BEGIN(x_len+32(FP))
	NORMAPPLY(LOADALL, STOREALL)
	NEXT
	NORMAPPLY(LOADSOME, STORESOME)
	END
	RET

// V10 is inv, V11 is -c.
#define NORMBACK(LOAD, STORE) \
	LOAD(R0, V0, V1); \
	LOAD(R1, V2, V3); \
	LOAD(R2, V4, V5); \
	LOAD(R3, V6, V7); \
	FMUL8(2, 6, 6); \
	FMUL8X(11, 4, 4); \
	FMLA8X(10, 6, 4); \
	FADD8(4, 0, 0); \
	STORE(V0, V1, R0)

// func normBack4(dx, dy, x, w []float32, inv, c float32)
// dx += inv*(w*dy) - c*x
TEXT ·normBack4(SB), NOSPLIT, $0-104
	MOVD  dx_base+0(FP), R0
	MOVD  dy_base+24(FP), R1
	MOVD  x_base+48(FP), R2
	MOVD  w_base+72(FP), R3
	FMOVS inv+96(FP), F10
	FMOVS c+100(FP), F11
	VDUP  V10.S[0], V10.S4
	VDUP  V11.S[0], V11.S4
	FNEG4(11, 11)
	BEGIN(x_len+56(FP))
	NORMBACK(LOADALL, STOREALL)
	NEXT
	NORMBACK(LOADSOME, STORESOME)
	END
	RET

#define LOADPAIRS(LOAD) \
	LOAD(R0, V0, V1); \
	LOAD(R1, V2, V3); \
	LOAD(R2, V4, V5); \
	LOAD(R3, V6, V7); \
	FMUL8(6, 2, 8); \
	FMUL8(6, 0, 10)

#define STOREPAIRS(STORE) \
	FMLA8(4, 0, 8); \
	FMLA8(4, 2, 10); \
	STORE(V8, V9, R0); \
	STORE(V10, V11, R1)

#define ROTATE(LOAD, STORE) \
	LOADPAIRS(LOAD); \
	FNEG8(8, 8); \
	STOREPAIRS(STORE)

// func rotate4(lo, hi, cos, sin []float32)
TEXT ·rotate4(SB), NOSPLIT, $0-96
	MOVD lo_base+0(FP), R0
	MOVD hi_base+24(FP), R1
	MOVD cos_base+48(FP), R2
	MOVD sin_base+72(FP), R3
	BEGIN(lo_len+8(FP))
	ROTATE(LOADALL, STOREALL)
	NEXT
	ROTATE(LOADSOME, STORESOME)
	END
	RET

#define ROTATEBACK(LOAD, STORE) \
	LOADPAIRS(LOAD); \
	FNEG8(10, 10); \
	STOREPAIRS(STORE)

// func rotateBack4(lo, hi, cos, sin []float32)
TEXT ·rotateBack4(SB), NOSPLIT, $0-96
	MOVD lo_base+0(FP), R0
	MOVD hi_base+24(FP), R1
	MOVD cos_base+48(FP), R2
	MOVD sin_base+72(FP), R3
	BEGIN(lo_len+8(FP))
	ROTATEBACK(LOADALL, STOREALL)
	NEXT
	ROTATEBACK(LOADSOME, STORESOME)
	END
	RET

// func max4(x []float32) float32
// The maximum of a NaN and anything is a NaN. The last values come one by one.
TEXT ·max4(SB), NOSPLIT, $0-28
	MOVD x_base+0(FP), R0
	MOVW $0xff800000, R13 // -Inf
	VDUP R13, V0.S4
	VDUP R13, V1.S4
	BEGIN(x_len+8(FP))
	LOADALL(R0, V2, V3)
	FMAX8(2, 0, 0)
	NEXT
	ADD R9, R0, R13

one:
	FMOVS.P 4(R13), F2
	FMAXS   F2, F0, F2
	VMOV    V2.S[0], V0.S[0]
	SUBS    $1, R12
	BNE     one
	END
	FMAX4(1, 0, 0)
	FMAXV(0, 0)
	FMOVS F0, ret+24(FP)
	RET

// CONSTANTS loads what EXP needs into V16 to V29.
#define CONSTANTS \
	MOVD  $expconst<>(SB), R13; \
	FMOVQ 0(R13), F16; \
	FMOVQ 32(R13), F17; \
	FMOVQ 64(R13), F18; \
	FMOVQ 96(R13), F19; \
	FMOVQ 128(R13), F20; \
	FMOVQ 160(R13), F21; \
	FMOVQ 192(R13), F22; \
	FMOVQ 224(R13), F23; \
	FMOVQ 256(R13), F24; \
	FMOVQ 288(R13), F25; \
	FMOVQ 320(R13), F26; \
	FMOVQ 352(R13), F27; \
	FMOVQ 384(R13), F28; \
	FMOVQ 416(R13), F29

// EXP replaces the 4 values of x by their exponentials. A NaN stays one, and is
// not "less" in the comparison. 2^n is two factors because n may be 128. n, q, t
// and low are scratch: n and then the exponents, the polynomial, where it is
// flushed to zero.
#define EXP(x, n, q, t, low) \
	FMIN4(16, x, x); \
	FMAX4(17, x, x); \
	FCMGT4(x, 18, low); \
	FMUL4(19, x, n); \
	FRINTN4(n, n); \
	FMLA4(20, n, x); \
	FMLA4(21, n, x); \
	COPY(23, t); \
	FMLA4(22, x, t); \
	COPY(24, q); \
	FMLA4(x, t, q); \
	COPY(25, t); \
	FMLA4(x, q, t); \
	COPY(26, q); \
	FMLA4(x, t, q); \
	COPY(27, t); \
	FMLA4(x, q, t); \
	FMUL4(x, x, q); \
	FMLA4(t, q, x); \
	FADD4(28, x, x); \
	FCVTNS4(n, n); \
	HALF4(n, q); \
	SUB4(q, n, n); \
	ADD4(29, n, n); \
	ADD4(29, q, q); \
	EXPONENT4(n, n); \
	EXPONENT4(q, q); \
	FMUL4(n, x, x); \
	FMUL4(q, x, x); \
	BIC(low, x, x)

#define EXP8 \
	EXP(0, 2, 4, 6, 8); \
	EXP(1, 3, 5, 7, 9)

#define SUMEXP \
	WIDEN(0, 2); \
	FADD64(2, 12, 12); \
	FADD64(3, 13, 13); \
	FADD64(4, 14, 14); \
	FADD64(5, 15, 15)

#define EXPSUB(LOAD, STORE) \
	LOAD(R1, V0, V1); \
	FSUB4(10, 0, 0); \
	FSUB4(10, 1, 1); \
	EXP8; \
	STORE(V0, V1, R0)

// func expSub4(y, x []float32, c float32) float64
// Lanes past the end are zero in the sum: the last values are read back.
TEXT ·expSub4(SB), NOSPLIT, $0-64
	MOVD  y_base+0(FP), R0
	MOVD  x_base+24(FP), R1
	FMOVS c+48(FP), F10
	VDUP  V10.S[0], V10.S4
	ZERO64
	CONSTANTS
	BEGIN(x_len+32(FP))
	EXPSUB(LOADALL, STOREALL)
	SUMEXP
	NEXT
	EXPSUB(LOADSOME, STORESOME)
	LOADSOME(R0, V0, V1)
	SUMEXP
	END
	ADDLANES64
	FMOVD F0, ret+56(FP)
	RET

#define SOFTMAXBACK(LOAD, STORE) \
	LOAD(R0, V0, V1); \
	LOAD(R1, V12, V13); \
	FSUB4(10, 0, 0); \
	FSUB4(10, 1, 1); \
	EXP8; \
	FSUB4(11, 12, 12); \
	FSUB4(11, 13, 13); \
	FMUL8(0, 12, 12); \
	STORE(V0, V1, R0); \
	STORE(V12, V13, R1)

// func softmaxBack4(p, dp []float32, lse, d float32)
TEXT ·softmaxBack4(SB), NOSPLIT, $0-56
	MOVD  p_base+0(FP), R0
	MOVD  dp_base+24(FP), R1
	FMOVS lse+48(FP), F10
	FMOVS d+52(FP), F11
	VDUP  V10.S[0], V10.S4
	VDUP  V11.S[0], V11.S4
	CONSTANTS
	BEGIN(p_len+8(FP))
	SOFTMAXBACK(LOADALL, STOREALL)
	NEXT
	SOFTMAXBACK(LOADSOME, STORESOME)
	END
	RET

// SIGMOID8 replaces the values of V0 and V1 by 1/(1+exp(-value)).
#define SIGMOID8 \
	FNEG8(0, 0); \
	EXP8; \
	FADD4(28, 0, 0); \
	FADD4(28, 1, 1); \
	FDIV4(0, 28, 0); \
	FDIV4(1, 28, 1)

#define SILUMUL(LOAD, STORE) \
	LOAD(R1, V0, V1); \
	COPY8(0, 10); \
	LOAD(R2, V12, V13); \
	SIGMOID8; \
	FMUL8(0, 10, 10); \
	FMUL8(12, 10, 10); \
	STORE(V10, V11, R0)

// func siluMul4(out, gate, up []float32)
TEXT ·siluMul4(SB), NOSPLIT, $0-72
	MOVD out_base+0(FP), R0
	MOVD gate_base+24(FP), R1
	MOVD up_base+48(FP), R2
	CONSTANTS
	BEGIN(gate_len+32(FP))
	SILUMUL(LOADALL, STOREALL)
	NEXT
	SILUMUL(LOADSOME, STORESOME)
	END
	RET

// V10 gate, then silu; V12 up; V14 dout; V0 the sigmoid, then the derivative.
#define SILUMULBACK(LOAD, STORE) \
	LOAD(R3, V0, V1); \
	COPY8(0, 10); \
	LOAD(R4, V12, V13); \
	LOAD(R2, V14, V15); \
	SIGMOID8; \
	FMUL8(0, 10, 10); \
	FSUB4(0, 28, 2); \
	FSUB4(1, 28, 3); \
	FMLA8(10, 2, 0); \
	FMUL8(14, 12, 12); \
	FMUL8(0, 12, 12); \
	FMUL8(10, 14, 14); \
	STORE(V12, V13, R0); \
	STORE(V14, V15, R1)

// func siluMulBack4(dgate, dup, dout, gate, up []float32)
TEXT ·siluMulBack4(SB), NOSPLIT, $0-120
	MOVD dgate_base+0(FP), R0
	MOVD dup_base+24(FP), R1
	MOVD dout_base+48(FP), R2
	MOVD gate_base+72(FP), R3
	MOVD up_base+96(FP), R4
	CONSTANTS
	BEGIN(gate_len+80(FP))
	SILUMULBACK(LOADALL, STOREALL)
	NEXT
	SILUMULBACK(LOADSOME, STORESOME)
	END
	RET
