package kernel

import "math"

// # bfloat16
//
// In bfloat16 precision the products with packed weights (Forward, Backward and
// their ranges) multiply operands rounded to bfloat16 and add in float32;
// everything else stays float32. Rounding is to nearest, ties to even; float32
// values below the normal range become zeros of their sign, NaN stays NaN. A
// product of two bfloat16 is exact, a sum is rounded once, sums below the normal
// range become zero. The k-order rule holds, its chain being, with zeros past
// the last k,
//
//	LevelGo, LevelAVX512BF16   for k = 0, 2, 4, ...: s = s + a[k+1]b[k+1]; s = s + a[k]b[k]
//	LevelAMX                   for k = 0, 32, 64, ...: s = s + (even + odd)
//
// where even is the chain of a[k]b[k], a[k+2]b[k+2], ... and odd that of
// a[k+1]b[k+1], ... over 32 k's, both from zero. That is what VDPBF16PS and
// TDPBF16PS do. Two levels and a float64 sum of the same rounded operands differ
// by at most 2 (k+2) eps sum|a||b|, eps = 2^-24.

// Packed.BF16 holds blocks of 32x32 values, 1024 each: block q of panel p holds
// the depth [32q, 32q+32) of the rows [32p, 32p+32), and in it value
// (pair*32 + row)*2 + odd is W[32p+row][32q + 2 pair + odd]. Values past N or K
// are zero.
const (
	blockBF16 = Panel * Panel // values of a block
	pairsBF16 = Panel / 2     // pairs of k's in a block
)

// blocksOf is the number of blocks that cover n.
func blocksOf(n int) int { return (n + Panel - 1) / Panel }

// BF16Len is the length of BF16 for W [n, k].
func BF16Len(n, k int) int { return blocksOf(n) * blocksOf(k) * blockBF16 }

// PackBF16 rounds a panel-packed W [n, k], as Pack writes it, into dst (length
// BF16Len(n, k)).
func PackBF16(dst []uint16, panels []float32, n, k int) {
	for p := range blocksOf(n) {
		PackPanelBF16(dst[p*blocksOf(k)*blockBF16:], panels[p*Panel*k:], k)
	}
}

// PackPanelBF16 is PackBF16 for one panel.
func PackPanelBF16(dst []uint16, panel []float32, k int) {
	clear(dst[:blocksOf(k)*blockBF16])
	for i := range k {
		row := dst[i/2*2*Panel+i%2:]
		for j, v := range panel[i*Panel : (i+1)*Panel] {
			row[2*j] = roundBF16(v)
		}
	}
}

