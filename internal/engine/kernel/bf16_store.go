package kernel

import "math"

// ThroughBF16 leaves of x what bfloat16 keeps: see roundBF16.
func ThroughBF16(x []float32) { active.bf16.through(x) }

// StoreBF16 sets dst to x, which ThroughBF16 has seen: nothing is lost.
func StoreBF16(dst []uint16, x []float32) {
	dst = dst[:len(x)]
	for i, v := range x {
		dst[i] = uint16(math.Float32bits(v) >> 16)
	}
}

// WidenBF16 sets dst to what StoreBF16 stored in src, which is as long, and asks
// for ahead, which is read next and as long, meanwhile.
func WidenBF16(dst []float32, src, ahead []uint16) {
	active.bf16.widen(dst[:len(src)], src, ahead[:len(src)])
}

func throughBF16Go(x []float32) {
	for i, v := range x {
		x[i] = floatBF16(roundBF16(v))
	}
}

func widenBF16Go(dst []float32, src, _ []uint16) {
	for i, h := range src {
		dst[i] = floatBF16(h)
	}
}
