package kernel

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// everyBF16Level runs f as a subtest of every level that multiplies bfloat16 here.
func everyBF16Level(t *testing.T, f func(t *testing.T, l Level)) {
	defer Use(Active())
	have := DetectBF16()
	for _, l := range []Level{LevelAMX, LevelAVX512BF16, LevelGo} {
		t.Run(l.String(), func(t *testing.T) {
			for _, h := range have {
				if h != l {
					continue
				}
				if err := tableOf(l).permit(); err != nil {
					t.Skip(err)
				}
				Use(l)
				f(t, l)
				return
			}
			t.Skipf("this processor does not have %v", l)
		})
	}
}

// packedBF16 packs w [n, k].
func packedBF16(w []float32, n, k int) *Packed {
	p := &Packed{N: n, K: k, Data: make([]float32, PackedLen(n, k)), BF16: make([]uint16, BF16Len(n, k))}
	Pack(p.Data, w, n, k)
	PackBF16(p.BF16, p.Data, n, k)
	return p
}

func TestSelfTestBF16Passes(t *testing.T) {
	for _, l := range DetectBF16() {
		if err := SelfTestBF16(l); err != nil {
			t.Error(err)
		}
		if l != LevelGo {
			if err := SelfTest(l); err != nil {
				t.Error(err)
			}
		}
	}
	for _, l := range []Level{LevelAVX2, Level(7)} {
		if SelfTestBF16(l) == nil {
			t.Errorf("%v passes", l)
		}
	}
}

// TestSelfTestCatchesBrokenBF16 breaks one function of a good unit at a time.
func TestSelfTestCatchesBrokenBF16(t *testing.T) {
	type stripFunc = func(c []float32, ldc int, a []uint16, lda int, b []uint16, apart, blocks, rows, cols int, acc bool, next ahead)
	strips := map[string]func(good stripFunc) stripFunc{
		"a block is left out": func(good stripFunc) stripFunc {
			return func(c []float32, ldc int, a []uint16, lda int, b []uint16, apart, blocks, rows, cols int, acc bool, next ahead) {
				good(c, ldc, a, lda, b, apart, max(1, blocks-1), rows, cols, acc, next)
			}
		},
		"a block is left out where weights stream": func(good stripFunc) stripFunc {
			return func(c []float32, ldc int, a []uint16, lda int, b []uint16, apart, blocks, rows, cols int, acc bool, next ahead) {
				if next.stream {
					blocks--
				}
				good(c, ldc, a, lda, b, apart, max(blocks, 1), rows, cols, acc, next)
			}
		},
		"acc is ignored": func(good stripFunc) stripFunc {
			return func(c []float32, ldc int, a []uint16, lda int, b []uint16, apart, blocks, rows, cols int, acc bool, next ahead) {
				good(c, ldc, a, lda, b, apart, blocks, rows, cols, false, next)
			}
		},
		"a column too many is written": func(good stripFunc) stripFunc {
			return func(c []float32, ldc int, a []uint16, lda int, b []uint16, apart, blocks, rows, cols int, acc bool, next ahead) {
				good(c, ldc, a, lda, b, apart, blocks, rows, cols, acc, next)
				if cols%Panel != 0 {
					*past(c, cols) = 0
				}
			}
		},
		"the last row is that before": func(good stripFunc) stripFunc {
			return func(c []float32, ldc int, a []uint16, lda int, b []uint16, apart, blocks, rows, cols int, acc bool, next ahead) {
				good(c, ldc, a, lda, b, apart, blocks, rows, cols, acc, next)
				if rows > 5 {
					copy(c[(rows-1)*ldc:][:cols], c[(rows-2)*ldc:][:cols])
				}
			}
		},
		"the second panel is the first": func(good stripFunc) stripFunc {
			return func(c []float32, ldc int, a []uint16, lda int, b []uint16, apart, blocks, rows, cols int, acc bool, next ahead) {
				good(c, ldc, a, lda, b, 0, blocks, rows, cols, acc, next)
			}
		},
	}
	others := map[string]func(u *unitBF16, good unitBF16){
		"rounding cuts": func(u *unitBF16, good unitBF16) {
			u.round = func(dst []uint16, src []float32) {
				for i, v := range src {
					dst[i] = uint16(math.Float32bits(v) >> 16)
				}
			}
		},
		"rounding loses NaN": func(u *unitBF16, good unitBF16) {
			u.round = func(dst []uint16, src []float32) {
				good.round(dst, src)
				for i, v := range src {
					if v != v {
						dst[i] = 0
					}
				}
			}
		},
		"turning swaps two": func(u *unitBF16, good unitBF16) {
			u.turn = func(dst, src []uint16) { good.turn(dst, src); dst[700], dst[701] = dst[701], dst[700] }
		},
		"packing columns swaps two": func(u *unitBF16, good unitBF16) {
			u.packColumns = func(dst []uint16, src []float32, ld, cols, depth int, alpha float32) {
				good.packColumns(dst, src, ld, cols, depth, alpha)
				dst[0], dst[1] = dst[1], dst[0]
			}
		},
		"packing the depth forgets alpha": func(u *unitBF16, good unitBF16) {
			u.packDepth = func(dst []uint16, src []float32, ld, cols, depth int, alpha float32) {
				good.packDepth(dst, src, ld, cols, depth, 1)
			}
		},
		"a left operand is not turned past its 16th row": func(u *unitBF16, good unitBF16) {
			u.upright = func(dst []uint16, ldd int, src []float32, lds, rows, depth int) {
				good.upright(dst, ldd, src, lds, min(rows, 16), depth)
			}
		},
		"rounding leaves nothing":           func(u *unitBF16, good unitBF16) { u.rest = func(dst, src []float32) { clear(dst) } },
		"turning does nothing":              func(u *unitBF16, good unitBF16) { u.turn = func(dst, src []uint16) { copy(dst, src) } },
		"rounding in place leaves the last": func(u *unitBF16, good unitBF16) { u.through = func(x []float32) { good.through(x[:len(x)-1]) } },
		"widening loses the last bit": func(u *unitBF16, good unitBF16) {
			u.widen = func(dst []float32, src, ahead []uint16) {
				good.widen(dst, src, ahead)
				dst[0] = math.Float32frombits(math.Float32bits(dst[0]) ^ 1<<16)
			}
		},
	}
	for _, l := range DetectBF16() {
		good := *tableOf(l).bf16
		fails := func(name string, u unitBF16) {
			bad := *tableOf(l)
			bad.bf16 = &u
			if err := selfTestBF16(&bad); err == nil {
				t.Errorf("%v: self-test passes although %s", l, name)
			} else if !strings.Contains(err.Error(), l.String()) {
				t.Errorf("error does not name the level: %v", err)
			}
		}
		for name, plant := range strips {
			u := good
			u.strip = plant(good.strip)
			fails(name, u)
		}
		for name, plant := range others {
			u := good
			plant(&u, good)
			fails(name, u)
		}
	}
}

