// Constants of the exponential, eight times each so that AVX2 can use them as
// memory operands; AVX-512 broadcasts the first of the eight, NEON loads four.
//
//	exp(x) = 2^n * (1 + r + r^2 q(r)), n = round(x / ln 2), r = x - n ln 2,
//
// where ln 2 is split into an exact high part and a low part, and q, of degree
// 5, interpolates (exp(r)-1-r)/r^2 at Chebyshev nodes: 7.5e-10 of the result.
#define EIGHT(offset, bits) \
	DATA expconst<>+(offset+0)(SB)/4, $bits; \
	DATA expconst<>+(offset+4)(SB)/4, $bits; \
	DATA expconst<>+(offset+8)(SB)/4, $bits; \
	DATA expconst<>+(offset+12)(SB)/4, $bits; \
	DATA expconst<>+(offset+16)(SB)/4, $bits; \
	DATA expconst<>+(offset+20)(SB)/4, $bits; \
	DATA expconst<>+(offset+24)(SB)/4, $bits; \
	DATA expconst<>+(offset+28)(SB)/4, $bits

EIGHT(0, 0x42b20000)   // 89: above it exp is infinite
EIGHT(32, 0xc2d00000)  // -104: below it exp is zero
EIGHT(64, 0xc2aeac4f)  // ln of the least normal number: below it exp is flushed to zero
EIGHT(96, 0x3fb8aa3b)  // 1 / ln 2
EIGHT(128, 0xbf318000) // -ln 2, high part
EIGHT(160, 0x395e8083) // -ln 2, low part
EIGHT(192, 0x3950a8de) // q5
EIGHT(224, 0x3ab6a1b3) // q4
EIGHT(256, 0x3c088863) // q3
EIGHT(288, 0x3d2aaa74) // q2
EIGHT(320, 0x3e2aaaab) // q1
EIGHT(352, 0x3f000000) // q0
EIGHT(384, 0x3f800000) // 1
EIGHT(416, 0x0000007f) // bias of the exponent
EIGHT(448, 0x80000000) // sign
EIGHT(480, 0xff800000) // -Inf
GLOBL expconst<>(SB), RODATA|NOPTR, $512
