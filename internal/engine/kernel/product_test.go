package kernel

import (
	"fmt"
	"math"
	"testing"
)

// anyProduct is one of the package's products of m rows with operands of its own.
type anyProduct struct {
	name  string
	width int // of a row of the result, gap behind it
	run   func(p *Pool, y []float32, m int, acc bool)
}

// gap is what lies between rows of an operand or result.
const gap = 3

// everyProduct returns each product of up to most rows with weights [n, k].
func everyProduct(most, n, k int) []anyProduct {
	c := check{state: 11}
	x, dy := c.filled(most*(k+gap)).x, c.filled(most*(n+gap)).x
	w := c.filled(n * k).x
	packed := &Packed{N: n, K: k, Data: make([]float32, PackedLen(n, k))}
	Pack(packed.Data, w, n, k)
	turned := make([]float32, k*n) // w as [k, n]
	tall := make([]float32, k*most)
	for i := range k {
		for j := range n {
			turned[i*n+j] = w[j*k+i]
		}
		for j := range most {
			tall[i*most+j] = x[j*(k+gap)+i]
		}
	}
	return []anyProduct{
		{"Forward", n, func(p *Pool, y []float32, m int, acc bool) { p.Forward(y, n+gap, x, k+gap, packed, m, acc) }},
		{"Backward", k, func(p *Pool, y []float32, m int, acc bool) { p.Backward(y, k+gap, dy, n+gap, packed, m, acc) }},
		{"NT", n, func(p *Pool, y []float32, m int, acc bool) { p.NT(y, n+gap, x, k+gap, w, k, m, n, k, 0.3, acc) }},
		{"NN", n, func(p *Pool, y []float32, m int, acc bool) { p.NN(y, n+gap, x, k+gap, turned, n, m, n, k, 1, acc) }},
		{"TN", n, func(p *Pool, y []float32, m int, acc bool) { p.TN(y, n+gap, tall, most, turned, n, m, n, k, 0.3, acc) }},
	}
}

// result returns what a product adds to.
func (g *anyProduct) result(m int) guarded {
	old := newGuarded(m * (g.width + gap))
	for i := range m {
		for j := range g.width {
			old.x[i*(g.width+gap)+j] = float32(i-j) / 64
		}
	}
	return old
}

// TestSameBitsForAnyM computes every product for 70 rows serially and then for
// every smaller number of rows and several pools: each row must have the bits
// it had, in Forward, Backward and the general products, with and without acc.
func TestSameBitsForAnyM(t *testing.T) {
	const most = 70
	products := everyProduct(most, 75, 410)
	pools := []*Pool{NewPool(1), NewPool(2), NewPool(4)}
	for _, p := range pools {
		defer p.Close()
	}
	step := 1
	if testing.Short() {
		step = 7
	}
	everyLevel(t, func(t *testing.T, l Level) {
		for _, g := range products {
			for _, acc := range []bool{false, true} {
				old := g.result(most)
				want := old.clone()
				g.run(pools[0], want.x, most, acc)
				for m := 1; m <= most; m += step {
					for _, p := range pools {
						got := old.clone()
						g.run(p, got.x, m, acc)
						rows := m * (g.width + gap)
						if !sameBits(got.x[:rows], want.x[:rows]) || !sameBits(got.x[rows:], old.x[rows:]) || got.broken() {
							t.Fatalf("%s acc %v: %d rows on %d threads differ from the same rows among %d", g.name, acc, m, p.Threads(), most)
						}
					}
				}
			}
		}
	})
}

