package kernel

// tileFunc computes tiles of a product, one below the other. In each,
// c[i, j] (+)= sum over k of a[i*rs + k*ks] * b[k*bs + j] for i < rows, j < cols,
// rows <= table.rows, cols <= table.cols, following the k-order rule. a lies in rows
// (ks is 1) or upright (rs is 1 and ks table.apart). Panel values of each row of b are
// readable even where cols is less. k may be zero.
type tileFunc func(c []float32, ldc int, a []float32, rs, ks int, b []float32, bs, k, rows, cols int, pile pile, soon soon, acc bool)

// pile is how many tiles lie below each other: of c they are rows*ldc apart, of a apart.
type pile struct{ strips, apart int }

// single is a pile of one tile.
var single = pile{strips: 1}

// soon says what a pile may prefetch: the result of the tile behind it, c values from
// that of its last tile, and of the right operand's next block the part at b, step
// values for every two k's; the next tile's part lies each values further.
// Whoever waits for the first strip of a block waits for memory; strips that fetch
// a part each leave memory the time of them all.
type soon struct {
	c          int
	b          []float32
	step, each int
}

// operand says how the right operand of a product is stored.
type operand int

const (
	weights           operand = iota // b is panels like Packed.Data's: used in place
	weightsTransposed                // b is Packed.Data, depth N: 32x32 tiles are turned
	rowsAreColumns                   // b [n, k]: turned
	rowsAreDepth                     // b [k, n]
)

const (
	// depthBlock bounds the depth done at a time: a panel's part of it (at most
	// 48 KiB) stays in the first-level cache while the strips of rows pass by.
	depthBlock = 384
	// slabPanels bounds the gathered panels (576 KiB), which stay in the
	// second-level cache while the groups of rows pass by. Rows of a group share
	// that cache with the slab: nearFloats of them.
	slabPanels = 12
	nearFloats = 16 << 10
	// weightDepth bounds the depth for which weights are used in place. Nothing
	// is gathered, so a group of rows has more of the second-level cache:
	// farFloats. Its part of a panel's columns of c stays there too.
	weightDepth = 576
	farFloats   = 96 << 10
	// rowBlock is the depth done at a time where rows of b are the depth and are
	// read in order of memory: as many streams as a prefetcher follows. Of packed
	// weights it is a panel, which is one stream.
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
	ldb     int    // of row-major b; K of packed weights; depth between other panels
	coding  Coding // of packed weights
	kind    operand
	m, n, k int
	alpha   float32
	acc     bool
	ahead   *Ahead // what else to ask for, nil = nothing
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
		_ = g.b[((g.n-1)/Panel*g.ldb+g.k)*g.coding.width()-1]
	case weightsTransposed:
		_ = g.b[g.coding.CodedLen(g.k, g.n)-1]
	case rowsAreColumns:
		_ = g.b[(g.n-1)*g.ldb+g.k-1]
	case rowsAreDepth:
		_ = g.b[(g.k-1)*g.ldb+g.n-1]
	}
}

