package kernel

// tile4 is a tileFunc of exactly 16 columns with distances in bytes. k may be
// zero, rows is 1 to 6.
//
//go:noescape
func tile4(c *float32, ldc int, a *float32, rs, ks int, b *float32, bs, k, rows int, acc bool)

// tileNEON is a tileFunc of at most 6 rows: one or two halves of a panel. A
// partial half goes through a full one on the stack.
func tileNEON(c []float32, ldc int, a []float32, rs, ks int, b []float32, bs, k, rows, cols int, pile pile, _ soon, acc bool) {
	const half = Panel / 2
	var ap, bp *float32
	for j := 0; j < cols; j += half {
		if k > 0 {
			bp = &b[j]
		}
		for n := range pile.strips {
			below := c[n*rows*ldc+j:]
			if k > 0 {
				ap = &a[n*pile.apart]
			}
			if cols-j >= half {
				tile4(&below[0], ldc*4, ap, rs*4, ks*4, bp, bs*4, k, rows, acc)
				continue
			}
			var t [6 * half]float32
			for i := 0; acc && i < rows; i++ {
				copy(t[i*half:], below[i*ldc:i*ldc+cols-j])
			}
			tile4(&t[0], half*4, ap, rs*4, ks*4, bp, bs*4, k, rows, acc)
			for i := range rows {
				copy(below[i*ldc:i*ldc+cols-j], t[i*half:])
			}
		}
	}
}

// fewNEON is a fewFunc of at most 6 rows; its tile prefetches by itself.
func fewNEON(c []float32, ldc int, a []float32, rs int, b []float32, bs, k, rows, cols int, _ []float32, _ int, acc bool) {
	tileNEON(c, ldc, a, rs, 1, b, bs, k, rows, cols, single, soon{}, acc)
}