// TestRoundBF16 compares rounding with the definition: the nearer neighbour of
// all bfloat16, the even one at a tie.
func TestRoundBF16(t *testing.T) {
	value := func(h uint16) float64 { return float64(math.Float32frombits(uint32(h) << 16)) }
	r := rand.New(rand.NewPCG(1, 2))
	for range 200000 {
		bits := r.Uint32()
		if bits&0x7f800000 == 0x7f800000 || bits&0x7f800000 == 0 || bits&0x7fffffff >= 0x7f7f0000 {
			continue
		}
		if r.IntN(4) == 0 {
			bits = bits&0xffff0000 | 0x8000 // a tie
		}
		v := float64(math.Float32frombits(bits))
		down := uint16(bits >> 16) // toward zero
		up := down + 1
		want := down
		if d, u := math.Abs(v-value(down)), math.Abs(value(up)-v); u < d || u == d && up&1 == 0 {
			want = up
		}
		if got := roundBF16(float32(v)); got != want {
			t.Fatalf("%08x rounds to %04x, want %04x", bits, got, want)
		}
	}
	for bits, want := range map[uint32]uint16{0x7f7fffff: 0x7f80, 0xff7f8000: 0xff80, 0x7f7f7fff: 0x7f7f, 1: 0, 0x807fffff: 0x8000,
		0x7f800000: 0x7f80, 0xff800000: 0xff80, 0x7f800001: 0x7fc0, 0x3f808000: 0x3f80, 0x3f818000: 0x3f82} {
		if got := roundBF16(math.Float32frombits(bits)); got != want {
			t.Errorf("%08x rounds to %04x, want %04x", bits, got, want)
		}
	}
}