// run computes rows [i0, i1) of the panels [p0, p1) of the result. For each
// stretch of the depth and each slab of panels, the right operand is gathered
// (or used in place); then the rows pass by in groups of strips.
func (g *product) run(i0, i1, p0, p1 int) {
	if i0 == i1 || p0 == p1 {
		return
	}
	s := takeScratch()
	stretch, width, floats := evenly(g.k, depthBlock, Panel), evenly(p1-p0, slabPanels, 1), nearFloats
	if g.kind == weights {
		stretch, width, floats = evenly(g.k, weightDepth, Panel), p1-p0, farFloats
	} else if g.kind == rowsAreDepth && g.inPlace(p0) {
		stretch = rowBlock
	}
	rows := evenly(i1-i0, g.t.rows, 1)
	strips := (i1 - i0 + rows - 1) / rows
	step := rows * evenly(strips, max(1, floats/g.t.stripFloats(stretch)), 1)
	for k0 := 0; k0 == 0 || k0 < g.k; k0 += stretch {
		kn := min(stretch, g.k-k0)
		for p := p0; p < p1; p += width {
			last := min(p+width, p1)
			if kn > 0 {
				g.gatherSlab(s, p, last, k0, kn)
			}
			c := upcoming{panels: width, k: k0, first: i0, strips: strips}
			if last == p1 {
				c.panels, c.k = p0-p, k0+stretch
			}
			for i := i0; i < i1; i += step {
				c.rows = min(step, max(0, i1-i-step))
				g.group(s, i, min(i+step, i1), rows, p, last, k0, kn, c)
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

// upcoming says what a run turns to after its slab: panels that lie so many behind
// the present ones, from depth k on. The strips of the run, which begins with row
// first, share out what they fetch of it. rows are those of the group behind this one.
type upcoming struct{ panels, k, first, strips, rows int }

// group computes rows [i0, i1), in strips of rows, of the panels [p0, p1) for
// the depth [k0, k0+kn): each panel, a block of the depth at a time, meets every
// strip before the next one does.
func (g *product) group(s *scratch, i0, i1, rows, p0, p1, k0, kn int, c upcoming) {
	var a []float32
	rs, ks := g.rs, g.ks
	strips := (i1 - i0 + rows - 1) / rows
	if kn > 0 {
		a = g.a[i0*rs+k0*ks:]
		if ks != 1 || p1-p0 >= copyPanels && (g.t.stand != nil || collides(rs)) {
			a, rs, ks = s.copyRows(g.t, a, rs, ks, i1-i0, strips, kn)
		}
	}
	depth := max(kn, 1)
	coded := g.coding.Kind != Plain && g.kind == weights
	if coded || strips > 1 {
		depth = evenly(kn, depthBlock, Panel)
	}
	for p := p0; p < p1; p++ {
		b, bs := g.panel(s, p, p0, k0, kn)
		for k := 0; k == 0 || k < kn; k += depth {
			right := b
			if !coded {
				right = b[k*bs:]
			} else if kn > 0 {
				right = s.slab[:]
				g.t.expand(right, g.b[(p*g.ldb+k0+k)*g.coding.width():], g.coding, min(depth, kn-k))
			}
			q, kq := p, k0+k+depth
			if k+depth >= kn {
				q, kq = p+1, k0
			}
			if q == p1 {
				q, kq = p0+c.panels, c.k
			}
			kd := min(depth, kn-k)
			x := block{left: a[k*ks:], rs: rs, ks: ks, apart: kn * ks, right: right, bs: bs, k: kd, j0: p * Panel,
				more: k+depth < kn, acc: g.acc || k0+k > 0, of: strips}
			switch parts := (min(Panel, g.n-x.j0) + g.t.cols - 1) / g.t.cols; g.kind {
			case weights:
				x.share = g.nextPanel(q, kq, kd, strips*parts)
			case weightsTransposed:
				x.of, x.from = c.strips, (i0-c.first)/rows
				x.share = g.nextSquares(p+c.panels, c.k, kn, c.strips*parts)
				x.rows = g.nextRows(i1, k0, kn, c.rows, (p-p0)*strips*parts)
			}
			g.strips(i0, i1, strips, &x)
		}
	}
}

// block is a part of a panel's depth that strips of rows meet.
type block struct {
	left   []float32 // a from the first strip on
	rs, ks int       // of a
	apart  int       // of upright strips
	right  []float32 // k rows, bs apart
	bs, k  int
	j0     int   // the panel's first column
	more   bool  // the panel has more depth behind this
	acc    bool  // or had some before
	share  share // of the right operand's next block
	rows   share // of the next group's rows
	of     int   // strips of the run
	from   int   // those before the first one here
}

// strips computes rows [i0, i1) by a block: as many columns as a tile has at a time, so
// that those of the block stay in the first-level cache.
func (g *product) strips(i0, i1, strips int, x *block) {
	cols, heights := min(Panel, g.n-x.j0), heightsOf(i1-i0, strips)
	for j := 0; j < cols; j += g.t.cols {
		left, right, wide := x.left, x.right, min(g.t.cols, cols-j)
		if x.k > 0 {
			right = right[j:]
		}
		source, share, first := g.asks(x, j/g.t.cols, strips)
		i := i0
		for n := 0; n < strips; {
			rows, same := heights.run(n, strips)
			next := soon{c: rows * g.ldc}
			if asking := share.end - first - n; asking > 0 {
				next.b, next.step, next.each = share.strip(source, first+n)
				same = min(same, asking)
			}
			if n+same == strips {
				next.c = (i0-i-(same-1)*rows)*g.ldc + g.t.cols
				if j+wide == cols && x.more {
					next.c -= g.t.cols + j
				}
			}
			apart := x.apart
			if x.ks == 1 {
				apart = rows * x.rs
			}
			g.t.tile(g.c[i*g.ldc+x.j0+j:], g.ldc, left, x.rs, x.ks, right, x.bs, x.k, rows, wide, pile{same, apart}, next, x.acc)
			n, i = n+same, i+same*rows
			if x.k > 0 && n < strips {
				left = left[same*apart:]
			}
		}
	}
}

// asks says what the strips of a block's column fetch, how it is divided, and which share
// the first of them has: of what is asked for ahead, else of the right operand's next
// block, else of the rows that come next.
func (g *product) asks(x *block, column, strips int) (source []float32, s share, first int) {
	if piece := g.ahead.take(strips * (x.k / 2) * line); piece != nil {
		return piece, spread(len(piece), strips, x.k), 0
	}
	if first = column*x.of + x.from; first < x.share.end {
		return g.b, x.share, first
	}
	return g.a, x.rows, column * strips
}

// heights are the rows of strips that share rows evenly, the first few of them having
// one more: a tile of a row or two would leave its multipliers waiting for each other.
type heights struct{ least, more int }

func heightsOf(rows, strips int) heights { return heights{rows / strips, rows % strips} }

// run returns the rows of the n-th of so many strips, and how many strips from it on have them.
func (h heights) run(n, strips int) (rows, same int) {
	if n < h.more {
		return h.least + 1, h.more - n
	}
	return h.least, strips - n
}

// share divides what a block fetches among its strips: strip n asks for step values
// for every two k's, from at+n*each on, as long as n is less than end.
type share struct{ at, each, step, end int }

// spread divides n values evenly among strips of depth k.
func spread(n, strips, k int) share {
	asks := max(1, k/2)
	step := (n + strips*asks - 1) / (strips * asks)
	return share{each: step * asks, step: step, end: strips}
}

// strip returns what the n-th strip fetches of b, its step, and how much further the
// next one's part lies.
func (s share) strip(b []float32, n int) (part []float32, step, each int) {
	at := s.at + n*s.each
	if n >= s.end || at >= len(b) {
		return nil, 0, 0
	}
	return b[at:], s.step, s.each
}

// nextRows is what strips of a slab's blocks fetch of the rows of a from row i on, which
// the next group sets upright: one each. used is how many strips of the slab came before.
func (g *product) nextRows(i, k0, kn, rows, used int) share {
	if g.ks != 1 {
		return share{}
	}
	return share{at: (i+used)*g.rs + k0, each: g.rs, step: spread(kn, 1, kn).step, end: rows - used}
}

// nextPanel is what strips of a block of depth kn fetch of panel q of packed weights
// from depth k on.
func (g *product) nextPanel(q, k, kn, strips int) share {
	if k >= g.k {
		return share{}
	}
	width := g.coding.width()
	step := (2*width + strips - 1) / strips
	return share{at: (q*g.ldb + k) * width, each: step * (kn / 2), step: step, end: strips}
}

// nextSquares is nextPanel where the panel is turned from squares of the weights that
// lie far apart: a strip fetches a few that lie together, for the panels behind q
// too, so that the strips of all panels fetch each square once.
func (g *product) nextSquares(q, k, kn, strips int) share {
	if k >= g.k {
		return share{}
	}
	squares := (min(kn, g.k-k) + Panel - 1) / Panel
	together := (squares + strips - 1) / strips
	first, width := q%together, g.coding.width()
	return share{
		at: ((k/Panel+first)*g.n + q*Panel) * width, each: together * g.n * width,
		step: together * Panel * width / max(1, kn/2), end: (squares - first + together - 1) / together,
	}
}

// panel returns panel p of the right operand from depth k0 on and the distance
// between its rows: in place, or from the slab that begins with panel p0.
func (g *product) panel(s *scratch, p, p0, k0, kn int) ([]float32, int) {
	switch {
	case kn == 0:
		return nil, 0
	case g.kind == weights && g.coding.Kind != Plain:
		return nil, Panel
	case g.kind == weights:
		return g.b[(p*g.ldb+k0)*Panel:], Panel
	case g.inPlace(p):
		return g.b[k0*g.ldb+p*Panel:], g.ldb
	}
	return s.slab[(p-p0)*kn*Panel:], Panel
}

// copyPanels is the number of panels from which copying rows of a pays, upright or
// because they collide; where a is read down its columns a copy always does, given
// a fast one.
const copyPanels = 4

// collides says whether rows at this distance fall on the same few sets of a
// first-level cache, which repeat every 4 KiB: a tile reads up to 14 rows at
// once, and a set holds 8 or 12 lines.
func collides(rs int) bool {
	const page = 1024
	return (rs+line)%page <= 2*line
}

// copyRows copies strips of a next to each other, upright or at distances that do
// not collide. It returns the copy and its distances; upright strips are kn k's apart.
func (s *scratch) copyRows(t *table, a []float32, rs, ks, m, strips, kn int) ([]float32, int, int) {
	copied := t.upright
	switch {
	case ks == 1 && t.stand != nil:
		copied, ks = t.stand, rs
	case ks == 1:
		apart := kn + line
		for i := range m {
			copy(s.rows[i*apart:i*apart+kn], a[i*rs:])
		}
		return s.rows[:], apart, 1
	}
	i, heights := 0, heightsOf(m, strips)
	for n := range strips {
		rows, _ := heights.run(n, strips)
		copied(s.rows[n*kn*t.apart:], a[i*rs:], ks, kn, rows)
		i += rows
	}
	return s.rows[:], 1, t.apart
}

// gatherSlab gathers the panels [p0, p1) that are not used in place.
func (g *product) gatherSlab(s *scratch, p0, p1, k0, kn int) {
	step := kn
	// Turning writes whole blocks of 16: beyond a ragged depth, into the next
	// panel, which must come afterwards.
	if g.kind == rowsAreDepth || g.kind == weightsTransposed && kn%16 == 0 {
		step = rowBlock
	}
	for k := 0; k < kn; k += step {
		for p := p0; p < p1; p++ {
			if !g.inPlace(p) {
				g.gather(s, s.slab[((p-p0)*kn+k)*Panel:], p, k0+k, min(step, kn-k))
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
func (g *product) gather(s *scratch, dst []float32, p, k0, kn int) {
	j0 := p * Panel
	cols := min(Panel, g.n-j0)
	switch g.kind {
	case weightsTransposed:
		// Panels of W are 32 rows of its depth here: tiles of 32x32.
		for i := 0; i < kn; i += Panel {
			square := g.b[((k0+i)/Panel*g.n+j0)*g.coding.width():]
			if g.coding.Kind != Plain {
				g.t.expand(s.square[:], square, g.coding, cols)
				square = s.square[:]
			}
			g.t.turn(dst[i*Panel:], square, Panel, cols, min(Panel, kn-i), 1)
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
// src[k*lds+i], k < depth, i < rows <= uprightStride.
func uprightGo(dst, src []float32, lds, depth, rows int) {
	for k := range depth {
		copy(dst[k*uprightStride:k*uprightStride+rows], src[k*lds:])
	}
}

// standGo sets upright what lies in rows: dst[k*uprightStride+i] = src[i*lds+k],
// k < depth, i < rows <= uprightStride. A faster one may also write whole lines of
// dst, and those of a depth up to a multiple of 16.
func standGo(dst, src []float32, lds, depth, rows int) {
	for i := range rows {
		for k, v := range src[i*lds : i*lds+depth] {
			dst[k*uprightStride+i] = v
		}
	}
}

// tileGo is the reference of tileFunc.
func tileGo(c []float32, ldc int, a []float32, rs, ks int, b []float32, bs, k, rows, cols int, pile pile, _ soon, acc bool) {
	for n := range pile.strips {
		left := a
		if k > 0 {
			left = a[n*pile.apart:]
		}
		oneTileGo(c[n*rows*ldc:], ldc, left, rs, ks, b, bs, k, rows, cols, acc)
	}
}

// oneTileGo is one tile of tileGo: two rows by four columns at a time.
func oneTileGo(c []float32, ldc int, a []float32, rs, ks int, b []float32, bs, k, rows, cols int, acc bool) {
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
