package kernel

import (
	"fmt"
	"math"
	"testing"
)

// codedAndPlain returns a matrix of random codes and the same weights in float32.
func codedAndPlain(c *check, coding Coding, n, k int) (coded, plain *Packed) {
	coded = &Packed{N: n, K: k, Coding: coding}
	plain = &Packed{N: n, K: k, Data: make([]float32, PackedLen(n, k))}
	for p := 0; p*Panel < n; p++ {
		panel := c.codes(coding, k)
		coded.Data = append(coded.Data, panel...)
		expandGo(plain.Data[p*k*Panel:], panel, coding, k)
	}
	return coded, plain
}

// A product does not depend on how its weights are held: the bits are those of the
// same weights in float32, whatever the number of rows, the threads, and what is added
// to, and so are looked-up rows and the bytes of int8.
func TestCodedWeightsGiveTheBitsOfFloat32(t *testing.T) {
	everyLevel(t, func(t *testing.T, _ Level) {
		pools := []*Pool{NewPool(1), NewPool(3)}
		for _, p := range pools {
			defer p.Close()
		}
		for _, coding := range codings {
			c := check{t: active, state: 31}
			shapes := [][3]int{{1, 32, 32}, {1, 100, 288}, {2, 96, 64}, {7, 40, 416}, {15, 65, 96}, {37, 130, 224}}
			if coding.Block == 0 { // of any depth
				shapes = append(shapes, [3]int{1, 33, 7}, [3]int{5, 70, 41}, [3]int{16, 64, 400}, [3]int{30, 36, 75})
			}
			for _, s := range shapes {
				m, n, k := s[0], s[1], s[2]
				coded, plain := codedAndPlain(&c, coding, n, k)
				x, dy := c.filled(m*k), c.filled(m*n)
				for i := range x.x { // codes of 16 bits are of any size: no sum may overflow
					x.x[i] *= 0x1p-60
				}
				for i := range dy.x {
					dy.x[i] *= 0x1p-60
				}
				name := fmt.Sprintf("%+v, %dx%dx%d", coding, m, n, k)
				same := func(what string, width int, run func(y []float32, w *Packed, acc bool)) {
					t.Helper()
					for _, acc := range []bool{false, true} {
						got := c.filled(m * width)
						want := got.clone()
						run(got.x, coded, acc)
						run(want.x, plain, acc)
						if !sameBits(got.all, want.all) {
							t.Errorf("%s of %s, add %v: not the bits of float32", what, name, acc)
						}
					}
				}
				for _, p := range pools {
					same("Forward", n, func(y []float32, w *Packed, acc bool) { p.Forward(y, n, x.x, k, w, m, acc) })
					same("Backward", k, func(y []float32, w *Packed, acc bool) { p.Backward(y, k, dy.x, n, w, m, acc) })
					from, to := Panel, min(2*Panel, n)
					if from < to {
						same("ForwardRange", n, func(y []float32, w *Packed, acc bool) { p.ForwardRange(y, n, x.x, k, w, from, to, m, acc) })
						same("BackwardRange", k, func(y []float32, w *Packed, acc bool) { p.BackwardRange(y, k, dy.x, n, w, from, to, m, acc) })
					}
				}
				same("Panels", n, func(y []float32, w *Packed, acc bool) {
					w.Panels(y, n, x.x, k, m, 0, (n+Panel-1)/Panel, acc)
				})
				row, want := make([]float32, k), make([]float32, k)
				for i := range n {
					coded.Row(row, i)
					plain.Row(want, i)
					if !sameBits(row, want) {
						t.Errorf("row %d of %s differs", i, name)
					}
				}
				if coding.Block > 0 {
					a, b := Quantize(coded), Quantize(plain)
					if !sameBits(a.Scale, b.Scale) || string(int8Bytes(a.Data)) != string(int8Bytes(b.Data)) {
						t.Errorf("%s rounds otherwise to int8", name)
					}
				}
			}
		}
	})
}

func int8Bytes(x []int8) []byte {
	b := make([]byte, len(x))
	for i, v := range x {
		b[i] = byte(v)
	}
	return b
}

