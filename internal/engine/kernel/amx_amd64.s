#include "textflag.h"
#include "amx_encoding_amd64.h"

// A strip of up to 32 rows of the result by whole panels of 32 columns: four
// accumulators of 16x16, two tiles of a, two of b, 32 k's at a time. Rows past
// 16 and columns past 16 may be missing; the configuration says how many there
// are, and the variants leave out the tiles that do not exist.
//
// The configuration is loaded and released here: a goroutine may run on another
// thread at its next call. Assembly is never preempted, and a signal's frame
// keeps the tiles.
//
// Registers:
//	DI, R8     c at rows 0 and 16; SI bytes between its rows. While blocks pass by
//	           R8 is what to fetch ahead
//	R13, R11   a at rows 0 and 16; DX bytes between its rows
//	AX, BX     a at the current block
//	R14        b of the current panel; R10 its current block, R9 = 128 bytes per pair
//	R15, R12   blocks; remaining blocks
//	CX         remaining panels

// AHEAD fetches 2 of 8 lines of what comes next into the second-level cache.
#define AHEAD(at) \
	PREFETCHT1 at(R8); \
	PREFETCHT1 (at+64)(R8)

// NEAR fetches 8 lines of the block after the next into the first-level cache: a
// core that shares its caches with a busy neighbour waits for them otherwise.
#define NEAR(at) \
	PREFETCHT0 (at+4096)(R10); \
	PREFETCHT0 (at+4160)(R10); \
	PREFETCHT0 (at+4224)(R10); \
	PREFETCHT0 (at+4288)(R10); \
	PREFETCHT0 (at+4352)(R10); \
	PREFETCHT0 (at+4416)(R10); \
	PREFETCHT0 (at+4480)(R10); \
	PREFETCHT0 (at+4544)(R10)

#define PANEL(name, fresh, begin, block, load, zero, products, store) \
name: \
	MOVQ SI, R8; \
	SHLQ $4, R8; \
	ADDQ DI, R8; \
	MOVQ R13, AX; \
	MOVQ DX, BX; \
	SHLQ $4, BX; \
	ADDQ R13, BX; \
	MOVQ DI, R11; \
	MOVQ R14, R10; \
	MOVQ R15, R12; \
	CMPB acc+80(FP), $0; \
	JEQ  fresh; \
	load; \
	JMP  begin; \
fresh: \
	zero; \
begin: \
	MOVQ ahead+88(FP), R8; \
block: \
	products; \
	OWN_LEFT; \
	OWN_RIGHT; \
	OWN_NEXT_LEFT; \
	OWN_NEXT_RIGHT; \
	LEAQ (R11)(SI*2), R11; \
	ADDQ $64, AX; \
	ADDQ $64, BX; \
	ADDQ $2048, R10; \
	ADDQ aheadBlock+96(FP), R8; \
	DECQ R12; \
	JNZ  block; \
	MOVQ SI, R8; \
	SHLQ $4, R8; \
	ADDQ DI, R8; \
	store; \
	MOVQ aheadPanel+104(FP), R8; \
	ADDQ R8, ahead+88(FP); \
	ADDQ apart+40(FP), R14; \
	ADDQ $128, DI; \
	DECQ CX; \
	JNZ  name; \
	JMP  done

#define LOAD_1x1 LOAD_C0
#define LOAD_1x2 LOAD_C0; LOAD_C1
#define LOAD_2x1 LOAD_C0; LOAD_C2
#define LOAD_2x2 LOAD_C0; LOAD_C1; LOAD_C2; LOAD_C3

#define ZERO_1x1 ZERO_C0
#define ZERO_1x2 ZERO_C0; ZERO_C1
#define ZERO_2x1 ZERO_C0; ZERO_C2
#define ZERO_2x2 ZERO_C0; ZERO_C1; ZERO_C2; ZERO_C3

#define STORE_1x1 STORE_C0
#define STORE_1x2 STORE_C0; STORE_C1
#define STORE_2x1 STORE_C0; STORE_C2
#define STORE_2x2 STORE_C0; STORE_C1; STORE_C2; STORE_C3

#define PRODUCTS_1x1 LOAD_A0; LOAD_B0; MULTIPLY0; AHEAD(0); NEAR(0); AHEAD(128); NEAR(512); AHEAD(256); NEAR(1024); AHEAD(384); NEAR(1536)
#define PRODUCTS_1x2 LOAD_A0; LOAD_B0; MULTIPLY0; AHEAD(0); NEAR(0); AHEAD(128); NEAR(512); LOAD_B1; MULTIPLY1; AHEAD(256); NEAR(1024); AHEAD(384); NEAR(1536)
#define PRODUCTS_2x1 LOAD_B0; LOAD_A0; MULTIPLY0; AHEAD(0); NEAR(0); AHEAD(128); NEAR(512); LOAD_A1; MULTIPLY2; AHEAD(256); NEAR(1024); AHEAD(384); NEAR(1536)
#define PRODUCTS_2x2 LOAD_A0; LOAD_B0; MULTIPLY0; AHEAD(0); NEAR(0); LOAD_B1; MULTIPLY1; AHEAD(128); NEAR(512); LOAD_A1; MULTIPLY2; AHEAD(256); NEAR(1024); MULTIPLY3; AHEAD(384); NEAR(1536)

