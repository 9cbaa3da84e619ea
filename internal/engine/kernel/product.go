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

// depthBlock is how much of the depth is done before the next tile: a panel
// slice of it (36 KiB) stays in the first-level cache.
const depthBlock = 288

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

// run computes rows [i0, i1) of the panels [p0, p1) of the result.
func (g *product) run(i0, i1, p0, p1 int) {
	if g.k == 0 {
		g.tiles(nil, Panel, 0, 0, i0, i1, p0, p1)
		return
	}
	s := takeScratch()
	for p := p0; p < p1; p++ {
		for k0 := 0; k0 < g.k; k0 += depthBlock {
			kn := min(depthBlock, g.k-k0)
			b, bs := g.panel(s, p, k0, kn)
			g.tiles(b, bs, k0, kn, i0, i1, p, p+1)
		}
	}
	s.release()
}

// panel returns columns [p*Panel, (p+1)*Panel) of b for the depth [k0, k0+kn)
// and the distance between their rows: in place, or gathered in scratch.
func (g *product) panel(s *scratch, p, k0, kn int) (b []float32, bs int) {
	j0 := p * Panel
	cols := min(Panel, g.n-j0)
	switch g.kind {
	case weights:
		return g.b[(p*g.k+k0)*Panel:], Panel
	case weightsTransposed:
		gatherWeights(s.panel[:], g.b, g.n, j0, cols, k0, kn)
	case rowsAreColumns:
		gatherRows(s.panel[:], g.b[j0*g.ldb+k0:], g.ldb, cols, kn, g.alpha)
	case rowsAreDepth:
		if cols == Panel && g.alpha == 1 {
			return g.b[k0*g.ldb+j0:], g.ldb
		}
		gatherDepth(s.panel[:], g.b[k0*g.ldb+j0:], g.ldb, cols, kn, g.alpha)
	}
	return s.panel[:], Panel
}

func (g *product) tiles(b []float32, bs, k0, kn, i0, i1, p0, p1 int) {
	for p := p0; p < p1; p++ {
		j0 := p * Panel
		cols := min(Panel, g.n-j0)
		for i := i0; i < i1; i += g.t.rows {
			var a []float32
			if kn > 0 {
				a = g.a[i*g.rs+k0*g.ks:]
			}
			rows := min(g.t.rows, i1-i)
			g.t.tile(g.c[i*g.ldc+j0:], g.ldc, a, g.rs, g.ks, b, bs, kn, rows, cols, g.acc || k0 > 0)
		}
	}
}

// gatherWeights turns packed weights W [n, width] into dst[i][j] = W[k0+i][j0+j].
func gatherWeights(dst, w []float32, width, j0, cols, k0, kn int) {
	for i := range kn {
		n := k0 + i
		row := w[(n/Panel*width+j0)*Panel+n%Panel:]
		d := dst[i*Panel : (i+1)*Panel]
		for j := range cols {
			d[j] = row[j*Panel]
		}
		clear(d[cols:])
	}
}

// gatherRows turns b [cols, kn] into dst[i][j] = alpha * b[j][i].
func gatherRows(dst, b []float32, ldb, cols, kn int, alpha float32) {
	for i := range kn {
		d := dst[i*Panel : (i+1)*Panel]
		for j := range cols {
			d[j] = alpha * b[j*ldb+i]
		}
		clear(d[cols:])
	}
}

// gatherDepth copies b [kn, cols] into dst[i][j] = alpha * b[i][j].
func gatherDepth(dst, b []float32, ldb, cols, kn int, alpha float32) {
	for i := range kn {
		d := dst[i*Panel : (i+1)*Panel]
		for j, v := range b[i*ldb : i*ldb+cols] {
			d[j] = alpha * v
		}
		clear(d[cols:])
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
