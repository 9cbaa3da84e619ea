package kernel

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"slices"
	"testing"
)

// fuses says whether a level fuses the multiply and the add of a chain.
func fuses(l Level) bool { return l != LevelGo }

// fma32 is a*b + c, rounded once: the product is exact in float64, and a sum
// rounded to odd there may be rounded again.
func fma32(a, b, c float32) float32 {
	p, z := float64(a)*float64(b), float64(c)
	s := p + z
	back := s - p
	if lost := (p - (s - back)) + (z - back); lost != 0 && math.Float64bits(s)&1 == 0 {
		away := math.Inf(-1)
		if lost > 0 {
			away = math.Inf(1)
		}
		s = math.Nextafter(s, away)
	}
	return float32(s)
}

// TestChains holds every element of every product, at every level, to the chain
// of the package comment, bit by bit.
func TestChains(t *testing.T) {
	everyLevel(t, func(t *testing.T, l Level) {
		step := func(s, a, b float32) float32 { return s + float32(a*b) }
		if fuses(l) {
			step = func(s, a, b float32) float32 { return fma32(a, b, s) }
		}
		p := NewPool(1)
		defer p.Close()
		c := check{state: 21}
		for _, s := range [][3]int{{1, 16, 3}, {2, 33, 40}, {5, 15, 7}, {6, 32, 64}, {7, 70, 33}, {13, 31, 400}, {14, 9, 19}, {29, 64, 5}} {
			m, n, k := s[0], s[1], s[2]
			a, b, tall, turned := c.filled(m*k).x, c.filled(n*k).x, make([]float32, m*k), make([]float32, n*k)
			for q := range k {
				for i := range m {
					tall[q*m+i] = a[i*k+q]
				}
				for j := range n {
					turned[q*n+j] = b[j*k+q]
				}
			}
			weights, flat := &Packed{N: n, K: k, Data: make([]float32, PackedLen(n, k))}, &Packed{N: k, K: n, Data: make([]float32, PackedLen(k, n))}
			Pack(weights.Data, b, n, k)
			Pack(flat.Data, turned, k, n)
			old := c.filled(m * n)
			for name, g := range map[string]struct {
				alpha float32
				run   func(y []float32, acc bool)
			}{
				"Forward":  {1, func(y []float32, acc bool) { p.Forward(y, n, a, k, weights, m, acc) }},
				"Backward": {1, func(y []float32, acc bool) { p.Backward(y, n, a, k, flat, m, acc) }},
				"NT":       {0.3, func(y []float32, acc bool) { GemmNT(y, n, a, k, b, k, m, n, k, 0.3, acc) }},
				"NN":       {0.7, func(y []float32, acc bool) { GemmNN(y, n, a, k, turned, n, m, n, k, 0.7, acc) }},
				"TN":       {1, func(y []float32, acc bool) { GemmTN(y, n, tall, m, turned, n, m, n, k, 1, acc) }},
				"of rows": {0.3, func(y []float32, acc bool) {
					deep := (k + 15) &^ 15
					panels := make([]float32, PackedLen(n, deep))
					for j := 0; j < n; j += Panel {
						PanelsOfRows(panels[j*deep:], b[j*k:], k, min(Panel, n-j), k, 0.3)
					}
					GemmPanels(y, n, a, k, panels, deep, m, n, k, acc)
				}},
				"of depth": {0.7, func(y []float32, acc bool) {
					panels := make([]float32, PackedLen(n, k+5))
					PanelsOfDepth(panels[2*Panel:], k+5, turned, n, k, n, 0.7)
					GemmPanels(y, n, a, k, panels[2*Panel:], k+5, m, n, k, acc)
				}},
				"Panels": {1, func(y []float32, acc bool) { weights.Panels(y, n, a, k, m, 0, (n+Panel-1)/Panel, acc) }},
			} {
				for _, acc := range []bool{false, true} {
					got := old.clone()
					g.run(got.x, acc)
					for i := range m {
						for j := range n {
							s := float32(0)
							if acc {
								s = old.x[i*n+j]
							}
							for q := range k {
								s = step(s, a[i*k+q], g.alpha*b[j*k+q])
							}
							if math.Float32bits(got.x[i*n+j]) != math.Float32bits(s) {
								t.Fatalf("%s %dx%dx%d, add %v: element %d,%d is %v, the chain gives %v", name, m, n, k, acc, i, j, got.x[i*n+j], s)
							}
						}
					}
					if got.broken() {
						t.Fatalf("%s %dx%dx%d: writes outside of its result", name, m, n, k)
					}
				}
			}
		}
	})
}

// digest is a hash of bits in which every NaN is the same.
type digest uint64

