package kernel

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// everyLevel runs f as a subtest of every level of this machine.
func everyLevel(t *testing.T, f func(t *testing.T, l Level)) {
	defer Use(Active())
	for _, l := range Detect() {
		Use(l)
		t.Run(l.String(), func(t *testing.T) { f(t, l) })
	}
}

// sameBits compares two slices bit by bit.
func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// lengths are odd and even, shorter and longer than any register, and with
// every remainder of 16.
func lengths() []int {
	var n []int
	for i := range 50 {
		n = append(n, i)
	}
	return append(n, 63, 64, 65, 576, 1001)
}

func TestLevelNames(t *testing.T) {
	for _, l := range []Level{LevelGo, LevelAVX2, LevelAVX512, LevelAVX512BF16, LevelAMX, LevelNEON} {
		if got, err := ParseLevel(l.String()); err != nil || got != l {
			t.Errorf("ParseLevel(%q) = %v, %v", l, got, err)
		}
	}
	if _, err := ParseLevel("sse"); err == nil {
		t.Error("ParseLevel accepts an unknown level")
	}
	if got := Level(7).String(); got != "Level(7)" {
		t.Errorf("unknown level prints %q", got)
	}
}

func TestDetectEndsWithGo(t *testing.T) {
	d := Detect()
	if d[len(d)-1] != LevelGo || !slices.IsSortedFunc(d, func(a, b Level) int { return int(b - a) }) {
		t.Errorf("Detect() = %v", d)
	}
	t.Logf("levels: %v", d)
}

func TestUseRefusesAMissingLevel(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Use accepted a level that does not exist")
		}
	}()
	Use(Level(7))
}

func TestSelfTestPasses(t *testing.T) {
	for _, l := range Detect() {
		if err := SelfTest(l); err != nil {
			t.Error(err)
		}
	}
	if SelfTest(Level(7)) == nil {
		t.Error("a missing level passes")
	}
}

// past is the address of x[n] whatever the length: assembly has no bounds.
func past(x []float32, n int) *float32 {
	return (*float32)(unsafe.Add(unsafe.Pointer(&x[0]), 4*n))
}

