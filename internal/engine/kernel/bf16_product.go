package kernel

import "sync"

const (
	// depthBF16 bounds the blocks of the depth done at a time: what a strip of 32
	// rows and the panels it meets have of it stays in the second-level cache.
	depthBF16 = 64
	// slabBF16 bounds the blocks of a slab of panels (384 KiB), which stays there
	// too while the strips of rows pass by and the next slab is fetched.
	slabBF16 = 192
	// roundAlone is the number of activations that one thread rounds faster than
	// it wakes another.
	roundAlone = 1 << 14
)

// productBF16 is c[m, n] (+)= x * W^T, or x * W where transposed, in bfloat16.
type productBF16 struct {
	u          *unitBF16
	c          []float32
	ldc        int
	x          []float32 // [m, k]
	ldx        int
	a          []uint16 // x rounded: [m, lda], zeros past k
	lda        int
	b          []uint16 // Packed.BF16
	transposed bool
	across     int // blocks of a panel of b
	m, n, k    int
	acc        bool
	stream     bool // all rows are one strip, and b comes from memory
}

// roundedBF16 are buffers of rounded activations. A list rather than a
// sync.Pool: a warm program allocates nothing.
type roundedBF16 struct {
	data []uint16
	next *roundedBF16
}

var idleRounded struct {
	sync.Mutex
	head *roundedBF16
}

func takeRounded(n int) *roundedBF16 {
	idleRounded.Lock()
	r := idleRounded.head
	if r != nil {
		idleRounded.head = r.next
	}
	idleRounded.Unlock()
	if r == nil {
		r = &roundedBF16{}
	}
	if cap(r.data) < n {
		r.data = make([]uint16, n)
	}
	r.data = r.data[:n]
	return r
}

func (r *roundedBF16) release() {
	idleRounded.Lock()
	r.next = idleRounded.head
	idleRounded.head = r
	idleRounded.Unlock()
}

// turnedBF16 are the turned weights of one part of a product.
type turnedBF16 struct {
	slab [slabBF16 * blockBF16]uint16
	next *turnedBF16
}

var idleTurned struct {
	sync.Mutex
	head *turnedBF16
}

func takeTurned() *turnedBF16 {
	idleTurned.Lock()
	t := idleTurned.head
	if t != nil {
		idleTurned.head = t.next
	}
	idleTurned.Unlock()
	if t == nil {
		t = new(turnedBF16)
	}
	return t
}

func (t *turnedBF16) release() {
	idleTurned.Lock()
	t.next = idleTurned.head
	idleTurned.head = t
	idleTurned.Unlock()
}

// check panics on operands too short for the product: the assembly has no
// bounds checks of its own.
func (g *productBF16) check(weights int) {
	if g.u == nil {
		panic("kernel: level " + active.level.String() + " does not multiply bfloat16")
	}
	if g.m < 0 || g.n < 0 || g.k < 0 || g.ldc < g.n && g.m > 1 || g.a == nil && g.ldx < g.k && g.m > 1 {
		panic("kernel: impossible shape of a product")
	}
	if g.a == nil && g.m > 0 && g.k > 0 {
		_ = g.x[(g.m-1)*g.ldx+g.k-1]
	}
	if g.m == 0 || g.n == 0 {
		return
	}
	_ = g.c[(g.m-1)*g.ldc+g.n-1]
	if g.k > 0 {
		_ = g.b[weights-1]
	}
}

// multiplyBF16 rounds the activations of g and runs it on all threads.
func (p *Pool) multiplyBF16(g productBF16) {
	if g.m == 0 || g.n == 0 {
		return
	}
	r := p.roundAll(&g)
	p.partBF16(g)
	r.release()
}

// roundAll rounds every row of the activations on all threads.
func (p *Pool) roundAll(g *productBF16) *roundedBF16 {
	r := g.takeRows()
	if p.Threads() == 1 || g.m*g.k < roundAlone || !p.busy.CompareAndSwap(false, true) {
		g.roundRows(0, g.m)
		return r
	}
	p.bf16 = *g
	p.parts(g.m, 1, p.roundPart)
	p.bf16 = productBF16{}
	p.end()
	return r
}