// func tiles(c *float32, ldc int, a *uint16, lda int, b *uint16, apart, blocks, panels int, config *tileConfig, shape int, acc bool, ahead *uint16, aheadBlock, aheadPanel int)
// Distances are in bytes; blocks and panels are at least one. shape: bit 0 =
// more than 16 rows, bit 1 = more than 16 columns.
TEXT ·tiles(SB), NOSPLIT, $0-112
	MOVQ config+64(FP), R11
	TILE_CONFIG
	MOVQ c+0(FP), DI
	MOVQ ldc+8(FP), SI
	MOVQ a+16(FP), R13
	MOVQ lda+24(FP), DX
	MOVQ b+32(FP), R14
	MOVQ blocks+48(FP), R15
	MOVQ panels+56(FP), CX
	MOVQ $128, R9
	MOVQ shape+72(FP), AX
	CMPQ AX, $3
	JEQ  p2x2
	CMPQ AX, $2
	JEQ  p1x2
	CMPQ AX, $1
	JEQ  p2x1
	JMP  p1x1

	PANEL(p2x2, f2x2, n2x2, b2x2, LOAD_2x2, ZERO_2x2, PRODUCTS_2x2, STORE_2x2)
	PANEL(p1x2, f1x2, n1x2, b1x2, LOAD_1x2, ZERO_1x2, PRODUCTS_1x2, STORE_1x2)
	PANEL(p2x1, f2x1, n2x1, b2x1, LOAD_2x1, ZERO_2x1, PRODUCTS_2x1, STORE_2x1)
	PANEL(p1x1, f1x1, n1x1, b1x1, LOAD_1x1, ZERO_1x1, PRODUCTS_1x1, STORE_1x1)

done:
	TILE_RELEASE
	RET

// COMING fetches 8 lines of the block four further on.
#define COMING(at) \
	PREFETCHT0 (at+8192)(R10); \
	PREFETCHT0 (at+8256)(R10); \
	PREFETCHT0 (at+8320)(R10); \
	PREFETCHT0 (at+8384)(R10); \
	PREFETCHT0 (at+8448)(R10); \
	PREFETCHT0 (at+8512)(R10); \
	PREFETCHT0 (at+8576)(R10); \
	PREFETCHT0 (at+8640)(R10)

#define STREAM(name, fresh, block, load, zero, products, store) \
name: \
	MOVQ SI, R8; \
	SHLQ $4, R8; \
	ADDQ DI, R8; \
	MOVQ R13, AX; \
	MOVQ R11, BX; \
	MOVQ R14, R10; \
	MOVQ R15, R12; \
	CMPB acc+80(FP), $0; \
	JEQ  fresh; \
	load; \
	JMP  block; \
fresh: \
	zero; \
block: \
	products; \
	ADDQ $64, AX; \
	ADDQ $64, BX; \
	ADDQ $2048, R10; \
	DECQ R12; \
	JNZ  block; \
	store; \
	ADDQ apart+40(FP), R14; \
	ADDQ $128, DI; \
	DECQ CX; \
	JNZ  name; \
	JMP  streamed

#define PASSING_1x1 LOAD_A0; LOAD_B0; MULTIPLY0; COMING(0); COMING(512); COMING(1024); COMING(1536)
#define PASSING_1x2 LOAD_A0; LOAD_B0; MULTIPLY0; COMING(0); COMING(512); LOAD_B1; MULTIPLY1; COMING(1024); COMING(1536)
#define PASSING_2x1 LOAD_B0; LOAD_A0; MULTIPLY0; COMING(0); COMING(512); LOAD_A1; MULTIPLY2; COMING(1024); COMING(1536)
#define PASSING_2x2 LOAD_A0; LOAD_B0; MULTIPLY0; COMING(0); LOAD_B1; MULTIPLY1; COMING(512); LOAD_A1; MULTIPLY2; COMING(1024); MULTIPLY3; COMING(1536)

// func tilesStream(c *float32, ldc int, a *uint16, lda int, b *uint16, apart, blocks, panels int, config *tileConfig, shape int, acc bool)
// tiles for a right operand that is read once, from memory, by this strip alone:
// it asks for all of b as it goes. R11 is a at row 16 throughout.
TEXT ·tilesStream(SB), NOSPLIT, $0-81
	MOVQ config+64(FP), R11
	TILE_CONFIG
	MOVQ c+0(FP), DI
	MOVQ ldc+8(FP), SI
	MOVQ a+16(FP), R13
	MOVQ lda+24(FP), DX
	MOVQ b+32(FP), R14
	MOVQ blocks+48(FP), R15
	MOVQ panels+56(FP), CX
	MOVQ DX, R11
	SHLQ $4, R11
	ADDQ R13, R11
	MOVQ $128, R9
	MOVQ shape+72(FP), AX
	CMPQ AX, $3
	JEQ  s2x2
	CMPQ AX, $2
	JEQ  s1x2
	CMPQ AX, $1
	JEQ  s2x1
	JMP  s1x1

	STREAM(s2x2, g2x2, c2x2, LOAD_2x2, ZERO_2x2, PASSING_2x2, STORE_2x2)
	STREAM(s1x2, g1x2, c1x2, LOAD_1x2, ZERO_1x2, PASSING_1x2, STORE_1x2)
	STREAM(s2x1, g2x1, c2x1, LOAD_2x1, ZERO_2x1, PASSING_2x1, STORE_2x1)
	STREAM(s1x1, g1x1, c1x1, LOAD_1x1, ZERO_1x1, PASSING_1x1, STORE_1x1)

streamed:
	TILE_RELEASE
	RET