// TestSelfTestCatchesBrokenKernels breaks one function of a good table at a
// time, as subtly as a wrong mask or a lost lane would.
func TestSelfTestCatchesBrokenKernels(t *testing.T) {
	broken := map[string]func(b *table, good table){
		"tile loses one product at odd depth": func(b *table, good table) {
			b.tile = func(c []float32, ldc int, a []float32, rs, ks int, bb []float32, bs, k, rows, cols int, pile pile, soon soon, acc bool) {
				if k > 1 && k%2 == 1 {
					k--
				}
				good.tile(c, ldc, a, rs, ks, bb, bs, k, rows, cols, pile, soon, acc)
			}
		},
		"tile ignores acc": func(b *table, good table) {
			b.tile = func(c []float32, ldc int, a []float32, rs, ks int, bb []float32, bs, k, rows, cols int, pile pile, soon soon, acc bool) {
				good.tile(c, ldc, a, rs, ks, bb, bs, k, rows, cols, pile, soon, false)
			}
		},
		"tile writes a column too many": func(b *table, good table) {
			b.tile = func(c []float32, ldc int, a []float32, rs, ks int, bb []float32, bs, k, rows, cols int, pile pile, soon soon, acc bool) {
				good.tile(c, ldc, a, rs, ks, bb, bs, k, rows, cols, pile, soon, acc)
				if cols < Panel {
					*past(c, cols) = 0
				}
			}
		},
		"tile repeats a row": func(b *table, good table) {
			b.tile = func(c []float32, ldc int, a []float32, rs, ks int, bb []float32, bs, k, rows, cols int, pile pile, soon soon, acc bool) {
				good.tile(c, ldc, a, rs, ks, bb, bs, k, rows, cols, pile, soon, acc)
				if rows == good.rows {
					copy(c[(rows-1)*ldc:][:cols], c[(rows-2)*ldc:][:cols])
				}
			}
		},
		"tile gives every strip the rows of the first": func(b *table, good table) {
			b.tile = func(c []float32, ldc int, a []float32, rs, ks int, bb []float32, bs, k, rows, cols int, pile pile, soon soon, acc bool) {
				pile.apart = 0
				good.tile(c, ldc, a, rs, ks, bb, bs, k, rows, cols, pile, soon, acc)
			}
		},
		"turn swaps two": func(b *table, good table) {
			b.turn = func(dst, src []float32, lds, rows, cols int, alpha float32) {
				good.turn(dst, src, lds, rows, cols, alpha)
				if rows > 15 {
					dst[14], dst[15] = dst[15], dst[14]
				}
			}
		},
		"stand swaps two": func(b *table, good table) {
			b.stand = func(dst, src []float32, lds, depth, rows int) {
				good.stand(dst, src, lds, depth, rows)
				if depth > 15 && rows > 2 {
					dst[14*good.apart+1], dst[14*good.apart+2] = dst[14*good.apart+2], dst[14*good.apart+1]
				}
			}
		},
		"stand loses the last of an odd depth": func(b *table, good table) {
			b.stand = func(dst, src []float32, lds, depth, rows int) {
				good.stand(dst, src, lds, depth, rows)
				if depth > 1 && depth%2 == 1 {
					copy(dst[(depth-1)*good.apart:][:rows], dst[(depth-2)*good.apart:][:rows])
				}
			}
		},
		"gather forgets alpha": func(b *table, good table) {
			b.gather = func(dst, src []float32, lds, rows, cols int, alpha float32) {
				good.gather(dst, src, lds, rows, cols, 1)
			}
		},
		"dot loses the tail": func(b *table, good table) {
			b.dot = func(x, y []float32) float32 { n := len(x) &^ 7; return good.dot(x[:n], y[:n]) }
		},
		"axpy writes past the end": func(b *table, good table) {
			b.axpy = func(y, x []float32, a float32) { good.axpy(y, x, a); *past(y, len(y)) = 0 }
		},
		"add subtracts": func(b *table, good table) {
			b.add = func(y, x []float32) { good.axpy(y, x, -1) }
		},
		"scale squares": func(b *table, good table) {
			b.scale = func(x []float32, a float32) { good.scale(x, a*a) }
		},
		"sumSquares in float32": func(b *table, good table) {
			b.sumSquares = func(x []float32) float64 { return float64(good.dot(x, x)) }
		},
		"dot3 without the third": func(b *table, good table) {
			b.dot3 = func(x, y, z []float32) float64 { return float64(good.dot(x, y)) }
		},
		"normApply forgets the weight": func(b *table, good table) {
			b.normApply = func(y, x, w []float32, inv float32) { good.normApply(y, x, x, inv) }
		},
		"normBack overwrites": func(b *table, good table) {
			b.normBack = func(dx, dy, x, w []float32, inv, c float32) { clear(dx); good.normBack(dx, dy, x, w, inv, c) }
		},
		"siluMul without up": func(b *table, good table) {
			b.siluMul = func(out, gate, up []float32) { good.siluMul(out, gate, gate) }
		},
		"siluMulBack swaps its results": func(b *table, good table) {
			b.siluMulBack = func(dg, du, d, g, u []float32) { good.siluMulBack(du, dg, d, g, u) }
		},
		"rotate the wrong way": func(b *table, good table) { b.rotate = good.rotateBack },
		"rotateBack does nothing": func(b *table, good table) {
			b.rotateBack = func(lo, hi, cos, sin []float32) {}
		},
		"exp loses NaN": func(b *table, good table) {
			b.expSub = func(y, x []float32, c float32) float64 {
				s := good.expSub(y, x, c)
				for i := range y {
					if y[i] != y[i] {
						y[i] = 0
					}
				}
				return s
			}
		},
		"exp sums wrongly": func(b *table, good table) {
			b.expSub = func(y, x []float32, c float32) float64 { return good.expSub(y, x, c) + 0.1 }
		},
		"softmaxBack keeps scores": func(b *table, good table) {
			b.softmaxBack = func(p, dp []float32, lse, d float32) {
				old := slices.Clone(p)
				good.softmaxBack(p, dp, lse, d)
				copy(p, old)
			}
		},
		"max starts at zero": func(b *table, good table) {
			b.max = func(x []float32) float32 { return max(0, good.max(x)) }
		},
	}
	for _, l := range Detect() {
		for name, plant := range broken {
			good := *tableOf(l)
			if good.stand == nil && strings.HasPrefix(name, "stand ") {
				continue // this level has none
			}
			bad := good
			plant(&bad, good)
			if err := selfTest(&bad); err == nil {
				t.Errorf("%v: self-test passes although %s", l, name)
			} else if !strings.Contains(err.Error(), l.String()) {
				t.Errorf("error does not name the level: %v", err)
			}
		}
	}
}