// TestSameBitsForAnyTile computes every product with the tiles that each level cuts it
// into, made in Go: a processor that lacks a level still divides work as that one does.
func TestSameBitsForAnyTile(t *testing.T) {
	defer func(was *table) { active = was }(active)
	pool := NewPool(2)
	defer pool.Close()
	coding := Coding{Kind: Code4, Block: 32, Zero: 8}
	coded, _ := codedAndPlain(&check{state: 12}, coding, 96, 640)
	x := randomSlice(70 * 640)
	products := append(everyProduct(70, 75, 410), everyProduct(70, 430, 800)...)
	products = append(products,
		anyProduct{"coded Forward", 96, func(p *Pool, y []float32, m int, acc bool) { p.Forward(y, 96+gap, x, 640, coded, m, acc) }},
		anyProduct{"coded Backward", 640, func(p *Pool, y []float32, m int, acc bool) { p.Backward(y, 640+gap, x, 640, coded, m, acc) }})
	for _, shape := range []struct {
		rows, cols, apart, few int
		stands                 bool
	}{{14, Panel, 16, anyRows, true}, {6, 16, 8, 3, true}, {6, 16, 16, anyRows, false}} {
		cut := goTable
		cut.rows, cut.cols, cut.apart, cut.fewRows = shape.rows, shape.cols, shape.apart, shape.few
		cut.upright = func(dst, src []float32, lds, depth, rows int) {
			for k := range depth {
				copy(dst[k*shape.apart:k*shape.apart+rows], src[k*lds:])
			}
		}
		cut.stand = nil
		if shape.stands {
			cut.stand = func(dst, src []float32, lds, depth, rows int) {
				for i := range rows * depth {
					dst[i%depth*shape.apart+i/depth] = src[i/depth*lds+i%depth]
				}
			}
		}
		for _, g := range products {
			for _, m := range []int{1, 4, 7, 15, 33, 70} {
				want := g.result(m)
				got := want.clone()
				active = &goTable
				g.run(pool, want.x, m, m%2 == 1)
				active = &cut
				g.run(pool, got.x, m, m%2 == 1)
				if !sameBits(got.x, want.x) || got.broken() {
					t.Errorf("%s of %d rows in tiles of %d by %d differs", g.name, m, cut.rows, cut.cols)
				}
			}
		}
	}
}

// TestChainStartsAtC pins the k-order rule: a product done in two halves of the
// depth, the second added to the first, has the bits of the whole.
func TestChainStartsAtC(t *testing.T) {
	everyLevel(t, func(t *testing.T, l Level) {
		const m, n, k, half = 17, 64, 500, 223
		a, b := randomSlice(m*k), randomSlice(n*k)
		whole, parts := make([]float32, m*n), make([]float32, m*n)
		GemmNT(whole, n, a, k, b, k, m, n, k, 0.7, false)
		GemmNT(parts, n, a, k, b, k, m, n, half, 0.7, false)
		GemmNT(parts, n, a[half:], k, b[half:], k, m, n, k-half, 0.7, true)
		if !sameBits(whole, parts) {
			t.Error("two halves of the depth differ from the whole")
		}
	})
}

func TestRangesAddUpToTheWhole(t *testing.T) {
	const m, n, k, cut = 5, 150, 70, 96
	p := NewPool(2)
	defer p.Close()
	everyLevel(t, func(t *testing.T, l Level) {
		w := &Packed{N: n, K: k, Data: make([]float32, PackedLen(n, k))}
		Pack(w.Data, randomSlice(n*k), n, k)
		x := randomSlice(m * k)
		whole, parts := make([]float32, m*n), make([]float32, m*n)
		p.Forward(whole, n, x, k, w, m, false)
		p.ForwardRange(parts, n, x, k, w, 0, cut, m, false)
		p.ForwardRange(parts[cut:], n, x, k, w, cut, n, m, false)
		if !sameBits(whole, parts) {
			t.Error("forward ranges differ from the whole")
		}
		dx, dxParts := make([]float32, m*k), make([]float32, m*k)
		p.Backward(dx, k, whole, n, w, m, false)
		p.BackwardRange(dxParts, k, whole, n, w, 0, cut, m, false)
		p.BackwardRange(dxParts, k, whole[cut:], n, w, cut, n, m, true)
		if !sameBits(dx, dxParts) {
			t.Error("backward ranges differ from the whole")
		}
	})
}

// TestProductsAgainstFloat64 holds every level to the bound of the package
// comment, at the shapes of attention, of LoRA and of odd sizes.
func TestProductsAgainstFloat64(t *testing.T) {
	shapes := [][3]int{{1, 64, 129}, {3, 5, 1000}, {16, 33, 577}, {31, 8, 64}, {64, 4, 100}, {2, 100, 1}, {30, 130, 385}}
	p := NewPool(2)
	defer p.Close()
	everyLevel(t, func(t *testing.T, l Level) {
		for _, s := range shapes {
			m, n, k := s[0], s[1], s[2]
			a, b := randomSlice(m*k), randomSlice(n*k)
			c := randomSlice(m * n)
			got := append([]float32(nil), c...)
			const alpha = 0.37
			p.NT(got, n, a, k, b, k, m, n, k, alpha, true)
			for i := range m {
				for j := range n {
					want, size := float64(c[i*n+j]), math.Abs(float64(c[i*n+j]))
					for q := range k {
						v := float64(a[i*k+q]) * alpha * float64(b[j*k+q])
						want += v
						size += math.Abs(v)
					}
					if d := math.Abs(float64(got[i*n+j]) - want); d > 2*float64(k+1)*0x1p-24*size {
						t.Fatalf("%dx%dx%d: element %d,%d is off by %g", m, n, k, i, j, d)
					}
				}
			}
		}
	})
}

