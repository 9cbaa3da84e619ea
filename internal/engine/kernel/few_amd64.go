package kernel

// few512 is tile512 for decoding, with distances in bytes; k is at least one.
//
//go:noescape
func few512(c *float32, ldc int, a *float32, rs int, b *float32, bs, k, rows int, ahead *float32, step int, mask uint32, acc bool)

// fewAVX512 is a fewFunc of at most 14 rows.
func fewAVX512(c []float32, ldc int, a []float32, rs int, b []float32, bs, k, rows, cols int, ahead []float32, step int, acc bool) {
	few512(&c[0], ldc*4, &a[0], rs*4, &b[0], bs*4, k, rows, &ahead[0], step, uint32(1<<cols-1), acc)
}

// wide256 is few512 for at most 3 rows by a whole panel.
//
//go:noescape
func wide256(c *float32, ldc int, a *float32, rs int, b *float32, bs, k, rows int, ahead *float32, step int, acc bool)

// fewAVX2 is a fewFunc of at most 6 rows: a panel for few of them, else its halves.
func fewAVX2(c []float32, ldc int, a []float32, rs int, b []float32, bs, k, rows, cols int, ahead []float32, step int, acc bool) {
	if rows <= 3 && cols == Panel {
		wide256(&c[0], ldc*4, &a[0], rs*4, &b[0], bs*4, k, rows, &ahead[0], step, acc)
		return
	}
	const half = Panel / 2
	if cols == Panel {
		behind := &ahead[min(k*step/8, len(ahead)-1)] // what the second half asks for
		tile256(&c[0], ldc*4, &a[0], rs*4, false, &b[0], bs*4, k, rows, 1, 0, &ahead[0], step/2, 0, 0, acc)
		tile256(&c[half], ldc*4, &a[0], rs*4, false, &b[half], bs*4, k, rows, 1, 0, behind, step/2, 0, 0, acc)
		return
	}
	for j := 0; j < cols; j += half {
		tileAVX2(c[j:], ldc, a, rs, 1, b[j:], bs, k, rows, min(half, cols-j), single, soon{}, acc)
	}
}

// few8x512 is few512 for int8 weights of a whole depth.
//
//go:noescape
func few8x512(c *float32, ldc int, a *float32, rs int, b *int8, k, rows int, scale *float32, ahead *int8, step int, mask uint32, acc bool)

// few8AVX512 is a few8Func of at most 14 rows.
func few8AVX512(c []float32, ldc int, a []float32, rs int, b []int8, k, rows, cols int, scale []float32, ahead []int8, step int, acc bool) {
	few8x512(&c[0], ldc*4, &a[0], rs*4, &b[0], k, rows, &scale[0], &ahead[0], step, uint32(1<<cols-1), acc)
}
