package kernel

// The tiles of the assembly: tileFunc with distances in bytes. k may be zero,
// rows is at least one.
//
//go:noescape
func tile512(c *float32, ldc int, a *float32, rs int, upright bool, b *float32, bs, k, rows int, ahead *float32, step, next int, mask uint32, acc bool)

// tile256 is a pile of exactly 16 columns.
//
//go:noescape
func tile256(c *float32, ldc int, a *float32, rs int, upright bool, b *float32, bs, k, rows, strips, apart int, ahead *float32, step, each, next int, acc bool)

// tileAVX512 is a tileFunc of at most 14 rows.
func tileAVX512(c []float32, ldc int, a []float32, rs, ks int, b []float32, bs, k, rows, cols int, pile pile, soon soon, acc bool) {
	mask := uint32(1<<cols - 1)
	for n := range pile.strips {
		next := rows * ldc
		if n+1 == pile.strips {
			next = soon.c
		}
		below := &c[n*rows*ldc]
		if k == 0 {
			tile512(below, ldc*4, nil, 0, false, nil, 0, 0, rows, nil, 0, next*4, mask, acc)
			continue
		}
		ahead := &b[0]
		if at := n * soon.each; at < len(soon.b) {
			ahead = &soon.b[at]
		}
		tile512(below, ldc*4, &a[n*pile.apart], rs*4, ks == uprightStride, &b[0], bs*4, k, rows, ahead, soon.step*4, next*4, mask, acc)
	}
}

// tileAVX2 is a tileFunc of at most 6 rows by half a panel. A partial half goes through
// a full one on the stack.
func tileAVX2(c []float32, ldc int, a []float32, rs, ks int, b []float32, bs, k, rows, cols int, pile pile, soon soon, acc bool) {
	const half = Panel / 2
	var ap, bp *float32
	if k > 0 {
		ap, bp = &a[0], &b[0]
	}
	ahead := bp
	if len(soon.b) > 0 {
		ahead = &soon.b[0]
	}
	if cols == half {
		tile256(&c[0], ldc*4, ap, rs*4, ks != 1, bp, bs*4, k, rows, pile.strips, pile.apart*4, ahead, soon.step*2, soon.each*4, soon.c*4, acc)
		return
	}
	var t [6 * half]float32
	for n := range pile.strips {
		below := c[n*rows*ldc:]
		if k > 0 {
			ap = &a[n*pile.apart]
		}
		for i := range rows {
			if acc {
				copy(t[i*half:], below[i*ldc:i*ldc+cols])
			}
		}
		tile256(&t[0], half*4, ap, rs*4, ks != 1, bp, bs*4, k, rows, 1, 0, ahead, soon.step*2, 0, 0, acc)
		for i := range rows {
			copy(below[i*ldc:i*ldc+cols], t[i*half:])
		}
	}
}
