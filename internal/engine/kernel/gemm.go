package kernel

// Forward computes y[m, N] (+)= x[m, K] * W^T: a linear layer. For any m from
// one (decoding) to thousands (training).
func (p *Pool) Forward(y []float32, ldy int, x []float32, ldx int, w *Packed, m int, acc bool) {
	if w.BF16 != nil {
		p.forwardBF16(y, ldy, x, ldx, w, m, acc)
		return
	}
	p.multiply(w.forward(y, ldy, x, ldx, m, acc))
}

// forward is the product of Forward in float32.
func (w *Packed) forward(y []float32, ldy int, x []float32, ldx, m int, acc bool) product {
	return product{
		t: active, c: y, ldc: ldy, a: x, rs: ldx, ks: 1, b: w.Data, ldb: w.K, coding: w.Coding, kind: weights,
		m: m, n: w.N, k: w.K, alpha: 1, acc: acc,
	}
}

// ForwardRange is Forward for the outputs [n0, n1) only, n0 a multiple of
// Panel: y[m, n1-n0] (+)= x[m, K] * W[n0:n1]^T. A large vocabulary goes through
// it in pieces.
func (p *Pool) ForwardRange(y []float32, ldy int, x []float32, ldx int, w *Packed, n0, n1, m int, acc bool) {
	v := w.slice(n0, n1)
	p.Forward(y, ldy, x, ldx, &v, m, acc)
}

// Backward computes dx[m, K] (+)= dy[m, N] * W: the gradient of a linear
// layer's input. It turns the packed weights on the fly.
func (p *Pool) Backward(dx []float32, lddx int, dy []float32, lddy int, w *Packed, m int, acc bool) {
	if w.BF16 != nil {
		p.backwardBF16(dx, lddx, dy, lddy, w, m, acc)
		return
	}
	p.multiply(product{
		t: active, c: dx, ldc: lddx, a: dy, rs: lddy, ks: 1, b: w.Data, ldb: w.K, coding: w.Coding, kind: weightsTransposed,
		m: m, n: w.K, k: w.N, alpha: 1, acc: acc,
	})
}

// BackwardRange is Backward for the outputs [n0, n1) only, n0 a multiple of
// Panel: dx[m, K] (+)= dy[m, n1-n0] * W[n0:n1]. Ranges added up in order give
// the bits of one Backward.
func (p *Pool) BackwardRange(dx []float32, lddx int, dy []float32, lddy int, w *Packed, n0, n1, m int, acc bool) {
	v := w.slice(n0, n1)
	p.Backward(dx, lddx, dy, lddy, &v, m, acc)
}

// slice is the view of rows [n0, n1) of W.
func (w *Packed) slice(n0, n1 int) Packed {
	if n0%Panel != 0 || n0 < 0 || n1 < n0 || n1 > w.N || n1%Panel != 0 && n1 != w.N {
		panic("kernel: a range of packed weights begins and ends at a panel")
	}
	v := Packed{N: n1 - n0, K: w.K, Coding: w.Coding, Data: w.Data[w.at(n0/Panel, 0):]}
	if w.BF16 != nil {
		v.BF16 = w.BF16[BF16Len(n0, w.K):]
	}
	return v
}

// GemmNT computes c[m, n] (+)= a[m, k] * (alpha * b[n, k])^T on the caller.
func GemmNT(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, n, k int, alpha float32, acc bool) {
	g := product{t: active, c: c, ldc: ldc, a: a, rs: lda, ks: 1, b: b, ldb: ldb, kind: rowsAreColumns, m: m, n: n, k: k, alpha: alpha, acc: acc}
	g.serial()
}

// GemmNN computes c[m, n] (+)= a[m, k] * (alpha * b[k, n]) on the caller.
func GemmNN(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, n, k int, alpha float32, acc bool) {
	g := product{t: active, c: c, ldc: ldc, a: a, rs: lda, ks: 1, b: b, ldb: ldb, kind: rowsAreDepth, m: m, n: n, k: k, alpha: alpha, acc: acc}
	g.serial()
}

// GemmTN computes c[m, n] (+)= a[k, m]^T * (alpha * b[k, n]) on the caller.
func GemmTN(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, n, k int, alpha float32, acc bool) {
	g := product{t: active, c: c, ldc: ldc, a: a, rs: 1, ks: lda, b: b, ldb: ldb, kind: rowsAreDepth, m: m, n: n, k: k, alpha: alpha, acc: acc}
	g.serial()
}

