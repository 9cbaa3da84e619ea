// The tile instructions of AMX-BF16, which Go's assembler does not know, as
// bytes; behind each what a disassembler says they are. TestEncodings asks one.

#define TILE_CONFIG BYTE $0xc4; BYTE $0xc2; BYTE $0x78; BYTE $0x49; BYTE $0x03 // ldtilecfg [r11]
#define TILE_STATUS BYTE $0xc4; BYTE $0xc2; BYTE $0x79; BYTE $0x49; BYTE $0x03 // sttilecfg [r11]
#define TILE_RELEASE BYTE $0xc4; BYTE $0xe2; BYTE $0x78; BYTE $0x49; BYTE $0xc0 // tilerelease
#define ZERO_C0 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x49; BYTE $0xc0 // tilezero tmm0
#define ZERO_C1 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x49; BYTE $0xc8 // tilezero tmm1
#define ZERO_C2 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x49; BYTE $0xd0 // tilezero tmm2
#define ZERO_C3 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x49; BYTE $0xd8 // tilezero tmm3
#define LOAD_C0 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x4b; BYTE $0x04; BYTE $0x37 // tileloadd tmm0,[rdi+rsi*1]
#define LOAD_C1 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x4b; BYTE $0x4c; BYTE $0x37; BYTE $0x40 // tileloadd tmm1,[rdi+rsi*1+0x40]
#define LOAD_C2 BYTE $0xc4; BYTE $0xc2; BYTE $0x7b; BYTE $0x4b; BYTE $0x14; BYTE $0x30 // tileloadd tmm2,[r8+rsi*1]
#define LOAD_C3 BYTE $0xc4; BYTE $0xc2; BYTE $0x7b; BYTE $0x4b; BYTE $0x5c; BYTE $0x30; BYTE $0x40 // tileloadd tmm3,[r8+rsi*1+0x40]
#define STORE_C0 BYTE $0xc4; BYTE $0xe2; BYTE $0x7a; BYTE $0x4b; BYTE $0x04; BYTE $0x37 // tilestored [rdi+rsi*1],tmm0
#define STORE_C1 BYTE $0xc4; BYTE $0xe2; BYTE $0x7a; BYTE $0x4b; BYTE $0x4c; BYTE $0x37; BYTE $0x40 // tilestored [rdi+rsi*1+0x40],tmm1
#define STORE_C2 BYTE $0xc4; BYTE $0xc2; BYTE $0x7a; BYTE $0x4b; BYTE $0x14; BYTE $0x30 // tilestored [r8+rsi*1],tmm2
#define STORE_C3 BYTE $0xc4; BYTE $0xc2; BYTE $0x7a; BYTE $0x4b; BYTE $0x5c; BYTE $0x30; BYTE $0x40 // tilestored [r8+rsi*1+0x40],tmm3
#define LOAD_A0 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x4b; BYTE $0x24; BYTE $0x10 // tileloadd tmm4,[rax+rdx*1]
#define LOAD_A1 BYTE $0xc4; BYTE $0xe2; BYTE $0x7b; BYTE $0x4b; BYTE $0x2c; BYTE $0x13 // tileloadd tmm5,[rbx+rdx*1]
#define LOAD_B0 BYTE $0xc4; BYTE $0x82; BYTE $0x79; BYTE $0x4b; BYTE $0x34; BYTE $0x0a // tileloaddt1 tmm6,[r10+r9*1]
#define LOAD_B1 BYTE $0xc4; BYTE $0x82; BYTE $0x79; BYTE $0x4b; BYTE $0x7c; BYTE $0x0a; BYTE $0x40 // tileloaddt1 tmm7,[r10+r9*1+0x40]
#define MULTIPLY0 BYTE $0xc4; BYTE $0xe2; BYTE $0x4a; BYTE $0x5c; BYTE $0xc4 // tdpbf16ps tmm0,tmm4,tmm6
#define MULTIPLY1 BYTE $0xc4; BYTE $0xe2; BYTE $0x42; BYTE $0x5c; BYTE $0xcc // tdpbf16ps tmm1,tmm4,tmm7
#define MULTIPLY2 BYTE $0xc4; BYTE $0xe2; BYTE $0x4a; BYTE $0x5c; BYTE $0xd5 // tdpbf16ps tmm2,tmm5,tmm6
#define MULTIPLY3 BYTE $0xc4; BYTE $0xe2; BYTE $0x42; BYTE $0x5c; BYTE $0xdd // tdpbf16ps tmm3,tmm5,tmm7
#define OWN_LEFT BYTE $0x41; BYTE $0x0f; BYTE $0x0d; BYTE $0x0b // prefetchw BYTE PTR [r11]
#define OWN_RIGHT BYTE $0x41; BYTE $0x0f; BYTE $0x0d; BYTE $0x4b; BYTE $0x40 // prefetchw BYTE PTR [r11+0x40]
#define OWN_NEXT_LEFT BYTE $0x41; BYTE $0x0f; BYTE $0x0d; BYTE $0x0c; BYTE $0x33 // prefetchw BYTE PTR [r11+rsi*1]
#define OWN_NEXT_RIGHT BYTE $0x41; BYTE $0x0f; BYTE $0x0d; BYTE $0x4c; BYTE $0x33; BYTE $0x40 // prefetchw BYTE PTR [r11+rsi*1+0x40]
