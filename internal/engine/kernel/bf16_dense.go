package kernel

import "sync"

// Products of two dense operands in bfloat16: attention and LoRA. Both operands
// are rounded on the way (the right one times alpha), the chain is that of
// products with packed weights. A level has them where they are faster than in
// float32.
//
// A fine product multiplies its left operand (times alpha) as the sum of two
// bfloat16, of the value and of what its rounding left: where the right operand
// holds bfloat16 values already, its error is near that of float32. Its chain does
// this for every fineDepth blocks of the depth: first the values, then the rests.

// DenseBF16 says whether the level in use multiplies dense operands faster in
// bfloat16 than in float32.
func DenseBF16() bool { return active.bf16 != nil && active.bf16.dense }

const (
	// fineDepth bounds the blocks of the depth of a fine product done at a time.
	fineDepth = depthBF16 / 2
	// leftStride lies between rows of a rounded left operand; see takeRows.
	leftStride = depthBF16*Panel + Panel
	// leftRows is how many rows of it are rounded at a time.
	leftRows = Panel
)

// denseBF16 is c[m, n] (+)= a * (alpha * b).
type denseBF16 struct {
	u       *unitBF16
	c       []float32
	ldc     int
	a       []float32
	rs, ks  int // a[i, k] = a[i*rs + k*ks], one of them 1
	b       []float32
	ldb     int
	kind    operand // rowsAreColumns or rowsAreDepth
	m, n, k int
	alpha   float32
	acc     bool
	fine    bool

	rounded []uint16 // the left operand where it is rounded already, rows lda apart
	lda     int
}

// denseScratch is the working memory of one part of a dense product.
type denseScratch struct {
	slab [slabBF16 * blockBF16]uint16
	left [leftRows * leftStride]uint16
	rows [2][depthBF16 * Panel]float32 // of a fine product: a row times alpha, and its rest
	next *denseScratch
}

// idleDense holds scratch between products; see idle.
var idleDense struct {
	sync.Mutex
	head *denseScratch
}

func takeDense() *denseScratch {
	idleDense.Lock()
	s := idleDense.head
	if s != nil {
		idleDense.head = s.next
	}
	idleDense.Unlock()
	if s == nil {
		s = new(denseScratch)
	}
	return s
}

func (s *denseScratch) release() {
	idleDense.Lock()
	s.next = idleDense.head
	idleDense.head = s
	idleDense.Unlock()
}

// check panics on operands too short for the product.
func (g *denseBF16) check() {
	if g.u == nil {
		panic("kernel: level " + active.level.String() + " does not multiply bfloat16")
	}
	if g.rounded != nil { // as Round made it; rs and ks are zero
		g.a = g.c
	}
	p := product{c: g.c, ldc: g.ldc, a: g.a, rs: g.rs, ks: g.ks, b: g.b, ldb: g.ldb, kind: g.kind, m: g.m, n: g.n, k: g.k}
	p.check()
}

// run computes rows [i0, i1) of the panels [p0, p1) of the result. For each
// stretch of the depth and each slab of panels, the right operand is packed; then
// the rows pass by, a group at a time.
func (g *denseBF16) run(i0, i1, p0, p1 int) {
	if i0 == i1 || p0 == p1 {
		return
	}
	deep := blocksOf(g.k)
	if deep == 0 {
		for i := i0; i < i1 && !g.acc; i++ {
			clear(g.c[i*g.ldc+p0*Panel : i*g.ldc+min(p1*Panel, g.n)])
		}
		return
	}
	s := takeDense()
	stretch, times := evenly(deep, depthBF16, 1), 1
	if g.fine {
		stretch, times = evenly(deep, fineDepth, 1), 2
	}
	width := evenly(p1-p0, slabBF16/(stretch*times), 1)
	for q := 0; q < deep; q += stretch {
		blocks := min(stretch, deep-q)
		depth := blocks * times
		for p := p0; p < p1; p += width {
			last := min(p+width, p1)
			g.right(s, p, last, q, blocks)
			cols := min(last*Panel, g.n) - p*Panel
			for i := i0; i < i1; i += leftRows {
				group := min(leftRows, i1-i)
				a, lda := s.left[:], leftStride
				if g.rounded != nil {
					a, lda = g.rounded[i*g.lda+q*Panel:], g.lda
				} else {
					g.left(s, i, group, q, blocks)
				}
				for r := 0; r < group; r += g.u.rows {
					g.u.strip(g.c[(i+r)*g.ldc+p*Panel:], g.ldc, a[r*lda:], lda, s.slab[:], depth*blockBF16, depth,
						min(g.u.rows, group-r), cols, g.acc || q > 0, ahead{})
				}
			}
		}
	}
	s.release()
}