// NT is GemmNT on all threads.
func (p *Pool) NT(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, n, k int, alpha float32, acc bool) {
	p.multiply(product{t: active, c: c, ldc: ldc, a: a, rs: lda, ks: 1, b: b, ldb: ldb, kind: rowsAreColumns, m: m, n: n, k: k, alpha: alpha, acc: acc})
}

// NN is GemmNN on all threads.
func (p *Pool) NN(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, n, k int, alpha float32, acc bool) {
	p.multiply(product{t: active, c: c, ldc: ldc, a: a, rs: lda, ks: 1, b: b, ldb: ldb, kind: rowsAreDepth, m: m, n: n, k: k, alpha: alpha, acc: acc})
}

// TN is GemmTN on all threads.
func (p *Pool) TN(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, n, k int, alpha float32, acc bool) {
	p.multiply(product{t: active, c: c, ldc: ldc, a: a, rs: 1, ks: lda, b: b, ldb: ldb, kind: rowsAreDepth, m: m, n: n, k: k, alpha: alpha, acc: acc})
}

// GemmPanels computes c[m, n] (+)= a[m, k] * B on the caller, B in the panels of
// PanelsOfRows or PanelsOfDepth that begin in b, apart k's from each other: who
// multiplies with a matrix more than once arranges it once.
func GemmPanels(c []float32, ldc int, a []float32, lda int, b []float32, apart, m, n, k int, acc bool) {
	g := product{t: active, c: c, ldc: ldc, a: a, rs: lda, ks: 1, b: b, ldb: apart, kind: weights, m: m, n: n, k: k, alpha: 1, acc: acc}
	g.serial()
}

// PanelsOfRows arranges alpha * b[n, k]^T, n <= Panel, as one panel for GemmPanels. It
// writes whole blocks of 16: as many k's and columns of dst must be there.
func PanelsOfRows(dst, b []float32, ldb, n, k int, alpha float32) {
	active.turn(dst, b, ldb, n, k, alpha)
}

// PanelsOfDepth arranges k rows of alpha * b[k, n] in panels that are apart k's from each
// other: any k rows are those of every panel from there on.
func PanelsOfDepth(dst []float32, apart int, b []float32, ldb, k, n int, alpha float32) {
	for j := 0; j < n; j += Panel {
		active.gather(dst[j*apart:], b[j:], ldb, k, min(Panel, n-j), alpha)
	}
}

func (g *product) serial() {
	g.check()
	g.run(0, g.m, 0, (g.n+Panel-1)/Panel)
}

// serialWork is the number of multiply-adds below which waking other threads
// costs more than it saves.
const serialWork = 1 << 15

// multiply runs g on all threads. Only the result is partitioned, never the
// depth: by panels, or by rows where that balances better.
func (p *Pool) multiply(g product) {
	g.check()
	panels, strips := (g.n+Panel-1)/Panel, (g.m+g.t.rows-1)/g.t.rows
	threads := p.Threads()
	if threads == 1 || g.m*g.n*g.k < serialWork || !p.busy.CompareAndSwap(false, true) {
		g.run(0, g.m, 0, panels)
		return
	}
	p.product = g
	gain := balance(strips, threads) - balance(panels, threads)
	p.byRows = rowsFirst(g.m, g.n, gain)
	if g.kind == weightsTransposed { // turned once rather than by every thread
		p.byRows = gain > 0.2
	}
	if p.byRows {
		p.parts(g.m, g.t.rows, p.productPart)
	} else {
		p.parts(panels, 1, p.productPart)
	}
	p.end()
}

// rowsFirst says whether to part the rows of a result of m by n, given how much
// better that balances than parting its panels. Threads that have rows of their
// own all read the whole right operand, in order of memory and prefetched;
// threads that have panels of their own all read the whole left one, which only
// few rows are worth.
func rowsFirst(m, n int, gain float64) bool {
	return gain > 0.05 || 4*m >= n && gain > -0.05
}

// balance is the fraction of threads kept busy by units of equal work.
func balance(units, threads int) float64 {
	return float64(units) / float64((units+threads-1)/threads*threads)
}

func (p *Pool) runProduct(_, lo, hi int) {
	g := &p.product
	if p.byRows {
		g.run(lo, hi, 0, (g.n+Panel-1)/Panel)
	} else {
		g.run(0, g.m, lo, hi)
	}
}
