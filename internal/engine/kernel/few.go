package kernel

// Products for decoding: few rows, on the calling thread, so that a Team can
// fuse several into one stage. The k-order rule holds: the bits are those of
// Forward and GemmNN.

// fewFunc is a tileFunc whose rows of a are contiguous (ks = 1). For each k it
// also prefetches 128 bytes from ahead, which moves on by step bytes.
type fewFunc func(c []float32, ldc int, a []float32, rs int, b []float32, bs, k, rows, cols int, ahead []float32, step int, acc bool)

const (
	// lookAhead is table.lookAhead where asking pays: 6 KiB cover a memory latency and
	// the walk of a page's address.
	lookAhead = 1536
	// fewDepth bounds the depth done at a time where several strips of rows meet
	// a panel: its part of the panel (24 KiB) stays in the first-level cache.
	fewDepth = 192
	// fewDepthNarrow is that for tiles of few rows: 32 rows of that depth stay there too.
	fewDepthNarrow = 96
)

// Panels computes the panels [p0, p1) of y[m, N] (+)= x[m, K] W^T.
func (w *Packed) Panels(y []float32, ldy int, x []float32, ldx, m, p0, p1 int, acc bool) {
	w.PanelsAhead(y, ldy, x, ldx, m, p0, p1, acc, nil)
}

// PanelsAhead is Panels that asks for ahead where it has the time.
func (w *Packed) PanelsAhead(y []float32, ldy int, x []float32, ldx, m, p0, p1 int, acc bool, ahead *Ahead) {
	if m == 0 || p0 >= p1 {
		return
	}
	if w.BF16 != nil {
		w.panelsBF16(y, ldy, x, ldx, m, p0, p1, acc)
		return
	}
	if w.K == 0 || p0 < 0 || p1*Panel-Panel >= w.N || ldy < w.N && m > 1 {
		panic("kernel: impossible shape of a product")
	}
	_, _, _ = y[(m-1)*ldy+min(p1*Panel, w.N)-1], x[(m-1)*ldx+w.K-1], w.Data[w.at(p1, 0)-1]
	if w.Coding.Kind != Plain {
		w.panelsCoded(y, ldy, x, ldx, m, p0, p1, acc, ahead)
		return
	}
	t := active
	rows := evenly(m, t.rows, 1)
	strips := (m + rows - 1) / rows
	depth := w.K
	if strips > 1 {
		depth = evenly(w.K, t.fewDepth, Panel)
	}
	for p := p0; p < p1; p++ {
		cols := min(Panel, w.N-p*Panel)
		for k := 0; k < w.K; k += depth {
			n := min(depth, w.K-k)
			at := (p*w.K + k) * Panel
			for i := 0; i < m; i += rows {
				// One strip runs along the stream that it asks for; several divide
				// the next block of it between them.
				ahead, step := at+t.lookAhead, 4*Panel
				if strips > 1 {
					ahead, step = at+n*Panel+i/rows*n*Panel/strips, 4*Panel/strips
				}
				t.few(y[i*ldy+p*Panel:], ldy, x[i*ldx+k:], ldx, w.Data[at:], Panel, n, min(rows, m-i), cols,
					w.Data[min(ahead, len(w.Data)-1):], step, acc || k > 0)
			}
		}
	}
}

// Ahead is memory that is read behind a product: one with coded weights, which reads
// little itself, asks for it meanwhile.
type Ahead struct {
	Next func() []float32 // the next piece, nil behind the last
	now  []float32
	over bool
}

// Reset forgets the piece in hand: Next has other ones.
func (a *Ahead) Reset() { a.now, a.over = nil, false }

// take returns the next n values, fewer at the end of a piece, nil where there are none.
func (a *Ahead) take(n int) []float32 {
	if a == nil || a.over {
		return nil
	}
	if len(a.now) == 0 {
		if a.now = a.Next(); len(a.now) == 0 {
			a.over = true
			return nil
		}
	}
	n = min(n, len(a.now))
	part := a.now[:n]
	a.now = a.now[n:]
	return part
}

