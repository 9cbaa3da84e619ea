package kernel

// tileFunc computes a tile of a product: c[i, j] (+)= sum over k of
// a[i*rs + k*ks] * b[k*bs + j] for i < rows, j < cols, rows <= table.rows,
// cols <= Panel, following the k-order rule. Panel values of each row of b are
// readable even where cols is less. k may be zero.
type tileFunc func(c []float32, ldc int, a []float32, rs, ks int, b []float32, bs, k, rows, cols int, acc bool)

// operand says how the right operand of a product is stored.
type operand int

const (
	weights           operand = iota // b is Packed.Data, depth K: used in place
	weightsTransposed                // b is Packed.Data, depth N: 32x32 tiles are turned
	rowsAreColumns                   // b [n, k]: turned
	rowsAreDepth                     // b [k, n]
)

const (
	// depthBlock bounds the depth done at a time: a tile's rows of a stay in the
	// first-level cache while the panels pass by. A multiple of Panel.
	depthBlock = 384
	// slabPanels bounds the panels done at a time: their part of the depth
	// (576 KiB) stays in the second-level cache while the rows pass by.
	slabPanels = 12
	// rowBlock is the depth done at a time where rows of b are the depth and are
	// read in order of memory: as many streams as a prefetcher follows.
	rowBlock = 32
)

// product is one matrix product c[m, n] (+)= a * b.
type product struct {
	t       *table
	c       []float32
	ldc     int
	a       []float32
	rs, ks  int // a[i, k] = a[i*rs + k*ks]
	b       []float32
	ldb     int // of row-major b; K of packed weights
	kind    operand
	m, n, k int
	alpha   float32
	acc     bool
}

// check panics, with the sizes, on operands too short for the product: the
// assembly has no bounds checks of its own.
func (g *product) check() {
	if g.m < 0 || g.n < 0 || g.k < 0 || g.ldc < g.n && g.m > 1 {
		panic("kernel: impossible shape of a product")
	}
	if g.m == 0 || g.n == 0 {
		return
	}
	_ = g.c[(g.m-1)*g.ldc+g.n-1]
	if g.k == 0 {
		return
	}
	_ = g.a[(g.m-1)*g.rs+(g.k-1)*g.ks]
	switch g.kind {
	case weights:
		_ = g.b[PackedLen(g.n, g.k)-1]
	case weightsTransposed:
		_ = g.b[PackedLen(g.k, g.n)-1]
	case rowsAreColumns:
		_ = g.b[(g.n-1)*g.ldb+g.k-1]
	case rowsAreDepth:
		_ = g.b[(g.k-1)*g.ldb+g.n-1]
	}
}

// run computes rows [i0, i1) of the panels [p0, p1) of the result: for each
// slab of panels and each block of the depth, the right operand is gathered (or
// used in place), then every tile of rows meets every panel.
func (g *product) run(i0, i1, p0, p1 int) {
	if i0 == i1 || p0 == p1 {
		return
	}
	s := takeScratch()
	width := evenly(p1-p0, slabPanels, 1)
	depth := evenly(g.k, depthBlock, Panel)
	if g.kind == rowsAreDepth && g.inPlace(p0) {
		depth = rowBlock
	}
	rows := evenly(i1-i0, g.t.rows, 1)
	for p := p0; p < p1; p += width {
		last := min(p+width, p1)
		for k0 := 0; k0 == 0 || k0 < g.k; k0 += depth {
			kn := min(depth, g.k-k0)
			if kn > 0 {
				g.gatherSlab(s, p, last, k0, kn)
			}
			for i := i0; i < i1; i += rows {
				g.strip(s, i, min(rows, i1-i), p, last, k0, kn)
			}
		}
	}
	s.release()
}

// evenly returns the size of the fewest equal blocks of at most most that cover
// n, rounded up to a multiple of align; at least align.
func evenly(n, most, align int) int {
	blocks := max(1, (n+most-1)/most)
	return min(most, max(align, ((n+blocks-1)/blocks+align-1)/align*align))
}

// strip computes rows of the panels [p0, p1) for one block of the depth.
func (g *product) strip(s *scratch, i, rows, p0, p1, k0, kn int) {
	var a []float32
	rs, ks := g.rs, g.ks
	if kn > 0 {
		a = g.a[i*rs+k0*ks:]
		if p1-p0 >= copyPanels || ks != 1 {
			a, rs, ks = s.copyRows(g.t, a, rs, ks, rows, kn)
		}
	}
	for p := p0; p < p1; p++ {
		j0 := p * Panel
		b, bs := s.slab[(p-p0)*kn*Panel:], Panel
		if kn == 0 {
			b = nil
		} else if g.kind == weights {
			b = g.b[(p*g.k+k0)*Panel:]
		} else if g.inPlace(p) {
			b, bs = g.b[k0*g.ldb+j0:], g.ldb
		}
		g.t.tile(g.c[i*g.ldc+j0:], g.ldc, a, rs, ks, b, bs, kn, rows, min(Panel, g.n-j0), g.acc || k0 > 0)
	}
}

// copyPanels is the number of panels from which copying a tile's rows of a pays;
// where a is read down its columns it always does, given a fast copy.
const copyPanels = 4

