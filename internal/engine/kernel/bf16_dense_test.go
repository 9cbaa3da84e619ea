package kernel

import (
	"math"
	"testing"
)

// TestDenseBF16SameBits is TestSameBitsForAnyM for dense products in bfloat16.
func TestDenseBF16SameBits(t *testing.T) {
	const most, n, k, gap = 70, 41, 1100, 3
	c := check{state: 12}
	x, tall, w, turned := c.filled(most*(k+gap)).x, c.filled(most*k).x, c.filled(n*k).x, c.filled(n*k).x
	products := map[string]func(p *Pool, y []float32, m int, acc bool){
		"NT": func(p *Pool, y []float32, m int, acc bool) { p.HalfNT(y, n+gap, x, k+gap, w, k, m, n, k, 0.3, acc) },
		"NN": func(p *Pool, y []float32, m int, acc bool) { p.HalfNN(y, n+gap, x, k+gap, turned, n, m, n, k, 1, acc) },
		"TN": func(p *Pool, y []float32, m int, acc bool) {
			p.HalfTN(y, n+gap, tall, most, turned, n, m, n, k, 0.3, acc)
		},
		"fine NT": func(_ *Pool, y []float32, m int, acc bool) { HalfNT(y, n+gap, x, k+gap, w, k, m, n, k, 0.3, acc, true) },
	}
	pools := []*Pool{NewPool(1), NewPool(2), NewPool(4)}
	for _, p := range pools {
		defer p.Close()
	}
	everyBF16Level(t, func(t *testing.T, l Level) {
		for name, run := range products {
			for _, acc := range []bool{false, true} {
				old := newGuarded(most * (n + gap))
				for i := range most {
					for j := range n {
						old.x[i*(n+gap)+j] = float32(i-j) / 64
					}
				}
				want := old.clone()
				run(pools[0], want.x, most, acc)
				for _, m := range []int{1, 15, 31, 33, 64, 69} {
					for _, p := range pools {
						got := old.clone()
						run(p, got.x, m, acc)
						rows := m * (n + gap)
						if !sameBits(got.x[:rows], want.x[:rows]) || !sameBits(got.x[rows:], old.x[rows:]) || got.broken() {
							t.Fatalf("%s acc %v: %d rows on %d threads differ from the same rows among %d", name, acc, m, p.Threads(), most)
						}
					}
				}
			}
		}
	})
}

// TestDenseBF16AgainstFloat64: a dense product is the sum of rounded operands, a
// fine one nearly that of the left operand itself and the rounded right one.
func TestDenseBF16AgainstFloat64(t *testing.T) {
	round := func(v float32) float64 { return float64(floatBF16(roundBF16(v))) }
	everyBF16Level(t, func(t *testing.T, l Level) {
		for _, s := range [][3]int{{1, 64, 64}, {33, 40, 100}, {20, 33, 1100}} {
			m, n, k := s[0], s[1], s[2]
			x, w, got, close := randomSlice(m*k), randomSlice(n*k + 1)[1:], make([]float32, m*n), make([]float32, m*n)
			HalfNT(got, n, x, k, w, k, m, n, k, 1, false, false)
			HalfNT(close, n, x, k, w, k, m, n, k, 1, false, true)
			for i := range m {
				for j := range n {
					var half, whole, size float64
					for q := range k {
						half += round(x[i*k+q]) * round(w[j*k+q])
						whole += float64(x[i*k+q]) * round(w[j*k+q])
						size += math.Abs(float64(x[i*k+q]) * float64(w[j*k+q]))
					}
					sums := 2 * float64(3*k+2) * 0x1p-24 * size
					if d := math.Abs(float64(got[i*n+j]) - half); d > sums {
						t.Fatalf("%dx%dx%d: element %d,%d is off by %g", m, n, k, i, j, d)
					}
					if d := math.Abs(float64(close[i*n+j]) - whole); d > sums+0x1p-15*size {
						t.Fatalf("fine %dx%dx%d: element %d,%d is off by %g", m, n, k, i, j, d)
					}
				}
			}
		}
	})
}

