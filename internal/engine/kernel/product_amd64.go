package kernel

// The tiles of the assembly: tileFunc with distances in bytes. k may be zero,
// rows is at least one.
//
//go:noescape
func tile512(c *float32, ldc int, a *float32, rs int, upright bool, b *float32, bs, k, rows int, ahead *float32, step, next int, mask uint32, acc bool)

// tile256 has exactly 16 columns.
//
//go:noescape
func tile256(c *float32, ldc int, a *float32, rs int, upright bool, b *float32, bs, k, rows int, ahead *float32, step, next int, acc bool)

// tileAVX512 is a tileFunc of at most 14 rows.
func tileAVX512(c []float32, ldc int, a []float32, rs, ks int, b []float32, bs, k, rows, cols int, soon soon, acc bool) {
	if k == 0 {
		tile512(&c[0], ldc*4, nil, 0, false, nil, 0, 0, rows, nil, 0, soon.c*4, uint32(1<<cols-1), acc)
		return
	}
	ahead := &b[0]
	if len(soon.b) > 0 {
		ahead = &soon.b[0]
	}
	tile512(&c[0], ldc*4, &a[0], rs*4, ks == uprightStride, &b[0], bs*4, k, rows, ahead, soon.step*4, soon.c*4, uint32(1<<cols-1), acc)
}

// tileAVX2 is a tileFunc of at most 6 rows by half a panel. A partial half goes through
// a full one on the stack.
func tileAVX2(c []float32, ldc int, a []float32, rs, ks int, b []float32, bs, k, rows, cols int, soon soon, acc bool) {
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
		tile256(&c[0], ldc*4, ap, rs*4, ks != 1, bp, bs*4, k, rows, ahead, soon.step*2, soon.c*4, acc)
		return
	}
	var t [6 * half]float32
	for i := range rows {
		if acc {
			copy(t[i*half:], c[i*ldc:i*ldc+cols])
		}
	}
	tile256(&t[0], half*4, ap, rs*4, ks != 1, bp, bs*4, k, rows, ahead, soon.step*2, 0, acc)
	for i := range rows {
		copy(c[i*ldc:i*ldc+cols], t[i*half:])
	}
}
