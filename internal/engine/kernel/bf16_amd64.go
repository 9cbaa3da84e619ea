package kernel

// pairs512 computes up to 14 rows of one panel; distances in bytes.
//
//go:noescape
func pairs512(c *float32, ldc int, a *uint16, lda int, b *uint16, pairs, rows int, mask uint32, acc bool)

//go:noescape
func round512(dst *uint16, src *float32, chunks int)

//go:noescape
func turnPairs512(dst, src *uint16)

// avx512BF16 multiplies with VDPBF16PS: the bits of the reference.
var avx512BF16 = unitBF16{rows: 14, strip: stripAVX512BF16, round: roundAVX512, turn: turnAVX512BF16}

func stripAVX512BF16(c []float32, ldc int, a []uint16, lda int, b []uint16, apart, blocks, rows, cols int, acc bool) {
	for j := 0; j < cols; j += Panel {
		pairs512(&c[j], ldc*4, &a[0], lda*2, &b[j/Panel*apart], blocks*pairsBF16, rows, uint32(1<<min(Panel, cols-j)-1), acc)
	}
}

func roundAVX512(dst []uint16, src []float32) {
	whole := len(src) &^ (Panel - 1)
	if whole > 0 {
		round512(&dst[0], &src[0], whole/Panel)
	}
	roundBF16Go(dst[whole:], src[whole:])
}

func turnAVX512BF16(dst, src []uint16) { turnPairs512(&dst[0], &src[0]) }