func TestDenseBF16EdgesAndAllocations(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	everyBF16Level(t, func(t *testing.T, l Level) {
		const m, n, k = 33, 70, 96
		x, w, y := randomSlice(m*k), randomSlice(n*k), make([]float32, m*n)
		if got := testing.AllocsPerRun(20, func() {
			p.HalfNT(y, n, x, k, w, k, m, n, k, 1, false)
			p.HalfNN(y, n, x, k, w, n, m, n, k, 1, false)
			p.HalfTN(y, n, x, m, w, n, m, n, k, 1, true)
			HalfNT(y, n, x, k, w, k, m, n, k, 1, false, true)
		}); got != 0 {
			t.Errorf("dense products allocate %v times", got)
		}
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
			for _, fine := range []bool{false, true} {
				x := randomSlice(m * k)
				x[5*k+k-1] = bad
				HalfNT(y, n, x, k, w, k, m, n, k, 1, false, fine)
				for i := range m {
					v := float64(y[i*n+n-1])
					if finite := !math.IsNaN(v) && !math.IsInf(v, 0); finite == (i == 5) {
						t.Fatalf("%v in row 5: row %d has %v", bad, i, v)
					}
				}
			}
		}
		for i := range y {
			y[i] = 1
		}
		if p.HalfNN(y, n, nil, 0, nil, n, m, n, 0, 1, true); y[0] != 1 || y[m*n-1] != 1 {
			t.Error("adding nothing changes the result")
		}
		if p.HalfNN(y, n, nil, 0, nil, n, m, n, 0, 1, false); !sameBits(y, make([]float32, m*n)) {
			t.Error("an empty sum is not zero")
		}
		defer func() {
			if recover() == nil {
				t.Error("a short operand is accepted")
			}
		}()
		p.HalfNT(y, n, x[1:], k, w, k, m, n, k, 1, false)
	})
}

// TestRoundedOnce: activations that were rounded before have the bits of those
// that a product rounds.
func TestRoundedOnce(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	everyBF16Level(t, func(t *testing.T, l Level) {
		const m, n, k, low = 70, 300, 90, 16
		x, dy, b, w := randomSlice(m*k), randomSlice(m*n), randomSlice(n*low), packedBF16(randomSlice(n*k), n, k)
		same := func(name string, width int, rounded, plain func(c []float32, acc bool)) {
			got, want := make([]float32, m*width), make([]float32, m*width)
			for _, acc := range []bool{false, true} {
				rounded(got, acc)
				plain(want, acc)
				if !sameBits(got, want) {
					t.Errorf("%s, acc %v: other bits", name, acc)
				}
			}
		}
		r := p.Round(x, k, m, k)
		same("forward", n, func(c []float32, acc bool) { p.ForwardRounded(c, n, &r, w, acc) }, func(c []float32, acc bool) { p.Forward(c, n, x, k, w, m, acc) })
		r.Release()
		r = p.Round(dy, n, m, n)
		same("backward", k, func(c []float32, acc bool) { p.BackwardRounded(c, k, &r, w, acc) }, func(c []float32, acc bool) { p.Backward(c, k, dy, n, w, m, acc) })
		same("dense", low, func(c []float32, acc bool) { p.RoundedNN(c, low, &r, b, low, low, 2, acc) }, func(c []float32, acc bool) { p.HalfNN(c, low, dy, n, b, low, m, low, n, 2, acc) })
		r.Release()
		if got := testing.AllocsPerRun(20, func() {
			r := p.Round(x, k, m, k)
			p.ForwardRounded(dy, n, &r, w, false)
			r.Release()
		}); got != 0 {
			t.Errorf("rounding once allocates %v times", got)
		}
		defer func() {
			if recover() == nil {
				t.Error("activations of another width are accepted")
			}
		}()
		r = p.Round(x, k, m, k-1)
		p.ForwardRounded(dy, n, &r, w, false)
	})
}