// Every binary16 but infinity and NaN has the value that its bits say.
func TestFloatF16(t *testing.T) {
	for h := range 1 << 16 {
		sign, exponent, fraction := 1-2*float64(h>>15), h>>10&31, float64(h&0x3ff)
		if exponent == 31 {
			continue
		}
		want := sign * math.Ldexp(1+fraction/1024, exponent-15)
		if exponent == 0 {
			want = sign * math.Ldexp(fraction/1024, -14)
		}
		if got := FloatF16(uint16(h)); float64(got) != want || math.Signbit(float64(got)) != (h>>15 == 1) {
			t.Fatalf("%#04x is %g, want %g", h, got, want)
		}
	}
}

func TestCodings(t *testing.T) {
	for _, c := range []struct {
		coding Coding
		k      int
		valid  bool
	}{
		{Coding{}, 7, true}, {Coding{Kind: CodeBF16}, 7, true}, {Coding{Kind: Code4, Block: 32, Zero: 8}, 64, true}, {Coding{Kind: Code8, Block: 16}, 32, true},
		{Coding{Kind: Code4, Block: 32}, 48, false}, {Coding{Kind: Code4}, 64, false}, {Coding{Kind: Code4, Block: 8}, 64, false},
		{Coding{Kind: Code4, Block: 32, Zero: 16}, 64, false}, {Coding{Kind: Code4, Block: 32, Zero: -1}, 64, false},
		{Coding{Kind: Code8, Block: 32, Zero: 1}, 64, false}, {Coding{Kind: CodeF16, Block: 32}, 64, false}, {Coding{Kind: 9}, 64, false}, {Coding{Block: 32}, 64, false},
	} {
		if got := c.coding.Valid(c.k); got != c.valid {
			t.Errorf("%+v of depth %d: valid %v", c.coding, c.k, got)
		}
	}
	for kind := range codeNames {
		var again CodeKind
		text, err := CodeKind(kind).MarshalText()
		if err != nil || again.UnmarshalText(text) != nil || again != CodeKind(kind) {
			t.Errorf("kind %d is written %q and read %d", kind, text, again)
		}
	}
	if _, err := CodeKind(99).MarshalText(); err == nil {
		t.Error("kind 99 has a name")
	}
	if k := Plain; k.UnmarshalText([]byte("q3")) == nil {
		t.Error("q3 is a kind")
	}
}

// What a product asks for ahead does not change it, and a product takes all of it.
func TestAhead(t *testing.T) {
	everyLevel(t, func(t *testing.T, _ Level) {
		c := check{t: active, state: 8}
		const m, n, k = 20, 96, 64
		coded, _ := codedAndPlain(&c, codings[0], n, k)
		x, got := c.filled(m*k), c.filled(m*n)
		want := got.clone()
		asked := 0
		ahead := &Ahead{Next: func() []float32 {
			if asked++; asked > 2 {
				return nil
			}
			return make([]float32, 100)
		}}
		coded.PanelsAhead(got.x, n, x.x, k, m, 0, 3, false, ahead)
		coded.Panels(want.x, n, x.x, k, m, 0, 3, false)
		if !sameBits(got.all, want.all) {
			t.Error("asking ahead changes the bits")
		}
		if asked != 3 { // two pieces and that there are no more, which is not asked again
			t.Errorf("%d pieces were asked for", asked)
		}
	})
}

// In bfloat16 too a product does not depend on how its weights are held.
func TestCodedWeightsInBF16(t *testing.T) {
	everyBF16Level(t, func(t *testing.T, _ Level) {
		for _, coding := range codings {
			c := check{t: active, state: 37}
			for _, s := range [][3]int{{1, 32, 32}, {1, 100, 288}, {1, 64, 1536}, {3, 96, 64}, {33, 40, 96}} {
				m, n, k := s[0], s[1], s[2]
				coded, plain := codedAndPlain(&c, coding, n, k)
				plain.BF16 = make([]uint16, BF16Len(n, k))
				PackBF16(plain.BF16, plain.Data, n, k)
				coded.BF16 = plain.BF16
				x := c.filled(m * k)
				for _, acc := range []bool{false, true} {
					got := c.filled(m * n)
					want := got.clone()
					panels := (n + Panel - 1) / Panel
					coded.Panels(got.x, n, x.x, k, m, 0, panels, acc)
					plain.Panels(want.x, n, x.x, k, m, 0, panels, acc)
					if !sameBits(got.all, want.all) {
						t.Errorf("%+v, %dx%dx%d, add %v: not the bits of the rounded weights", coding, m, n, k, acc)
					}
				}
			}
		}
	})
}