// copyRows copies a tile's part of a next to each other, so that neither a
// stride near a power of two nor the distance between rows costs cache misses.
func (s *scratch) copyRows(t *table, a []float32, rs, ks, rows, kn int) ([]float32, int, int) {
	if ks == 1 {
		for i := range rows {
			copy(s.rows[i*rowStride:i*rowStride+kn], a[i*rs:])
		}
		return s.rows[:], rowStride, 1
	}
	t.upright(s.rows[:], a, ks, kn, rows)
	return s.rows[:], 1, uprightStride
}

// gatherSlab gathers the panels [p0, p1) that are not used in place.
func (g *product) gatherSlab(s *scratch, p0, p1, k0, kn int) {
	step := kn
	if g.kind == rowsAreDepth {
		step = rowBlock
	}
	for k := 0; k < kn; k += step {
		for p := p0; p < p1; p++ {
			if !g.inPlace(p) {
				g.gather(s.slab[((p-p0)*kn+k)*Panel:], p, k0+k, min(step, kn-k))
			}
		}
	}
}

// inPlace says whether columns of panel p of b are used where they lie: packed
// weights, and rows of b when too few rows of a would repay a copy.
func (g *product) inPlace(p int) bool {
	return g.kind == weights ||
		g.kind == rowsAreDepth && g.alpha == 1 && (p+1)*Panel <= g.n && g.m <= 2*g.t.rows
}

// gather writes columns [p*Panel, (p+1)*Panel) of b for the depth [k0, k0+kn)
// to dst, alpha applied. Columns past n hold anything.
func (g *product) gather(dst []float32, p, k0, kn int) {
	j0 := p * Panel
	cols := min(Panel, g.n-j0)
	switch g.kind {
	case weightsTransposed:
		// Panels of W are 32 rows of its depth here: tiles of 32x32.
		for i := 0; i < kn; i += Panel {
			n := k0 + i
			g.t.turn(dst[i*Panel:], g.b[(n*g.n+j0*Panel):], Panel, cols, min(Panel, kn-i), 1)
		}
	case rowsAreColumns:
		g.t.turn(dst, g.b[j0*g.ldb+k0:], g.ldb, cols, kn, g.alpha)
	case rowsAreDepth:
		g.t.gather(dst, g.b[k0*g.ldb+j0:], g.ldb, kn, cols, g.alpha)
	}
}

// turnGo sets dst[i*Panel+j] = alpha * src[j*lds+i], j < rows <= Panel, i < cols.
// A faster one may also write the rest of dst up to a multiple of 16 both ways.
func turnGo(dst, src []float32, lds, rows, cols int, alpha float32) {
	for j := range rows {
		for i, v := range src[j*lds : j*lds+cols] {
			dst[i*Panel+j] = alpha * v
		}
	}
}

// gatherGo sets dst[i*Panel+j] = alpha * src[i*lds+j], i < rows, j < cols <= Panel.
func gatherGo(dst, src []float32, lds, rows, cols int, alpha float32) {
	for i := range rows {
		d := dst[i*Panel : (i+1)*Panel]
		for j, v := range src[i*lds : i*lds+cols] {
			d[j] = alpha * v
		}
	}
}

// uprightGo copies a tile of a that lies on its side: dst[k*uprightStride+i] =
// src[k*lds+i], k < depth, i < rows <= mostRows.
func uprightGo(dst, src []float32, lds, depth, rows int) {
	for k := range depth {
		copy(dst[k*uprightStride:k*uprightStride+rows], src[k*lds:])
	}
}

// tileGo is the reference of tileFunc: two rows by four columns at a time.
func tileGo(c []float32, ldc int, a []float32, rs, ks int, b []float32, bs, k, rows, cols int, acc bool) {
	for i := 0; i < rows; i += 2 {
		for j := 0; j < cols; j += 4 {
			if i+2 <= rows && j+4 <= cols {
				tileGo2x4(c[i*ldc+j:], ldc, a, i*rs, rs, ks, b, j, bs, k, acc)
				continue
			}
			for r := i; r < min(i+2, rows); r++ {
				for q := j; q < min(j+4, cols); q++ {
					s := float32(0)
					if acc {
						s = c[r*ldc+q]
					}
					for kk := range k {
						s += float32(a[r*rs+kk*ks] * b[kk*bs+q])
					}
					c[r*ldc+q] = s
				}
			}
		}
	}
}

func tileGo2x4(c []float32, ldc int, a []float32, a0, rs, ks int, b []float32, b0, bs, k int, acc bool) {
	var s00, s01, s02, s03, s10, s11, s12, s13 float32
	c0, c1 := c[:4], c[ldc:ldc+4]
	if acc {
		s00, s01, s02, s03 = c0[0], c0[1], c0[2], c0[3]
		s10, s11, s12, s13 = c1[0], c1[1], c1[2], c1[3]
	}
	for range k {
		x, y := a[a0], a[a0+rs]
		w := b[b0 : b0+4]
		// The conversions forbid fusing on machines that could.
		s00 += float32(x * w[0])
		s01 += float32(x * w[1])
		s02 += float32(x * w[2])
		s03 += float32(x * w[3])
		s10 += float32(y * w[0])
		s11 += float32(y * w[1])
		s12 += float32(y * w[2])
		s13 += float32(y * w[3])
		a0 += ks
		b0 += bs
	}
	c0[0], c0[1], c0[2], c0[3] = s00, s01, s02, s03
	c1[0], c1[1], c1[2], c1[3] = s10, s11, s12, s13
}