// partBF16 runs g, whose activations are rounded, on all threads. The result is
// parted by panels where that is any good: threads with rows of their own would
// each read, and turn, all of the weights.
func (p *Pool) partBF16(g productBF16) {
	panels, strips := blocksOf(g.n), (g.m+g.u.rows-1)/g.u.rows
	threads := p.Threads()
	if threads == 1 || g.m*g.n*g.k < serialWork || !p.busy.CompareAndSwap(false, true) {
		g.run(0, g.m, 0, panels)
		return
	}
	p.bf16 = g
	if p.byRows = balance(strips, threads)-balance(panels, threads) > 0.25; p.byRows {
		p.parts(g.m, g.u.rows, p.bf16Part)
	} else {
		p.parts(panels, 1, p.bf16Part)
	}
	p.bf16 = productBF16{}
	p.end()
}

// Rounded are activations x [m, k] rounded for several products. The zero value
// is none. It serves one goroutine.
type Rounded struct {
	x    *roundedBF16
	lda  int
	m, k int
}

// Round rounds x [m, k] for products with weights that are packed in bfloat16.
// Release gives the memory back.
func (p *Pool) Round(x []float32, ldx, m, k int) Rounded {
	g := productBF16{u: active.bf16, x: x, ldx: ldx, m: m, k: k}
	g.check(0)
	return Rounded{x: p.roundAll(&g), lda: g.lda, m: m, k: k}
}

// Release ends the use of r.
func (r *Rounded) Release() {
	if r.x != nil {
		r.x.release()
	}
	*r = Rounded{}
}

// ForwardRounded is Forward of rounded activations.
func (p *Pool) ForwardRounded(y []float32, ldy int, r *Rounded, w *Packed, acc bool) {
	p.multiplyRounded(y, ldy, r, productBF16{b: w.BF16, across: blocksOf(w.K), n: w.N, k: w.K, acc: acc}, BF16Len(w.N, w.K))
}

// BackwardRounded is Backward of rounded gradients.
func (p *Pool) BackwardRounded(dx []float32, lddx int, r *Rounded, w *Packed, acc bool) {
	p.multiplyRounded(dx, lddx, r, productBF16{b: w.BF16, across: blocksOf(w.K), transposed: true, n: w.K, k: w.N, acc: acc}, BF16Len(w.N, w.K))
}

func (p *Pool) multiplyRounded(c []float32, ldc int, r *Rounded, g productBF16, weights int) {
	if r.k != g.k {
		panic("kernel: impossible shape of a product")
	}
	g.u, g.c, g.ldc, g.a, g.lda, g.m = active.bf16, c, ldc, r.x.data, r.lda, r.m
	g.check(weights)
	if g.m > 0 && g.n > 0 {
		p.partBF16(g)
	}
}

// takeRows gives the rounded activations memory. Rows a line further apart than
// their length do not share a few cache sets.
func (g *productBF16) takeRows() *roundedBF16 {
	g.lda = blocksOf(g.k)*Panel + Panel
	r := takeRounded(g.m * g.lda)
	g.a = r.data
	return r
}

func (p *Pool) roundBF16(_, lo, hi int) { p.bf16.roundRows(lo, hi) }

func (p *Pool) runBF16(_, lo, hi int) {
	g := &p.bf16
	if p.byRows {
		g.run(lo, hi, 0, blocksOf(g.n))
	} else {
		g.run(0, g.m, lo, hi)
	}
}

// roundRows rounds rows [i0, i1) of the activations.
func (g *productBF16) roundRows(i0, i1 int) {
	for i := i0; i < i1; i++ {
		row := g.a[i*g.lda : (i+1)*g.lda]
		if g.k > 0 {
			g.u.round(row[:g.k], g.x[i*g.ldx:i*g.ldx+g.k])
		}
		clear(row[g.k:])
	}
}

// run computes rows [i0, i1) of the panels [p0, p1) of the result. For each
// stretch of the depth and each slab of panels, the strips of rows pass by.
func (g *productBF16) run(i0, i1, p0, p1 int) {
	deep := blocksOf(g.k)
	if deep == 0 {
		g.empty(i0, i1, p0, p1)
		return
	}
	stretch := evenly(deep, depthBF16, 1)
	width := evenly(p1-p0, slabBF16/stretch, 1)
	rows := evenly(i1-i0, g.u.rows, 1)
	var t *turnedBF16
	if g.transposed {
		t = takeTurned()
		defer t.release()
	}
	for q := 0; q < deep; q += stretch {
		blocks := min(stretch, deep-q)
		for p := p0; p < p1; p += width {
			last := min(p+width, p1)
			b, apart := g.slab(t, p, last, q, blocks)
			cols := min(last*Panel, g.n) - p*Panel
			next := ahead{stream: g.stream}
			if !g.stream {
				next = g.next(last, p0, p1, q, stretch)
			}
			for i := i0; i < i1; i += rows {
				g.u.strip(g.c[i*g.ldc+p*Panel:], g.ldc, g.a[i*g.lda+q*Panel:], g.lda, b, apart, blocks,
					min(rows, i1-i), cols, g.acc || q > 0, next)
				next.skip()
			}
		}
	}
}

