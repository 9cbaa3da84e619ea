package kernel

// pairs512 computes up to 14 rows of one panel; distances in bytes.
//
//go:noescape
func pairs512(c *float32, ldc int, a *uint16, lda int, b *uint16, pairs, rows int, mask uint32, acc bool)

//go:noescape
func round512(dst *uint16, src *float32, chunks int, mask uint32)

// packColumns512 packs 16 columns of a block, packDepth512 and uprightPairs512 see
// bf16_dense_avx512_amd64.s; distances in bytes.
//
//go:noescape
func packColumns512(dst *uint16, src *float32, ld, cols int, mask uint32, alpha float32)

//go:noescape
func packDepth512(dst *uint16, src *float32, ld, depth int, mask uint32, alpha float32)

//go:noescape
func uprightPairs512(dst *uint16, ldd int, src *float32, lds, depth int, mask uint32)

//go:noescape
func rest512(dst, src *float32, n int)

//go:noescape
func turnPairs512(dst, src *uint16)

// avx512BF16 multiplies with VDPBF16PS: the bits of the reference.
var avx512BF16 = unitBF16{
	rows: 14, strip: stripAVX512BF16, round: roundAVX512, one: onePairsAVX512, turn: turnAVX512BF16,
	packColumns: packColumnsAVX512, packDepth: packDepthAVX512, upright: uprightAVX512BF16, rest: restAVX512,
	through: throughAVX512, widen: widenAVX512,
}

func stripAVX512BF16(c []float32, ldc int, a []uint16, lda int, b []uint16, apart, blocks, rows, cols int, acc bool, _ ahead) {
	for j := 0; j < cols; j += Panel {
		pairs512(&c[j], ldc*4, &a[0], lda*2, &b[j/Panel*apart], blocks*pairsBF16, rows, uint32(1<<min(Panel, cols-j)-1), acc)
	}
}

func roundAVX512(dst []uint16, src []float32) {
	if n := len(src); n > 0 {
		_ = dst[n-1]
		round512(&dst[0], &src[0], n/Panel, firstBits(n%Panel))
	}
}

//go:noescape
func through512(x *float32, chunks int)

//go:noescape
func widen512(dst *float32, src, ahead *uint16, chunks int)

func throughAVX512(x []float32) {
	whole := len(x) &^ (Panel - 1)
	if whole > 0 {
		through512(&x[0], whole/Panel)
	}
	throughBF16Go(x[whole:])
}

func widenAVX512(dst []float32, src, ahead []uint16) {
	whole := len(src) &^ (Panel - 1)
	if whole > 0 {
		widen512(&dst[0], &src[0], &ahead[0], whole/Panel)
	}
	widenBF16Go(dst[whole:], src[whole:], nil)
}

func turnAVX512BF16(dst, src []uint16) { turnPairs512(&dst[0], &src[0]) }

// firstBits is a mask of the first n of 32 columns.
func firstBits(n int) uint32 { return uint32(1<<n - 1) }

func packColumnsAVX512(dst []uint16, src []float32, ld, cols, depth int, alpha float32) {
	_, _ = dst[blockBF16-1], src[(cols-1)*ld+depth-1]
	packColumns512(&dst[0], &src[0], 4*ld, min(cols, Panel/2), firstBits(depth), alpha)
	if cols > Panel/2 {
		packColumns512(&dst[Panel], &src[Panel/2*ld], 4*ld, cols-Panel/2, firstBits(depth), alpha)
	} else {
		packColumns512(&dst[Panel], &src[0], 4*ld, 1, 0, alpha)
	}
}

func packDepthAVX512(dst []uint16, src []float32, ld, cols, depth int, alpha float32) {
	_, _ = dst[blockBF16-1], src[(depth-1)*ld+cols-1]
	packDepth512(&dst[0], &src[0], 4*ld, depth, firstBits(cols), alpha)
}

func uprightAVX512BF16(dst []uint16, ldd int, src []float32, lds, rows, depth int) {
	_, _ = dst[((rows+15)&^15-1)*ldd+Panel-1], src[(depth-1)*lds+rows-1]
	uprightPairs512(&dst[0], 2*ldd, &src[0], 4*lds, depth, firstBits(min(rows, Panel/2)))
	if rows > Panel/2 {
		uprightPairs512(&dst[Panel/2*ldd], 2*ldd, &src[Panel/2], 4*lds, depth, firstBits(rows-Panel/2))
	}
}

func restAVX512(dst, src []float32) {
	if n := len(src); n > 0 {
		_ = dst[n-1]
		rest512(&dst[0], &src[0], n)
	}
}