func (d *digest) add(x ...float32) {
	h := fnv.New64a()
	b := binary.LittleEndian.AppendUint64(nil, uint64(*d))
	for _, v := range x {
		if v != v {
			v = float32(math.NaN())
		}
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	h.Write(b)
	*d = digest(h.Sum64())
}

func (d *digest) add64(v float64) {
	b := math.Float64bits(v)
	if v != v {
		b = 0
	}
	d.add(math.Float32frombits(uint32(b)), math.Float32frombits(uint32(b>>32)))
}

// recorded are digests of what vector functions give, of AVX2 and of Go. NEON
// must give those of AVX2; Go must give its own on every processor, which shows
// that no compiler fuses what it must not. Zero: none is recorded, for the
// exponential of Go's library is another one on each processor.
var recorded = []struct {
	name       string
	avx2, pure digest
	run        func(t *table, d *digest, x func() []float32)
}{
	{"dot", 0xb53f7ee9db711fe7, 0xe8d96a84f9f6d454, func(t *table, d *digest, x func() []float32) { d.add(t.dot(x(), x())) }},
	{"axpy", 0xb86c9b7f05b47f63, 0xd9f8d336b995175, func(t *table, d *digest, x func() []float32) { y := x(); t.axpy(y, x(), 0.37); d.add(y...) }},
	{"add", 0xebda694950406931, 0xebda694950406931, func(t *table, d *digest, x func() []float32) { y := x(); t.add(y, x()); d.add(y...) }},
	{"scale", 0xa5c72ffbd971c31e, 0xa5c72ffbd971c31e, func(t *table, d *digest, x func() []float32) { y := x(); t.scale(y, 0.37); d.add(y...) }},
	{"sumSquares", 0x65d6e5a3844a48dc, 0xb094a2d676ce4f0c, func(t *table, d *digest, x func() []float32) { d.add64(t.sumSquares(x())) }},
	{"dot3", 0xc54e260816048ae5, 0x14b0188853a9e412, func(t *table, d *digest, x func() []float32) { d.add64(t.dot3(x(), x(), x())) }},
	{"max", 0x7b3bcb4d9a8ad93d, 0x7b3bcb4d9a8ad93d, func(t *table, d *digest, x func() []float32) { d.add(t.max(x())) }},
	{"normApply", 0x46d4521beb56ca7d, 0x46d4521beb56ca7d, func(t *table, d *digest, x func() []float32) { y := x(); t.normApply(y, x(), x(), 1.7); d.add(y...) }},
	{"normBack", 0xd014b45cf7b8aeea, 0x90dc32dc898032be, func(t *table, d *digest, x func() []float32) {
		y := x()
		t.normBack(y, x(), x(), x(), 1.7, 0.21)
		d.add(y...)
	}},
	{"rotate", 0x2cc9310b0a42b328, 0xb60cc59125c99d17, func(t *table, d *digest, x func() []float32) {
		lo, hi := x(), x()
		t.rotate(lo, hi, x(), x())
		d.add(slices.Concat(lo, hi)...)
	}},
	{"rotateBack", 0xa77b3b5a4ff14452, 0xa6696314655a1740, func(t *table, d *digest, x func() []float32) {
		lo, hi := x(), x()
		t.rotateBack(lo, hi, x(), x())
		d.add(slices.Concat(lo, hi)...)
	}},
	{"expSub", 0xf1bf944ee4f84132, 0, func(t *table, d *digest, x func() []float32) {
		for _, y := range [][]float32{x(), wide(x())} {
			d.add64(t.expSub(y, y, 0.3))
			d.add(y...)
		}
	}},
	{"softmaxBack", 0xc20cfde4cce015e2, 0, func(t *table, d *digest, x func() []float32) {
		p, dp := wide(x()), x()
		t.softmaxBack(p, dp, 0.3, 0.21)
		d.add(slices.Concat(p, dp)...)
	}},
	{"siluMul", 0x735fb57cb496b3be, 0, func(t *table, d *digest, x func() []float32) {
		y := x()
		t.siluMul(y, wide(x()), x())
		d.add(y...)
	}},
	{"siluMulBack", 0xd051dd0c668c3d3f, 0, func(t *table, d *digest, x func() []float32) {
		a, b := x(), x()
		t.siluMulBack(a, b, x(), wide(x()), x())
		d.add(slices.Concat(a, b)...)
	}},
}

// wide spreads values over the range of the exponential and beyond, and puts
// the ones that are special among them.
func wide(x []float32) []float32 {
	special := []float32{float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), 88.5, 88.8, -87.2, -87.4, 1e30, -1e30, 0}
	for i := range x {
		x[i] *= 95
		if i%7 == 3 {
			x[i] = special[i/7%len(special)]
		}
	}
	return x
}

func TestRecordedBits(t *testing.T) {
	everyLevel(t, func(t *testing.T, l Level) {
		if l != LevelAVX2 && l != LevelNEON && l != LevelGo {
			t.Skip("other bits are recorded")
		}
		for _, r := range recorded {
			c, got := check{state: 77}, digest(0)
			for _, n := range lengths() {
				r.run(tableOf(l), &got, func() []float32 { return c.filled(n).x })
			}
			want := r.avx2
			if l == LevelGo {
				want = r.pure
			}
			if want != 0 && got != want {
				t.Errorf("%s: bits %#x, recorded are %#x", r.name, got, want)
			}
		}
	})
}