// next is where the slab lies in the weights that follows the one that ends with
// panel last and begins with block q of the depth; p0, p1 and stretch as in run.
func (g *productBF16) next(last, p0, p1, q, stretch int) ahead {
	if last == p1 {
		last, q = p0, q+stretch
	}
	switch {
	case q >= blocksOf(g.k):
		return ahead{}
	case g.transposed:
		return ahead{from: g.b[(q*g.across+last)*blockBF16:], block: g.across * blockBF16, panel: blockBF16}
	}
	return ahead{from: g.b[(last*g.across+q)*blockBF16:], block: blockBF16, panel: g.across * blockBF16}
}

// skip goes on to the next quarter of every block.
func (a *ahead) skip() {
	if a.left++; a.from == nil || a.left == blockBF16/aheadValues {
		*a = ahead{}
		return
	}
	a.from = a.from[aheadValues:]
}

// slab returns the panels [p0, p1) of the right operand for the blocks [q, q+blocks)
// of the depth, and how far apart they lie: in place, or turned into t.
func (g *productBF16) slab(t *turnedBF16, p0, p1, q, blocks int) ([]uint16, int) {
	if !g.transposed {
		return g.b[(p0*g.across+q)*blockBF16:], g.across * blockBF16
	}
	for p := p0; p < p1; p++ {
		for i := range blocks {
			from := ((q+i)*g.across + p) * blockBF16
			to := ((p-p0)*blocks + i) * blockBF16
			g.u.turn(t.slab[to:to+blockBF16], g.b[from:from+blockBF16])
		}
	}
	return t.slab[:], blocks * blockBF16
}

// empty is a product without depth.
func (g *productBF16) empty(i0, i1, p0, p1 int) {
	for i := i0; i < i1 && !g.acc; i++ {
		clear(g.c[i*g.ldc+p0*Panel : i*g.ldc+min(p1*Panel, g.n)])
	}
}

// forwardBF16 is Forward in bfloat16.
func (p *Pool) forwardBF16(y []float32, ldy int, x []float32, ldx int, w *Packed, m int, acc bool) {
	g := productBF16{u: active.bf16, c: y, ldc: ldy, x: x, ldx: ldx, b: w.BF16, across: blocksOf(w.K), m: m, n: w.N, k: w.K, acc: acc}
	g.check(BF16Len(w.N, w.K))
	p.multiplyBF16(g)
}

// backwardBF16 is Backward in bfloat16.
func (p *Pool) backwardBF16(dx []float32, lddx int, dy []float32, lddy int, w *Packed, m int, acc bool) {
	g := productBF16{u: active.bf16, c: dx, ldc: lddx, x: dy, ldx: lddy, b: w.BF16, across: blocksOf(w.K), transposed: true, m: m, n: w.K, k: w.N, acc: acc}
	g.check(BF16Len(w.N, w.K))
	p.multiplyBF16(g)
}

// panelsBF16 is Panels in bfloat16. Every thread rounds the rows for itself.
func (w *Packed) panelsBF16(y []float32, ldy int, x []float32, ldx, m, p0, p1 int, acc bool) {
	if p0 < 0 || p1 > blocksOf(w.N) {
		panic("kernel: impossible shape of a product")
	}
	g := productBF16{u: active.bf16, c: y, ldc: ldy, x: x, ldx: ldx, b: w.BF16, across: blocksOf(w.K), m: m, n: min(p1*Panel, w.N), k: w.K, acc: acc}
	g.check(BF16Len(w.N, w.K))
	g.stream = m <= g.u.rows
	r := g.takeRows()
	g.roundRows(0, m)
	if m == 1 && w.readsCodes(g.u) {
		g.rowByCodes(w, p0, p1)
	} else {
		g.run(0, m, p0, p1)
	}
	r.release()
}
