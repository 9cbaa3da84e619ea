package kernel

import (
	"fmt"
	"syscall"
)

// tiles computes a strip of up to 32 rows; see amx_amd64.s.
//
//go:noescape
func tiles(c *float32, ldc int, a *uint16, lda int, b *uint16, apart, blocks, panels int, config *tileConfig, shape int, acc bool, ahead *uint16, aheadBlock, aheadPanel int)

// tilesStream is tiles for weights that are read once; see amx_amd64.s.
//
//go:noescape
func tilesStream(c *float32, ldc int, a *uint16, lda int, b *uint16, apart, blocks, panels int, config *tileConfig, shape int, acc bool)

// amxBF16 multiplies with Intel's tiles: the bits of stripAMXGo. Rounding and
// turning are those of LevelAVX512BF16: a processor with tiles has them.
var amxBF16 = unitBF16{
	rows: 2 * tileRows, strip: stripAMX, round: roundAVX512, turn: turnAVX512BF16, permit: permitAMX,
	dense: true, packColumns: packColumnsAVX512, packDepth: packDepthAVX512, upright: uprightAVX512BF16, rest: restAVX512,
	through: throughAVX512, widen: widenAVX512,
}

// tileRows is the most rows of a tile, each of 64 bytes.
const tileRows = 16

// tileConfig is the operand of LDTILECFG. Bytes that are not set are reserved.
type tileConfig struct {
	palette, startRow uint8
	_                 [14]uint8
	rowBytes          [8]uint16
	_                 [16]uint8
	rows              [8]uint8
	_                 [8]uint8
}

// tilesFor configures tiles 0-3 as the result, rows x cols in quarters, 4 and 5
// as the rows of a, 6 and 7 as the columns of b. A quarter that does not exist
// has neither rows nor columns.
func tilesFor(rows, cols int) (config tileConfig, shape int) {
	config.palette = 1
	set := func(tile, rows, values int) {
		if rows > 0 && values > 0 {
			config.rows[tile], config.rowBytes[tile] = uint8(rows), uint16(4*values)
		}
	}
	top, left := min(rows, tileRows), min(cols, tileRows)
	bottom, right := rows-top, cols-left
	set(0, top, left)
	set(1, top, right)
	set(2, bottom, left)
	set(3, bottom, right)
	set(4, top, pairsBF16)
	set(5, bottom, pairsBF16)
	set(6, pairsBF16, left)
	set(7, pairsBF16, right)
	if bottom > 0 {
		shape |= 1
	}
	if right > 0 {
		shape |= 2
	}
	return config, shape
}

func stripAMX(c []float32, ldc int, a []uint16, lda int, b []uint16, apart, blocks, rows, cols int, acc bool, next ahead) {
	if next.stream {
		streamAMX(c, ldc, a, lda, b, apart, blocks, rows, cols, acc)
		return
	}
	if next.from == nil {
		next = ahead{from: b}
	}
	whole := cols / Panel
	if whole > 0 {
		config, shape := tilesFor(rows, Panel)
		tiles(&c[0], ldc*4, &a[0], lda*2, &b[0], apart*2, blocks, whole, &config, shape, acc, &next.from[0], next.block*2, next.panel*2)
	}
	if rest := cols % Panel; rest > 0 {
		config, shape := tilesFor(rows, rest)
		tiles(&c[whole*Panel], ldc*4, &a[0], lda*2, &b[whole*apart], apart*2, blocks, 1, &config, shape, acc, &next.from[0], 0, 0)
	}
}

func streamAMX(c []float32, ldc int, a []uint16, lda int, b []uint16, apart, blocks, rows, cols int, acc bool) {
	whole := cols / Panel
	if whole > 0 {
		config, shape := tilesFor(rows, Panel)
		tilesStream(&c[0], ldc*4, &a[0], lda*2, &b[0], apart*2, blocks, whole, &config, shape, acc)
	}
	if rest := cols % Panel; rest > 0 {
		config, shape := tilesFor(rows, rest)
		tilesStream(&c[whole*Panel], ldc*4, &a[0], lda*2, &b[whole*apart], apart*2, blocks, 1, &config, shape, acc)
	}
}

// Linux lets a process use tiles only once it has asked: the state is 8 KiB per
// thread. The permission holds for all threads, for good.
const (
	sysArchPrctl     = 158
	archReqXcompPerm = 0x1023
	xfeatureTileData = 18
)

func permitAMX() error {
	if _, _, errno := syscall.RawSyscall(sysArchPrctl, archReqXcompPerm, xfeatureTileData, 0); errno != 0 {
		return fmt.Errorf("the operating system does not permit the tile registers: %w", errno)
	}
	return nil
}

// hasAMX looks at the processor's feature bits, at the size of its tiles and at
// whether the operating system saves them.
func hasAMX() bool {
	const (
		amxBF16Bit, amxTile = 1 << 22, 1 << 24 // leaf 7, d
		tileState           = 1<<17 | 1<<18    // XCR0
		palette             = 0x1d
	)
	if most, _, _, _ := cpuid(0, 0); most < palette {
		return false
	}
	if _, _, _, d := cpuid(7, 0); d&(amxBF16Bit|amxTile) != amxBF16Bit|amxTile || xgetbv()&tileState != tileState {
		return false
	}
	_, b, c, _ := cpuid(palette, 1)
	return b>>16 == 8 && b&0xffff == 4*tileRows && c&0xffff == tileRows
}
