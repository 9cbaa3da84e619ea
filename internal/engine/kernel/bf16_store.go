package kernel

import "math"

// ThroughBF16 leaves of x what bfloat16 keeps: see roundBF16.
func ThroughBF16(x []float32) { active.bf16.through(x) }

// StoredBF16 is what ThroughBF16 left of a value, in two bytes.
func StoredBF16(x float32) uint16 { return uint16(math.Float32bits(x) >> 16) }

// WidenBF16 sets dst to the stored values of src, which is as long, and asks
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