func TestPackAndRow(t *testing.T) {
	for _, s := range [][2]int{{1, 1}, {31, 5}, {32, 64}, {33, 7}, {100, 50}} {
		n, k := s[0], s[1]
		w := randomSlice(n * k)
		p := Packed{N: n, K: k, Data: newGuarded(PackedLen(n, k)).x}
		Pack(p.Data, w, n, k)
		row := make([]float32, k)
		for i := range n {
			p.Row(row, i)
			if !sameBits(row, w[i*k:(i+1)*k]) {
				t.Fatalf("row %d of [%d, %d] differs", i, n, k)
			}
		}
		for i := n; i%Panel != 0; i++ {
			p.Row(row, i)
			if !sameBits(row, make([]float32, k)) {
				t.Fatalf("padding row %d of [%d, %d] is not zero", i, n, k)
			}
		}
	}
}

// TestVectorsAtEveryLength runs the self-test's vector checks at every length,
// zero included, for the tables that the product uses.
func TestVectorsAtEveryLength(t *testing.T) {
	everyLevel(t, func(t *testing.T, l Level) {
		c := check{t: tableOf(l), state: 5}
		for _, n := range lengths() {
			c.sums(n)
			c.elementwise(n)
			c.fused(n)
			if c.err != nil {
				t.Fatalf("length %d: %v", n, c.err)
			}
		}
	})
}

// TestExpAccuracy compares exp with the correctly rounded one over its range.
func TestExpAccuracy(t *testing.T) {
	everyLevel(t, func(t *testing.T, l Level) {
		const n = 20000
		x, y := make([]float32, n), make([]float32, n)
		for i := range x {
			x[i] = -87.3 + float32(i)*(88.7+87.3)/n
		}
		ExpSub(y, x, 0)
		worst := 0.0
		for i, v := range x {
			want := math.Exp(float64(v))
			worst = max(worst, math.Abs(float64(y[i])-want)/want)
		}
		if worst > 1.3e-7 {
			t.Errorf("relative error %.3g", worst)
		}
		t.Logf("relative error %.3g", worst)
	})
}

func TestSoftmaxAndLogSumExp(t *testing.T) {
	inf := float32(math.Inf(1))
	everyLevel(t, func(t *testing.T, l Level) {
		for _, n := range []int{1, 2, 15, 33, 300, 1000} {
			x := randomSlice(n)
			for i := range x {
				x[i] *= 20
			}
			if n > 2 {
				x[1] = -inf
			}
			var sum float64
			for _, v := range x {
				sum += math.Exp(float64(v))
			}
			if got := LogSumExp(x); math.Abs(got-math.Log(sum)) > 1e-6 {
				t.Errorf("LogSumExp of %d is %v, want %v", n, got, math.Log(sum))
			}
			y := slices.Clone(x)
			Softmax(y)
			for i := range y {
				if want := math.Exp(float64(x[i])) / sum; math.Abs(float64(y[i])-want) > 3e-7 {
					t.Fatalf("Softmax of %d: element %d is %v, want %v", n, i, y[i], want)
				}
			}
			if n > 2 && y[1] != 0 {
				t.Error("a masked element has probability")
			}
		}
		if got := LogSumExp([]float32{-inf, -inf}); !math.IsInf(got, -1) {
			t.Errorf("LogSumExp of nothing is %v", got)
		}
		if got := LogSumExp([]float32{1, float32(math.NaN())}); got == got {
			t.Errorf("LogSumExp hides NaN: %v", got)
		}
	})
}

