package kernel

// The expansions of the assembly. blocks and k are at least one.
//
//go:noescape
func expand4x512(dst, src *float32, blocks, block int, values *[16]float32)

//go:noescape
func expand8x512(dst, src *float32, blocks, block int)

//go:noescape
func expandBF16x512(dst, src *float32, k int)

//go:noescape
func expandF16x512(dst, src *float32, k int)

//go:noescape
func expand4x256(dst, src *float32, blocks, block int, zero uint32)

//go:noescape
func expand8x256(dst, src *float32, blocks, block int)

//go:noescape
func expandBF16x256(dst, src *float32, k int)

//go:noescape
func expandF16x256(dst, src *float32, k int)

// nibbleValues are the values of the 16 nibbles, for each Zero.
var nibbleValues = func() (v [16][16]float32) {
	for zero := range v {
		for nibble := range v[zero] {
			v[zero][nibble] = float32(nibble - zero)
		}
	}
	return v
}()

func expandAVX512(dst, src []float32, c Coding, n int) {
	switch c.Kind {
	case Code4:
		expand4x512(&dst[0], &src[0], n/c.Block, c.Block, &nibbleValues[c.Zero])
	case Code8:
		expand8x512(&dst[0], &src[0], n/c.Block, c.Block)
	case CodeBF16:
		expandBF16x512(&dst[0], &src[0], n)
	case CodeF16:
		expandF16x512(&dst[0], &src[0], n)
	}
}

func expandAVX2(dst, src []float32, c Coding, n int) {
	switch c.Kind {
	case Code4:
		expand4x256(&dst[0], &src[0], n/c.Block, c.Block, uint32(c.Zero))
	case Code8:
		expand8x256(&dst[0], &src[0], n/c.Block, c.Block)
	case CodeBF16:
		expandBF16x256(&dst[0], &src[0], n)
	case CodeF16:
		expandF16x256(&dst[0], &src[0], n)
	}
}

// One row by a panel of codes; k, or blocks, are at least one.
//
//go:noescape
func one4x512(c, a, src *float32, blocks, block int, values *[16]float32, acc bool)

//go:noescape
func one8x512(c, a, src *float32, blocks, block int, acc bool)

//go:noescape
func oneBF16x512(c, a, src *float32, k int, acc bool)

//go:noescape
func oneF16x512(c, a, src *float32, k int, acc bool)

// one256 is one row by a panel in float32.
//
//go:noescape
func one256(c, a, b *float32, k int, acc bool)

func oneAVX512(c, a, src []float32, coding Coding, k int, _ []float32, acc bool) {
	_ = c[Panel-1]
	switch coding.Kind {
	case Code4:
		one4x512(&c[0], &a[0], &src[0], k/coding.Block, coding.Block, &nibbleValues[coding.Zero], acc)
	case Code8:
		one8x512(&c[0], &a[0], &src[0], k/coding.Block, coding.Block, acc)
	case CodeBF16:
		oneBF16x512(&c[0], &a[0], &src[0], k, acc)
	case CodeF16:
		oneF16x512(&c[0], &a[0], &src[0], k, acc)
	}
}

func oneAVX2(c, a, src []float32, coding Coding, k int, room []float32, acc bool) {
	_ = c[Panel-1]
	for k0 := 0; k0 < k; k0 += oneDepth {
		n := min(oneDepth, k-k0)
		expandAVX2(room, src[k0*coding.width():], coding, n)
		one256(&c[0], &a[k0], &room[0], n, acc || k0 > 0)
	}
}

// One row by a panel of codes in bfloat16; blocks are at least one.
//
//go:noescape
func pairs4x512(c *float32, a *uint16, src *float32, blocks, block int, values *[16]float32, acc bool)

//go:noescape
func pairs8x512(c *float32, a *uint16, src *float32, blocks, block int, acc bool)

func onePairsAVX512(c []float32, a []uint16, src []float32, coding Coding, k int, acc bool) {
	_ = c[Panel-1]
	if coding.Kind == Code4 {
		pairs4x512(&c[0], &a[0], &src[0], k/coding.Block, coding.Block, &nibbleValues[coding.Zero], acc)
	} else {
		pairs8x512(&c[0], &a[0], &src[0], k/coding.Block, coding.Block, acc)
	}
}