// right packs the panels [p0, p1) of the right operand for the blocks [q, q+blocks),
// for a fine product twice.
func (g *denseBF16) right(s *denseScratch, p0, p1, q, blocks int) {
	times, alpha := 1, g.alpha
	if g.fine {
		times, alpha = 2, 1
	}
	for p := p0; p < p1; p++ {
		cols := min(Panel, g.n-p*Panel)
		panel := s.slab[(p-p0)*blocks*times*blockBF16:]
		for i := range blocks {
			k := (q + i) * Panel
			depth := min(Panel, g.k-k)
			if block := panel[i*blockBF16:]; g.kind == rowsAreColumns {
				g.u.packColumns(block, g.b[p*Panel*g.ldb+k:], g.ldb, cols, depth, alpha)
			} else {
				g.u.packDepth(block, g.b[k*g.ldb+p*Panel:], g.ldb, cols, depth, alpha)
			}
		}
		if g.fine {
			copy(panel[blocks*blockBF16:2*blocks*blockBF16], panel[:blocks*blockBF16])
		}
	}
}

// left rounds rows [i, i+n) of the left operand for the blocks [q, q+blocks).
func (g *denseBF16) left(s *denseScratch, i, n, q, blocks int) {
	k, wide := q*Panel, blocks*Panel
	depth := min(wide, g.k-k)
	if g.ks == 1 {
		for r := range n {
			row, src := s.left[r*leftStride:(r+1)*leftStride], g.a[(i+r)*g.rs+k:][:depth]
			if g.fine {
				scaled, rest := s.rows[0][:depth], s.rows[1][:depth]
				copy(scaled, src)
				active.scale(scaled, g.alpha)
				g.u.rest(rest, scaled)
				g.u.round(row[wide:wide+depth], rest)
				clear(row[wide+depth : 2*wide])
				src = scaled
			}
			g.u.round(row[:depth], src)
			clear(row[depth:wide])
		}
		return
	}
	for b := range blocks {
		g.u.upright(s.left[b*Panel:], leftStride, g.a[(k+b*Panel)*g.ks+i:], g.ks, n, min(Panel, depth-b*Panel))
	}
}

// serial runs g on the caller.
func (g *denseBF16) serial() {
	g.check()
	g.run(0, g.m, 0, blocksOf(g.n))
}

// multiplyDense runs g on all threads. Only the result is partitioned.
func (p *Pool) multiplyDense(g denseBF16) {
	g.check()
	threads := p.Threads()
	if threads == 1 || g.m*g.n*g.k < serialWork || !p.busy.CompareAndSwap(false, true) {
		g.run(0, g.m, 0, blocksOf(g.n))
		return
	}
	p.dense = g
	if p.byRows = g.m >= g.n; p.byRows {
		p.parts(g.m, leftRows, p.densePart)
	} else {
		p.parts(blocksOf(g.n), 1, p.densePart)
	}
	p.dense = denseBF16{}
	p.end()
}

func (p *Pool) runDense(_, lo, hi int) {
	g := &p.dense
	if p.byRows {
		g.run(lo, hi, 0, blocksOf(g.n))
	} else {
		g.run(0, g.m, lo, hi)
	}
}

// HalfNT is GemmNT in bfloat16; fine as said above.
func HalfNT(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, n, k int, alpha float32, acc, fine bool) {
	g := denseBF16{u: active.bf16, c: c, ldc: ldc, a: a, rs: lda, ks: 1, b: b, ldb: ldb, kind: rowsAreColumns, m: m, n: n, k: k, alpha: alpha, acc: acc, fine: fine}
	g.serial()
}

