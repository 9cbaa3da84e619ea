package kernel

import "math"

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
func expand4x256(dst, src *float32, blocks, block int, places *[5][3]uint32)

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

// nibblePlaces are, for each Zero and the nibbles 0 to 4 of a word: the mask of the
// nibble; the bits of 2^(23-4i), whose fraction counts from there on; and what is taken
// off the sum of both, 2^(23-4i) + Zero.
var nibblePlaces = func() (v [16][5][3]uint32) {
	for zero := range v {
		for i := range v[zero] {
			power := float32(int(1) << (23 - 4*i))
			v[zero][i] = [3]uint32{15 << (4 * i), math.Float32bits(power), math.Float32bits(power + float32(zero))}
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
		expand4x256(&dst[0], &src[0], n/c.Block, c.Block, &nibblePlaces[c.Zero])
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

//go:noescape
func one4x256(c, a, src *float32, blocks, block int, places *[5][3]uint32, acc bool)

//go:noescape
func one8x256(c, a, src *float32, blocks, block int, acc bool)

//go:noescape
func oneBF16x256(c, a, src *float32, k int, acc bool)

//go:noescape
func oneF16x256(c, a, src *float32, k int, acc bool)

func oneAVX512(c, a, src []float32, coding Coding, k int, acc bool) {
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

func oneAVX2(c, a, src []float32, coding Coding, k int, acc bool) {
	_ = c[Panel-1]
	switch coding.Kind {
	case Code4:
		one4x256(&c[0], &a[0], &src[0], k/coding.Block, coding.Block, &nibblePlaces[coding.Zero], acc)
	case Code8:
		one8x256(&c[0], &a[0], &src[0], k/coding.Block, coding.Block, acc)
	case CodeBF16:
		oneBF16x256(&c[0], &a[0], &src[0], k, acc)
	case CodeF16:
		oneF16x256(&c[0], &a[0], &src[0], k, acc)
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