// roundBF16 rounds a float32.
func roundBF16(v float32) uint16 {
	b := math.Float32bits(v)
	switch exponent := b & 0x7f800000; {
	case exponent == 0:
		return uint16(b>>16) & 0x8000
	case exponent == 0x7f800000 && b&0x7fffff != 0:
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// floatBF16 is the value of a bfloat16. One below the normal range counts as zero.
func floatBF16(h uint16) float32 {
	if h&0x7f80 == 0 {
		h &= 0x8000
	}
	return math.Float32frombits(uint32(h) << 16)
}

// ahead says what of the right operand a strip may fetch into the second-level
// cache while it computes: for each block 256 values, those of the next block
// and of the next panel block and panel values further on. nil = nothing.
type ahead struct {
	from         []uint16
	block, panel int
	left         int // quarters that earlier strips fetched
	// stream: the strip is the only one that reads the right operand, which it
	// fetches as it goes.
	stream bool
}

// aheadValues are fetched of a block, a quarter of it: four strips fetch a slab.
const aheadValues = blockBF16 / 4

// unitBF16 is a level's way to multiply bfloat16.
type unitBF16 struct {
	// rows is the most rows of the result that strip computes at once.
	rows int
	// strip computes c[i, j] (+)= sum over k of a[i*lda + k] * b, i < rows,
	// j < cols, k < Panel*blocks, where b holds blocks as Packed.BF16 does, and
	// those of the next panel lie apart values further on. next may be fetched.
	strip func(c []float32, ldc int, a []uint16, lda int, b []uint16, apart, blocks, rows, cols int, acc bool, next ahead)
	// round rounds src into dst of the same length.
	round func(dst []uint16, src []float32)
	// through rounds x where it stands; widen makes float32 values of rounded ones
	// and asks for ahead, as long as src.
	through func(x []float32)
	widen   func(dst []float32, src, ahead []uint16)
	// one is strip for one row by codes; nil = none.
	one onePairsFunc
	// turn transposes a block: dst is to W^T what src is to W.
	turn func(dst, src []uint16)
	// permit asks the operating system for what the unit needs; nil = nothing.
	permit func() error

	// dense says that products of dense operands are faster than in float32; the
	// others arrange their operands: see bf16_dense.go.
	dense                  bool
	packColumns, packDepth func(dst []uint16, src []float32, ld, cols, depth int, alpha float32)
	upright                func(dst []uint16, ldd int, src []float32, lds, rows, depth int)
	rest                   func(dst, src []float32)
}

// The reference has dense products although it is slow: everything can be
// compared with it.
var goBF16 = unitBF16{
	rows: 8, strip: stripBF16Go, round: roundBF16Go, one: onePairsGo, turn: turnBF16Go,
	dense: true, packColumns: packColumnsGo, packDepth: packDepthGo, upright: uprightBF16Go, rest: restBF16Go,
	through: throughBF16Go, widen: widenBF16Go,
}

func roundBF16Go(dst []uint16, src []float32) {
	for i, v := range src {
		dst[i] = roundBF16(v)
	}
}

func turnBF16Go(dst, src []uint16) {
	for k := range Panel {
		for j := range Panel {
			dst[(j/2*Panel+k)*2+j%2] = src[(k/2*Panel+j)*2+k%2]
		}
	}
}

// stripBF16Go is the reference of a strip, and of LevelAVX512BF16 bit by bit.
func stripBF16Go(c []float32, ldc int, a []uint16, lda int, b []uint16, apart, blocks, rows, cols int, acc bool, _ ahead) {
	eachBF16(c, ldc, b, apart, rows, cols, acc, func(s [chainsBF16]float32, i int, b []uint16) [chainsBF16]float32 {
		for pair := range blocks * pairsBF16 {
			x, w := (*[2]uint16)(a[i*lda+2*pair:]), (*[2 * chainsBF16]uint16)(b[pair*2*Panel:])
			for n := range s {
				s[n] = addBF16(addBF16(s[n], x[1], w[2*n+1]), x[0], w[2*n])
			}
		}
		return s
	})
}

// stripAMXGo is the reference of a strip at LevelAMX.
func stripAMXGo(c []float32, ldc int, a []uint16, lda int, b []uint16, apart, blocks, rows, cols int, acc bool, _ ahead) {
	eachBF16(c, ldc, b, apart, rows, cols, acc, func(s [chainsBF16]float32, i int, b []uint16) [chainsBF16]float32 {
		for q := range blocks {
			var even, odd [chainsBF16]float32
			for pair := range pairsBF16 {
				x, w := (*[2]uint16)(a[i*lda+q*Panel+2*pair:]), (*[2 * chainsBF16]uint16)(b[(q*pairsBF16+pair)*2*Panel:])
				for n := range s {
					even[n], odd[n] = addBF16(even[n], x[0], w[2*n]), addBF16(odd[n], x[1], w[2*n+1])
				}
			}
			for n := range s {
				s[n] = flush(s[n] + flush(even[n]+odd[n]))
			}
		}
		return s
	})
}

// chainsBF16 is the number of columns that the references compute side by side,
// since one chain alone waits for every sum of it; it divides Panel.
const chainsBF16 = 4

// eachBF16 computes every element of a strip by chains, which gets the sums so
// far, the row and the weights from the first sum's column on. Blocks are whole
// panels wide, so columns beyond the last have weights, and nobody keeps their sums.
func eachBF16(c []float32, ldc int, b []uint16, apart, rows, cols int, acc bool, chains func(s [chainsBF16]float32, i int, b []uint16) [chainsBF16]float32) {
	for i := range rows {
		for j := 0; j < cols; j += chainsBF16 {
			var s [chainsBF16]float32
			row := c[i*ldc+j:][:min(chainsBF16, cols-j)]
			if acc {
				for n, v := range row {
					s[n] = flush(v)
				}
			}
			s = chains(s, i, b[j/Panel*apart+j%Panel*2:])
			copy(row, s[:])
		}
	}
}

// addBF16 is s + x*y, rounded once: the product has 16 bits, so that float64
// holds it, and a sum that float64 must round is too far from a tie of float32
// to be rounded the wrong way the second time. s is no subnormal value.
func addBF16(s float32, x, y uint16) float32 {
	return flush(float32(float64(s) + float64(floatBF16(x))*float64(floatBF16(y))))
}

// flush makes values below the normal range zeros of their sign.
func flush(v float32) float32 {
	if -smallestNormal < v && v < smallestNormal {
		return v * 0
	}
	return v
}