// TestBF16Bits holds VDPBF16PS to the scalar reference, bit by bit, over all
// magnitudes and at every number of rows.
func TestBF16Bits(t *testing.T) {
	p := NewPool(1)
	defer Use(Active())
	for _, l := range DetectBF16() {
		if l != LevelAVX512BF16 {
			continue
		}
		c := check{state: 77}
		for m := 1; m <= 30; m++ {
			const n, k = 70, 75
			x, w := c.filled(m*k).x, c.filled(n*k).x
			for i := range x {
				x[i] = float32(math.Ldexp(float64(x[i]), int(c.value()*60)))
			}
			for i := range w {
				w[i] = float32(math.Ldexp(float64(w[i]), int(c.value()*60)))
			}
			packed := packedBF16(w, n, k)
			got, want := make([]float32, m*n), make([]float32, m*n)
			Use(l)
			p.Forward(got, n, x, k, packed, m, false)
			Use(LevelGo)
			p.Forward(want, n, x, k, packed, m, false)
			if !sameBits(got, want) {
				t.Fatalf("%v: a product of %d rows has not the reference's bits", l, m)
			}
		}
	}
}

// TestBF16AgainstFloat64 holds every level to the bound of bf16.go, and so to
// the sum of the rounded operands.
func TestBF16AgainstFloat64(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	round := func(v float32) float64 { return float64(floatBF16(roundBF16(v))) }
	everyBF16Level(t, func(t *testing.T, l Level) {
		for _, s := range [][3]int{{1, 64, 129}, {3, 5, 1000}, {16, 33, 577}, {31, 8, 64}, {64, 4, 100}, {2, 100, 1}, {30, 130, 385}} {
			m, n, k := s[0], s[1], s[2]
			x, w, c := randomSlice(m*k), randomSlice(n*k + 1)[1:], randomSlice(m*n)
			got := append([]float32(nil), c...)
			p.Forward(got, n, x, k, packedBF16(w, n, k), m, true)
			for i := range m {
				for j := range n {
					want, size := float64(c[i*n+j]), math.Abs(float64(c[i*n+j]))
					for q := range k {
						v := round(x[i*k+q]) * round(w[j*k+q])
						want += v
						size += math.Abs(v)
					}
					if d := math.Abs(float64(got[i*n+j]) - want); d > 2*float64(k+2)*0x1p-24*size {
						t.Fatalf("%dx%dx%d: element %d,%d is off by %g", m, n, k, i, j, d)
					}
				}
			}
		}
	})
}

