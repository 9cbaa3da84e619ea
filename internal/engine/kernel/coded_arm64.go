package kernel

// The expansions of the assembly. blocks and k are at least one.
//
//go:noescape
func expand4x4(dst, src *float32, blocks, block int, zero uint32)

//go:noescape
func expand8x4(dst, src *float32, blocks, block int)

//go:noescape
func expandBF16x4(dst, src *float32, k int)

//go:noescape
func expandF16x4(dst, src *float32, k int)

func expandNEON(dst, src []float32, c Coding, n int) {
	switch c.Kind {
	case Code4:
		expand4x4(&dst[0], &src[0], n/c.Block, c.Block, uint32(c.Zero))
	case Code8:
		expand8x4(&dst[0], &src[0], n/c.Block, c.Block)
	case CodeBF16:
		expandBF16x4(&dst[0], &src[0], n)
	case CodeF16:
		expandF16x4(&dst[0], &src[0], n)
	}
}