func TestEmptyProducts(t *testing.T) {
	everyLevel(t, func(t *testing.T, l Level) {
		for _, acc := range []bool{false, true} {
			c := []float32{1, 2, 3, 4, 5, 6}
			GemmNN(c, 3, nil, 0, nil, 3, 2, 3, 0, 1, acc)
			if want := fmt.Sprint([]float32{1, 2, 3, 4, 5, 6}); acc && fmt.Sprint(c) != want {
				t.Errorf("adding nothing gives %v", c)
			}
			if !acc && !sameBits(c, make([]float32, 6)) {
				t.Errorf("an empty sum is %v", c)
			}
			tall := randomSlice(70)
			want := make([]float32, len(tall)) // more than a strip of rows
			if acc {
				copy(want, tall)
			}
			if GemmNN(tall, 1, nil, 0, nil, 1, 70, 1, 0, 1, acc); !sameBits(tall, want) {
				t.Errorf("acc %v: 70 empty sums are %v", acc, tall)
			}
			GemmNN(nil, 3, nil, 0, nil, 3, 0, 3, 4, 1, acc)
			GemmNN(nil, 3, nil, 4, nil, 3, 2, 0, 4, 1, acc)
		}
	})
}

func TestShortOperandsPanic(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	const m, n, k = 64, 64, 64
	full := make([]float32, m*n)
	w := &Packed{N: n, K: k, Data: make([]float32, PackedLen(n, k))}
	short := &Packed{N: n, K: k, Data: w.Data[1:]}
	calls := map[string]func(){
		"result":  func() { p.Forward(full[1:], n, full, k, w, m, false) },
		"input":   func() { p.Forward(full, n, full[1:], k, w, m, false) },
		"weights": func() { p.Backward(full, k, full, n, short, m, false) },
		"b":       func() { GemmNT(full, n, full, k, full[1:], k, m, n, k, 1, false) },
		"ldc":     func() { GemmNT(full, n-1, full, k, full, k, m, n, k, 1, false) },
		"range":   func() { p.ForwardRange(full, n, full, k, w, 16, 64, m, false) },
	}
	for name, f := range calls {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a short %s is accepted", name)
				}
			}()
			f()
		}()
	}
	p.Forward(full, n, full, k, w, m, false) // the pool is still good
}

// What strips fetch is asked for whole: a piece by the strips of a column, the rows of the
// next group by the strips of all panels before it, a row each.
func TestStripsShareWhatTheyFetch(t *testing.T) {
	lines := func(asked map[int]bool, s share, n, k int) {
		for ask := range k / 2 {
			asked[(s.at+n*s.each+ask*s.step)/line] = true
		}
	}
	for _, x := range []struct{ n, strips, k int }{{3072, 6, 288}, {100, 4, 64}, {3072, 1, 32}, {6 * 144 * line, 6, 288}} {
		asked := map[int]bool{}
		s := spread(x.n, x.strips, x.k)
		for n := range x.strips {
			lines(asked, s, n, x.k)
		}
		most := x.strips * (x.k / 2) // one line for every two k's
		if want := min((x.n+line-1)/line, most); len(asked) < want {
			t.Errorf("%+v: %d of %d lines are asked for", x, len(asked), want)
		}
	}
	const i, k0, kn, rows, rs = 42, 288, 288, 40, 640
	g := &product{rs: rs, ks: 1, a: make([]float32, (i+rows)*rs)}
	asked := map[int]bool{}
	for used := 0; used < 4*14; used += 14 { // 4 panels, 7 strips by two halves
		s := g.nextRows(i, k0, kn, rows, used)
		for n := 0; n < 14 && n < s.end; n++ {
			if part, _, _ := s.strip(g.a, n); part != nil {
				lines(asked, s, n, kn)
			}
		}
	}
	for row := i; row < i+rows; row++ {
		for k := k0; k < k0+kn; k += line {
			if !asked[(row*rs+k)/line] {
				t.Fatalf("row %d from depth %d on is not asked for", row, k)
			}
		}
	}
	if len(asked) != rows*kn/line {
		t.Errorf("%d lines are asked for where the rows have %d", len(asked), rows*kn/line)
	}
	g.ks = 640
	if s := g.nextRows(i, k0, kn, rows, 0); s != (share{}) {
		t.Error("rows that are columns are asked for as rows")
	}
}