// HalfNN is GemmNN in bfloat16.
func HalfNN(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, n, k int, alpha float32, acc bool) {
	g := denseBF16{u: active.bf16, c: c, ldc: ldc, a: a, rs: lda, ks: 1, b: b, ldb: ldb, kind: rowsAreDepth, m: m, n: n, k: k, alpha: alpha, acc: acc}
	g.serial()
}

// HalfTN is GemmTN in bfloat16.
func HalfTN(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, n, k int, alpha float32, acc bool) {
	g := denseBF16{u: active.bf16, c: c, ldc: ldc, a: a, rs: 1, ks: lda, b: b, ldb: ldb, kind: rowsAreDepth, m: m, n: n, k: k, alpha: alpha, acc: acc}
	g.serial()
}

// HalfNT is NT in bfloat16.
func (p *Pool) HalfNT(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, n, k int, alpha float32, acc bool) {
	p.multiplyDense(denseBF16{u: active.bf16, c: c, ldc: ldc, a: a, rs: lda, ks: 1, b: b, ldb: ldb, kind: rowsAreColumns, m: m, n: n, k: k, alpha: alpha, acc: acc})
}

// HalfNN is NN in bfloat16.
func (p *Pool) HalfNN(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, n, k int, alpha float32, acc bool) {
	p.multiplyDense(denseBF16{u: active.bf16, c: c, ldc: ldc, a: a, rs: lda, ks: 1, b: b, ldb: ldb, kind: rowsAreDepth, m: m, n: n, k: k, alpha: alpha, acc: acc})
}

// RoundedNN is HalfNN whose left operand is rounded already.
func (p *Pool) RoundedNN(c []float32, ldc int, r *Rounded, b []float32, ldb, n int, alpha float32, acc bool) {
	p.multiplyDense(denseBF16{u: active.bf16, c: c, ldc: ldc, rounded: r.x.data, lda: r.lda, b: b, ldb: ldb, kind: rowsAreDepth, m: r.m, n: n, k: r.k, alpha: alpha, acc: acc})
}

// HalfTN is TN in bfloat16.
func (p *Pool) HalfTN(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, n, k int, alpha float32, acc bool) {
	p.multiplyDense(denseBF16{u: active.bf16, c: c, ldc: ldc, a: a, rs: 1, ks: lda, b: b, ldb: ldb, kind: rowsAreDepth, m: m, n: n, k: k, alpha: alpha, acc: acc})
}

// packColumnsGo writes a block of the right operand whose columns are rows of
// src: column j < cols, depth k < depth is alpha * src[j*ld + k] rounded, the
// rest zero.
func packColumnsGo(dst []uint16, src []float32, ld, cols, depth int, alpha float32) {
	packGo(dst, cols, depth, func(j, k int) float32 { return alpha * src[j*ld+k] })
}

// packDepthGo is packColumnsGo where the depth goes down the rows of src:
// alpha * src[k*ld + j].
func packDepthGo(dst []uint16, src []float32, ld, cols, depth int, alpha float32) {
	packGo(dst, cols, depth, func(j, k int) float32 { return alpha * src[k*ld+j] })
}

func packGo(dst []uint16, cols, depth int, value func(j, k int) float32) {
	clear(dst[:blockBF16])
	for k := range depth {
		for j := range cols {
			dst[(k/2*Panel+j)*2+k%2] = roundBF16(value(j, k))
		}
	}
}

// uprightBF16Go rounds a block of a left operand that lies transposed:
// dst[i*ldd + k] = src[k*lds + i] for i < rows, k < depth, and zero for the
// other k < Panel. What it writes to other rows up to a multiple of 16 does not
// matter.
func uprightBF16Go(dst []uint16, ldd int, src []float32, lds, rows, depth int) {
	for i := range rows {
		row := dst[i*ldd : i*ldd+Panel]
		clear(row)
		for k := range depth {
			row[k] = roundBF16(src[k*lds+i])
		}
	}
}

// restBF16Go sets dst to what rounding src leaves. What rounds to an infinity or
// NaN leaves zero.
func restBF16Go(dst, src []float32) {
	for i, v := range src {
		near := floatBF16(roundBF16(v))
		dst[i] = v - near
		if near-near != 0 {
			dst[i] = 0
		}
	}
}