// panelsCoded is Panels for coded weights: a block of a panel becomes float32 in the
// first-level cache, where all rows meet it.
func (w *Packed) panelsCoded(y []float32, ldy int, x []float32, ldx, m, p0, p1 int, acc bool, ahead *Ahead) {
	t := active
	if m > t.fewRows {
		g := w.forward(y, ldy, x, ldx, m, acc)
		g.ahead = ahead
		g.run(0, m, p0, p1)
		return
	}
	s := takeScratch()
	rows := evenly(m, t.rows, 1)
	depth := evenly(w.K, t.fewDepth, Panel)
	for p := p0; p < p1; p++ {
		cols := min(Panel, w.N-p*Panel)
		if m == 1 && cols == Panel && t.one != nil {
			t.one(y[p*Panel:p*Panel+Panel], x, w.Data[w.at(p, 0):], w.Coding, w.K, acc)
			continue
		}
		for k := 0; k < w.K; k += depth {
			n := min(depth, w.K-k)
			block := s.slab[:n*Panel]
			t.expand(block, w.Data[w.at(p, k):], w.Coding, n)
			for i := 0; i < m; i += rows {
				next, step := ahead.take(n*line), 4*line
				if next == nil {
					next, step = block, 0
				}
				t.few(y[i*ldy+p*Panel:], ldy, x[i*ldx+k:], ldx, block, Panel, n, min(rows, m-i), cols, next, step, acc || k > 0)
			}
		}
	}
	s.release()
}

// oneFunc computes one row by a whole panel of coded weights: c[j] (+)= sum over k of
// a[k] * W[j][k], j < Panel. Stored and read again, weights would cost one row more
// than its multiply-adds.
type oneFunc func(c, a, src []float32, coding Coding, k int, acc bool)

// Few computes c[m, n] (+)= a[m, k] b[k, n] where b lies in memory that can be
// read up to a multiple of Panel behind each of its rows. ahead is what the
// caller reads next, about as long as b.
func Few(c []float32, ldc int, a []float32, lda int, b []float32, ldb, m, n, k int, ahead []float32, acc bool) {
	if m == 0 || n == 0 || k == 0 {
		return
	}
	panels := (n + Panel - 1) / Panel
	_, _, _ = c[(m-1)*ldc+n-1], a[(m-1)*lda+k-1], b[(k-1)*ldb+panels*Panel-1]
	t := active
	rows := evenly(m, t.rows, 1)
	strips := (m + rows - 1) / rows * panels
	part := k * n / strips
	unit := 0
	for p := range panels {
		for i := 0; i < m; i += rows {
			next := b
			if from := unit * part; from < len(ahead) {
				next = ahead[from:]
			}
			t.few(c[i*ldc+p*Panel:], ldc, a[i*lda:], lda, b[p*Panel:], ldb, k, min(rows, m-i), min(Panel, n-p*Panel),
				next, 4*part/k, acc)
			unit++
		}
	}
}

// fewGo is the reference of fewFunc.
func fewGo(c []float32, ldc int, a []float32, rs int, b []float32, bs, k, rows, cols int, _ []float32, _ int, acc bool) {
	tileGo(c, ldc, a, rs, 1, b, bs, k, rows, cols, single, soon{}, acc)
}

// oneGo is the reference of oneFunc.
func oneGo(c, a, src []float32, coding Coding, k int, acc bool) {
	var block [Panel * Panel]float32
	for k0 := 0; k0 < k; k0 += Panel {
		n := min(Panel, k-k0)
		expandGo(block[:], src[k0*coding.width():], coding, n)
		tileGo(c, 0, a[k0:], 0, 1, block[:], Panel, n, 1, Panel, single, soon{}, acc || k0 > 0)
	}
}
