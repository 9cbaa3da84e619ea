// Instructions that Go's assembler does not know, as bytes; behind each what a
// disassembler says they are. TestEncodings asks one.
//
// Products of bfloat16 pairs (AVX512-BF16): accumulator n += Z30 * Z28 (even n)
// or Z29 (odd n). ROUND2 puts Z0 and Z1, rounded, into Z0.

#define DP0 BYTE $0x62; BYTE $0x92; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xc4 // vdpbf16ps zmm0,zmm30,zmm28
#define DP1 BYTE $0x62; BYTE $0x92; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xcd // vdpbf16ps zmm1,zmm30,zmm29
#define DP2 BYTE $0x62; BYTE $0x92; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xd4 // vdpbf16ps zmm2,zmm30,zmm28
#define DP3 BYTE $0x62; BYTE $0x92; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xdd // vdpbf16ps zmm3,zmm30,zmm29
#define DP4 BYTE $0x62; BYTE $0x92; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xe4 // vdpbf16ps zmm4,zmm30,zmm28
#define DP5 BYTE $0x62; BYTE $0x92; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xed // vdpbf16ps zmm5,zmm30,zmm29
#define DP6 BYTE $0x62; BYTE $0x92; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xf4 // vdpbf16ps zmm6,zmm30,zmm28
#define DP7 BYTE $0x62; BYTE $0x92; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xfd // vdpbf16ps zmm7,zmm30,zmm29
#define DP8 BYTE $0x62; BYTE $0x12; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xc4 // vdpbf16ps zmm8,zmm30,zmm28
#define DP9 BYTE $0x62; BYTE $0x12; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xcd // vdpbf16ps zmm9,zmm30,zmm29
#define DP10 BYTE $0x62; BYTE $0x12; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xd4 // vdpbf16ps zmm10,zmm30,zmm28
#define DP11 BYTE $0x62; BYTE $0x12; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xdd // vdpbf16ps zmm11,zmm30,zmm29
#define DP12 BYTE $0x62; BYTE $0x12; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xe4 // vdpbf16ps zmm12,zmm30,zmm28
#define DP13 BYTE $0x62; BYTE $0x12; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xed // vdpbf16ps zmm13,zmm30,zmm29
#define DP14 BYTE $0x62; BYTE $0x12; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xf4 // vdpbf16ps zmm14,zmm30,zmm28
#define DP15 BYTE $0x62; BYTE $0x12; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xfd // vdpbf16ps zmm15,zmm30,zmm29
#define DP16 BYTE $0x62; BYTE $0x82; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xc4 // vdpbf16ps zmm16,zmm30,zmm28
#define DP17 BYTE $0x62; BYTE $0x82; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xcd // vdpbf16ps zmm17,zmm30,zmm29
#define DP18 BYTE $0x62; BYTE $0x82; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xd4 // vdpbf16ps zmm18,zmm30,zmm28
#define DP19 BYTE $0x62; BYTE $0x82; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xdd // vdpbf16ps zmm19,zmm30,zmm29
#define DP20 BYTE $0x62; BYTE $0x82; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xe4 // vdpbf16ps zmm20,zmm30,zmm28
#define DP21 BYTE $0x62; BYTE $0x82; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xed // vdpbf16ps zmm21,zmm30,zmm29
#define DP22 BYTE $0x62; BYTE $0x82; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xf4 // vdpbf16ps zmm22,zmm30,zmm28
#define DP23 BYTE $0x62; BYTE $0x82; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xfd // vdpbf16ps zmm23,zmm30,zmm29
#define DP24 BYTE $0x62; BYTE $0x02; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xc4 // vdpbf16ps zmm24,zmm30,zmm28
#define DP25 BYTE $0x62; BYTE $0x02; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xcd // vdpbf16ps zmm25,zmm30,zmm29
#define DP26 BYTE $0x62; BYTE $0x02; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xd4 // vdpbf16ps zmm26,zmm30,zmm28
#define DP27 BYTE $0x62; BYTE $0x02; BYTE $0x0e; BYTE $0x40; BYTE $0x52; BYTE $0xdd // vdpbf16ps zmm27,zmm30,zmm29
#define ROUND2 BYTE $0x62; BYTE $0xf2; BYTE $0x77; BYTE $0x48; BYTE $0x72; BYTE $0xc0 // vcvtne2ps2bf16 zmm0,zmm1,zmm0