// TestBF16SameBitsForAnyM is TestSameBitsForAnyM in bfloat16.
func TestBF16SameBitsForAnyM(t *testing.T) {
	const most, n, k, gap = 70, 41, 2090, 3
	c := check{state: 11}
	x, dy := c.filled(most*(k+gap)).x, c.filled(most*(n+gap)).x
	w := packedBF16(c.filled(n*k).x, n, k)
	products := []struct {
		name  string
		width int
		run   func(p *Pool, y []float32, m int, acc bool)
	}{
		{"Forward", n, func(p *Pool, y []float32, m int, acc bool) { p.Forward(y, n+gap, x, k+gap, w, m, acc) }},
		{"Backward", k, func(p *Pool, y []float32, m int, acc bool) { p.Backward(y, k+gap, dy, n+gap, w, m, acc) }},
	}
	pools := []*Pool{NewPool(1), NewPool(2), NewPool(4)}
	for _, p := range pools {
		defer p.Close()
	}
	step := 3
	if testing.Short() {
		step = 13
	}
	everyBF16Level(t, func(t *testing.T, l Level) {
		step := step
		if l == LevelGo {
			step = 13
		}
		for _, g := range products {
			for _, acc := range []bool{false, true} {
				old := newGuarded(most * (g.width + gap))
				for i := range most {
					for j := range g.width {
						old.x[i*(g.width+gap)+j] = float32(i-j) / 64
					}
				}
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

// TestBF16Ranges: ranges of a product put together have the bits of the whole.
func TestBF16Ranges(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	everyBF16Level(t, func(t *testing.T, l Level) {
		const m, n, k, cut = 37, 200, 96, 96
		x, w := randomSlice(m*k), packedBF16(randomSlice(n*k), n, k)
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

func TestBF16EdgesAndAllocations(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	everyBF16Level(t, func(t *testing.T, l Level) {
		const m, n, k = 33, 70, 96
		w := packedBF16(randomSlice(n*k), n, k)
		x, y := randomSlice(m*k), make([]float32, m*n)
		for name, f := range map[string]func(){
			"Forward":  func() { p.Forward(y, n, x, k, w, m, false) },
			"Backward": func() { p.Backward(x, k, y, n, w, m, false) },
		} {
			f()
			if got := testing.AllocsPerRun(50, f); got != 0 {
				t.Errorf("%s allocates %v times", name, got)
			}
		}
		// A NaN and an infinity reach their row and no other.
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(-1))} {
			for row := range m {
				x := randomSlice(m * k)
				x[row*k+k-1] = bad
				p.Forward(y, n, x, k, w, m, false)
				for i := range m {
					v := float64(y[i*n+n-1])
					if finite := !math.IsNaN(v) && !math.IsInf(v, 0); finite == (i == row) {
						t.Fatalf("%v in row %d: row %d has %v", bad, row, i, v)
					}
				}
			}
		}
		empty := &Packed{N: n, K: 0, BF16: []uint16{}}
		for i := range y {
			y[i] = 1
		}
		if p.Forward(y, n, nil, 0, empty, m, true); y[0] != 1 || y[m*n-1] != 1 {
			t.Error("adding nothing changes the result")
		}
		if p.Forward(y, n, nil, 0, empty, m, false); !sameBits(y, make([]float32, m*n)) {
			t.Error("an empty sum is not zero")
		}
		short := *w
		short.BF16 = w.BF16[1:]
		defer func() {
			if recover() == nil {
				t.Error("short weights are accepted")
			}
		}()
		p.Forward(y, n, x, k, &short, m, false)
	})
}

// encoding is a line of an encoding header: bytes, and what they mean.
var encoding = regexp.MustCompile(`(?m)^#define (\w+) ((?:BYTE \$0x[0-9a-f]{2}; )*BYTE \$0x[0-9a-f]{2}) // (.+)$`)

// TestEncodings asks a disassembler what the bytes mean that Go's assembler
// cannot write.
func TestEncodings(t *testing.T) {
	objdump, err := exec.LookPath("objdump")
	if err != nil || runtime.GOARCH != "amd64" {
		t.Skip("needs objdump of GNU binutils for amd64")
	}
	files, err := filepath.Glob("*_encoding_amd64.h")
	if err != nil || len(files) < 2 {
		t.Fatalf("encodings: %v, %v", files, err)
	}
	spaces := regexp.MustCompile(`\s+`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		defined := encoding.FindAllStringSubmatch(string(text), -1)
		if got, want := len(defined), bytes.Count(text, []byte("#define")); got != want || got == 0 {
			t.Errorf("%s: %d of %d lines are read", file, got, want)
		}
		for _, d := range defined {
			var code []byte
			for _, b := range strings.Split(d[2], "; ") {
				n, err := strconv.ParseUint(strings.TrimPrefix(b, "BYTE $0x"), 16, 8)
				if err != nil {
					t.Fatal(err)
				}
				code = append(code, byte(n))
			}
			path := filepath.Join(t.TempDir(), "code")
			if err := os.WriteFile(path, code, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(objdump, "-D", "-b", "binary", "-m", "i386:x86-64", "-M", "intel", "--insn-width=16", "--no-show-raw-insn", path).Output()
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			_, got, _ := strings.Cut(lines[len(lines)-1], ":")
			if got := strings.TrimSpace(spaces.ReplaceAllString(got, " ")); !strings.HasSuffix(strings.TrimSpace(lines[len(lines)-2]), ">:") || got != d[3] {
				t.Errorf("%s: %s is %q, not %q", file, d[1], got, d[3])
			}
		}
	}
}

func BenchmarkBF16(b *testing.B) {
	defer Use(Active())
	p := NewPool(benchThreads())
	defer p.Close()
	for _, l := range DetectBF16() {
		if l == LevelGo || tableOf(l).permit() != nil {
			continue
		}
		Use(l)
		for _, s := range [][3]int{{1280, 576, 576}, {1280, 1536, 576}, {1280, 576, 1536}, {128, 49152, 576}, {1, 576, 1536}, {32, 576, 1536}} {
			m, n, k := s[0], s[1], s[2]
			w := packedBF16(randomSlice(n*k), n, k)
			plain := &Packed{N: n, K: k, Data: w.Data}
			x, y := randomSlice(m*k), randomSlice(m*n)
			for name, w := range map[string]*Packed{"bfloat16": w, "float32": plain} {
				b.Run(fmt.Sprintf("%v/forward/%dx%dx%d/%s", l, m, n, k, name), func(b *testing.B) {
					for range b.N {
						p.Forward(y, n, x, k, w, m, false)
					}
					gflops(b, m, n, k)
				})
				b.Run(fmt.Sprintf("%v/backward/%dx%dx%d/%s", l, m, n, k, name), func(b *testing.B) {
					for range b.N {
						p.Backward(x, k, y, n, w, m, false)
					}
					gflops(b, m, n, k)
				})
			}
		}
	}
}
