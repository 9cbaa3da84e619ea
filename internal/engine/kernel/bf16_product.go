package kernel

import "sync"

const (
	// depthBF16 bounds the blocks of the depth done at a time: a strip of 32 rows
	// (36 KiB) and the panels it meets stay near.
	depthBF16 = 18
	// slabBF16 bounds the blocks of a slab of panels (512 KiB), which stays in the
	// second-level cache while the strips of rows pass by.
	slabBF16 = 256
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
	if g.m < 0 || g.n < 0 || g.k < 0 || g.ldc < g.n && g.m > 1 || g.ldx < g.k && g.m > 1 {
		panic("kernel: impossible shape of a product")
	}
	if g.m == 0 || g.n == 0 {
		return
	}
	_ = g.c[(g.m-1)*g.ldc+g.n-1]
	if g.k > 0 {
		_ = g.x[(g.m-1)*g.ldx+g.k-1]
		_ = g.b[weights-1]
	}
}

// multiplyBF16 runs g on all threads: first every row is rounded, then the
// result is parted as in multiply.
func (p *Pool) multiplyBF16(g productBF16) {
	if g.m == 0 || g.n == 0 {
		return
	}
	r := g.takeRows()
	defer r.release()
	panels, strips := blocksOf(g.n), (g.m+g.u.rows-1)/g.u.rows
	threads := p.Threads()
	if threads == 1 || g.m*g.n*g.k < serialWork || !p.busy.CompareAndSwap(false, true) {
		g.roundRows(0, g.m)
		g.run(0, g.m, 0, panels)
		return
	}
	p.bf16 = g
	if g.m*g.k < roundAlone {
		g.roundRows(0, g.m)
	} else {
		p.parts(g.m, 1, p.roundPart)
	}
	gain := balance(strips, threads) - balance(panels, threads)
	if p.byRows = rowsFirst(g.m, g.n, gain); g.transposed {
		p.byRows = gain > 0.25 // threads with rows of their own would each turn all of the weights
	}
	if p.failure == nil && p.byRows {
		p.parts(g.m, g.u.rows, p.bf16Part)
	} else if p.failure == nil {
		p.parts(panels, 1, p.bf16Part)
	}
	p.bf16 = productBF16{}
	p.end()
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
			for i := i0; i < i1; i += rows {
				g.u.strip(g.c[i*g.ldc+p*Panel:], g.ldc, g.a[i*g.lda+q*Panel:], g.lda, b, apart, blocks,
					min(rows, i1-i), cols, g.acc || q > 0)
			}
		}
	}
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
	r := g.takeRows()
	g.roundRows(0, m)
	g.run(0, m, p0, p1)
	r.release()
}
