package kernel

// few512 is tile512 for decoding, with distances in bytes; k is at least one.
//
//go:noescape
func few512(c *float32, ldc int, a *float32, rs int, b *float32, bs, k, rows int, ahead *float32, step int, mask uint32, acc bool)

// fewAVX512 is a fewFunc of at most 14 rows.
func fewAVX512(c []float32, ldc int, a []float32, rs int, b []float32, bs, k, rows, cols int, ahead []float32, step int, acc bool) {
	few512(&c[0], ldc*4, &a[0], rs*4, &b[0], bs*4, k, rows, &ahead[0], step, uint32(1<<cols-1), acc)
}

// fewAVX2 is a fewFunc of at most 6 rows; its tile prefetches by itself.
func fewAVX2(c []float32, ldc int, a []float32, rs int, b []float32, bs, k, rows, cols int, _ []float32, _ int, acc bool) {
	tileAVX2(c, ldc, a, rs, 1, b, bs, k, rows, cols, soon{}, acc)
}

// few8x512 is few512 for int8 weights of a whole depth.
//
//go:noescape
func few8x512(c *float32, ldc int, a *float32, rs int, b *int8, k, rows int, scale *float32, ahead *int8, step int, mask uint32, acc bool)

// few8AVX512 is a few8Func of at most 14 rows.
func few8AVX512(c []float32, ldc int, a []float32, rs int, b []int8, k, rows, cols int, scale []float32, ahead []int8, step int, acc bool) {
	few8x512(&c[0], ldc*4, &a[0], rs*4, &b[0], k, rows, &scale[0], &ahead[0], step, uint32(1<<cols-1), acc)
}