// TestNormGradient compares RMSNormBackward with differences of RMSNorm.
func TestNormGradient(t *testing.T) {
	everyLevel(t, func(t *testing.T, l Level) {
		const n, eps, h = 37, 1e-5, 1e-2
		c := check{state: 3}
		x, w, dy := c.filled(n).x, c.filled(n).x, c.filled(n).x
		y, dx := make([]float32, n), make([]float32, n)
		loss := func() float64 {
			RMSNorm(y, x, w, eps)
			s := 0.0
			for i := range y {
				s += float64(y[i]) * float64(dy[i])
			}
			return s
		}
		inv := RMSNorm(y, x, w, eps)
		RMSNormBackward(dx, dy, x, w, inv)
		for i := range x {
			v := x[i]
			x[i] = v + h
			up := loss()
			x[i] = v - h
			down := loss()
			x[i] = v
			if d := (up - down) / (2 * h); math.Abs(d-float64(dx[i])) > 2e-3 {
				t.Errorf("gradient %d is %v, differences say %v", i, dx[i], d)
			}
		}
	})
}

func TestRopeBackwardUndoesRope(t *testing.T) {
	everyLevel(t, func(t *testing.T, l Level) {
		const d = 64
		x := randomSlice(d)
		want := slices.Clone(x)
		cos, sin := make([]float32, d/2), make([]float32, d/2)
		for i := range cos {
			s, c := math.Sincos(float64(i) * 0.7)
			sin[i], cos[i] = float32(s), float32(c)
		}
		Rope(x, cos, sin)
		if got := x[1]; math.Abs(float64(got-(want[1]*cos[1]-want[1+d/2]*sin[1]))) > 1e-6 {
			t.Errorf("x[1] is %v", got)
		}
		RopeBackward(x, cos, sin)
		for i := range x {
			if math.Abs(float64(x[i]-want[i])) > 1e-6 {
				t.Fatalf("element %d is %v, was %v", i, x[i], want[i])
			}
		}
	})
}

// TestProductsPropagateNaN checks that a NaN or an infinity reaches exactly the
// results that depend on it, for every row of a tile.
func TestProductsPropagateNaN(t *testing.T) {
	everyLevel(t, func(t *testing.T, l Level) {
		const n, k = 40, 19
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
			for m := 1; m <= 15; m++ {
				for row := range m {
					a, b, c := randomSlice(m*k), randomSlice(n*k), make([]float32, m*n)
					a[row*k+k-1] = bad
					GemmNT(c, n, a, k, b, k, m, n, k, 1, false)
					for i := range m {
						finite := !math.IsNaN(float64(c[i*n+n-1])) && !math.IsInf(float64(c[i*n+n-1]), 0)
						if finite == (i == row) {
							t.Fatalf("m %d: bad value in row %d, row %d is finite: %v", m, row, i, finite)
						}
					}
				}
			}
		}
	})
}

func TestHotCallsDoNotAllocate(t *testing.T) {
	everyLevel(t, func(t *testing.T, l Level) {
		const m, n, k = 33, 70, 96
		p := NewPool(2)
		defer p.Close()
		w := &Packed{N: n, K: k, Data: make([]float32, PackedLen(n, k))}
		x, y, z := randomSlice(m*k), randomSlice(m*n), randomSlice(n*k)
		add := func(_, lo, hi int) { Add(y[lo:hi], x[lo:hi]) }
		calls := map[string]func(){
			"Forward":  func() { p.Forward(y, n, x, k, w, m, false) },
			"Backward": func() { p.Backward(x, k, y, n, w, m, false) },
			"NT":       func() { p.NT(y, n, x, k, z, k, m, n, k, 1, false) },
			"GemmNT":   func() { GemmNT(y, n, x, k, z, k, m, n, k, 1, false) },
			"GemmTN":   func() { GemmTN(z, k, y, n, x, k, n, k, m, 1, false) },
			"Do":       func() { p.Do(m*n, 16, add) },
			"Softmax":  func() { Softmax(x) },
			"LSE":      func() { LogSumExp(x) },
			"RMSNorm":  func() { RMSNorm(x, x, z, 1e-5) },
		}
		for name, f := range calls {
			f()
			if got := testing.AllocsPerRun(50, f); got != 0 {
				t.Errorf("%s allocates %v times", name, got)
			}
		}
	})
}

func ExampleDetect() {
	for _, l := range Detect() {
		if SelfTest(l) == nil {
			Use(l)
			break
		}
	}
	fmt.Println(Active() == Detect()[0])
	// Output: true
}
