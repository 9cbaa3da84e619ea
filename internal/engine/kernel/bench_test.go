package kernel

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// benchThreads is FIREKEEP_BENCH_THREADS, or 2.
func benchThreads() int {
	if n, err := strconv.Atoi(os.Getenv("FIREKEEP_BENCH_THREADS")); err == nil {
		return n
	}
	return 2
}

// atLevel runs f as a sub-benchmark of every level but the slow reference.
func atLevel(b *testing.B, f func(b *testing.B)) {
	defer Use(Active())
	for _, l := range Detect() {
		if l == LevelGo && len(Detect()) > 1 {
			continue
		}
		Use(l)
		b.Run(l.String(), f)
	}
}

func gflops(b *testing.B, m, n, k int) {
	b.ReportMetric(2*float64(m)*float64(n)*float64(k)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOPS")
}

func randomSlice(n int) []float32 {
	c := check{state: 1}
	return c.filled(n).x
}

// atLevelBF16 runs f as a sub-benchmark of every level that multiplies bfloat16
// fast.
func atLevelBF16(b *testing.B, f func(b *testing.B)) {
	defer Use(Active())
	for _, l := range DetectBF16() {
		if l != LevelGo && SelfTestBF16(l) == nil {
			Use(l)
			b.Run(l.String()+"/bfloat16", f)
		}
	}
}

// BenchmarkLinear measures the layers of a 135 M model: m tokens, [N, K].
func BenchmarkLinear(b *testing.B) {
	shapes := [][3]int{
		{1280, 576, 576}, {1280, 192, 576}, {1280, 1536, 576}, {1280, 576, 1536}, {128, 49152, 576},
		{1, 576, 1536}, {8, 576, 1536}, {32, 576, 1536}, {1, 49152, 576}, {8, 49152, 576}, {32, 49152, 576},
	}
	linear := func(b *testing.B, half bool) {
		p := NewPool(benchThreads())
		defer p.Close()
		for _, s := range shapes {
			m, n, k := s[0], s[1], s[2]
			w := &Packed{N: n, K: k, Data: randomSlice(PackedLen(n, k))}
			if half {
				w.BF16 = make([]uint16, BF16Len(n, k))
				PackBF16(w.BF16, w.Data, n, k)
			}
			x, y := randomSlice(m*k), randomSlice(m*n)
			b.Run(fmt.Sprintf("forward/%dx%dx%d", m, n, k), func(b *testing.B) {
				for range b.N {
					p.Forward(y, n, x, k, w, m, false)
				}
				gflops(b, m, n, k)
			})
			if m < 100 {
				continue
			}
			b.Run(fmt.Sprintf("backward/%dx%dx%d", m, n, k), func(b *testing.B) {
				for range b.N {
					p.Backward(x, k, y, n, w, m, false)
				}
				gflops(b, m, n, k)
			})
		}
	}
	atLevel(b, func(b *testing.B) { linear(b, false) })
	atLevelBF16(b, func(b *testing.B) { linear(b, true) })
}

// BenchmarkCoded measures products with many matrices, so that none is in a cache, in
// turns with the same weights in float32.
func BenchmarkCoded(b *testing.B) {
	const n, k, matrices = 1536, 576, 30
	atLevel(b, func(b *testing.B) {
		p := NewPool(benchThreads())
		defer p.Close()
		c := check{t: active, state: 1}
		for _, coding := range codings[:3] {
			var coded, plain []*Packed
			for range matrices {
				w := &Packed{N: n, K: k, Coding: coding}
				for range n / Panel {
					w.Data = append(w.Data, c.codes(coding, k)...)
				}
				f := &Packed{N: n, K: k, Data: make([]float32, PackedLen(n, k))}
				for panel := range n / Panel {
					w.Expand(f.Data[f.at(panel, 0):], panel, 0, k)
				}
				coded, plain = append(coded, w), append(plain, f)
			}
			for _, m := range []int{128, 256, 1024} {
				x, y := randomSlice(m*k), randomSlice(m*n)
				for _, way := range []string{"forward", "backward"} {
					b.Run(fmt.Sprintf("q%d/%s/%d", coding.width(), way, m), func(b *testing.B) {
						var spent [2]time.Duration
						for range b.N {
							for i, list := range [][]*Packed{plain, coded} {
								start := time.Now()
								for _, w := range list {
									if way == "forward" {
										p.Forward(y, n, x, k, w, m, false)
									} else {
										p.Backward(x, k, y, n, w, m, false)
									}
								}
								spent[i] += time.Since(start)
							}
						}
						for i, name := range []string{"plain", "coded"} {
							b.ReportMetric(2*float64(m)*n*k*matrices*float64(b.N)/float64(spent[i].Nanoseconds()), name+"-GFLOPS")
						}
					})
				}
			}
		}
	})
}

// BenchmarkDense measures what BenchmarkProduct does in bfloat16: the backward of
// attention (serial, one head) and of LoRA (all threads).
func BenchmarkDense(b *testing.B) {
	atLevelBF16(b, func(b *testing.B) {
		p := NewPool(benchThreads())
		defer p.Close()
		run := func(name string, m, n, k int, f func(c, x, y []float32)) {
			c, x, y := randomSlice(m*n), randomSlice(m*k), randomSlice(n*k)
			b.Run(fmt.Sprintf("%s/%dx%dx%d", name, m, n, k), func(b *testing.B) {
				for range b.N {
					f(c, x, y)
				}
				gflops(b, m, n, k)
			})
		}
		const q, keys, dim = 128, 384, 64
		run("scores", q, keys, dim, func(c, x, y []float32) { HalfNT(c, keys, x, dim, y, dim, q, keys, dim, 0.125, false, true) })
		run("dq", q, dim, keys, func(c, x, y []float32) { HalfNN(c, dim, x, keys, y, dim, q, dim, keys, 1, false) })
		run("dkeys", keys, dim, q, func(c, x, y []float32) { HalfTN(c, dim, x, keys, y, dim, keys, dim, q, 1, true) })
		const m, in, out, r = 256, 576, 1536, 16
		run("lora dlow", m, r, out, func(c, x, y []float32) { p.HalfNN(c, r, x, out, y, r, m, r, out, 2, false) })
		run("lora dB", out, r, m, func(c, x, y []float32) { p.HalfTN(c, r, x, out, y, r, out, r, m, 2, true) })
		run("lora dA", 3*r, in, m, func(c, x, y []float32) { p.HalfTN(c, in, x, 3*r, y, in, 3*r, in, m, 1, true) })
		run("lora dx", m, in, 3*r, func(c, x, y []float32) { p.HalfNN(c, in, x, 3*r, y, in, m, in, 3*r, 1, true) })
	})
}

// BenchmarkProduct measures attention (serial, one head) and LoRA (all threads).
func BenchmarkProduct(b *testing.B) {
	atLevel(b, func(b *testing.B) {
		p := NewPool(benchThreads())
		defer p.Close()
		run := func(name string, m, n, k int, f func(c, x, y []float32)) {
			c, x, y := randomSlice(m*n), randomSlice(m*k), randomSlice(n*k)
			b.Run(fmt.Sprintf("%s/%dx%dx%d", name, m, n, k), func(b *testing.B) {
				for range b.N {
					f(c, x, y)
				}
				gflops(b, m, n, k)
			})
		}
		for _, m := range []int{1, 8, 128, 1024} {
			run("scores", m, 512, 64, func(c, x, y []float32) { GemmNT(c, 512, x, 64, y, 64, m, 512, 64, 0.125, false) })
			run("values", m, 64, 512, func(c, x, y []float32) { GemmNN(c, 64, x, 512, y, 64, m, 64, 512, 1, false) })
		}
		run("dkeys", 512, 64, 1024, func(c, x, y []float32) { GemmTN(c, 64, x, 512, y, 64, 512, 64, 1024, 1, true) })
		const m, in, out, r = 1280, 576, 1536, 16
		run("lora down", m, r, in, func(c, x, y []float32) { p.NT(c, r, x, in, y, in, m, r, in, 1, false) })
		run("lora up", m, out, r, func(c, x, y []float32) { p.NT(c, out, x, r, y, r, m, out, r, 2, true) })
		run("lora dlow", m, r, out, func(c, x, y []float32) { p.NN(c, r, x, out, y, r, m, r, out, 2, false) })
		run("lora dB", out, r, m, func(c, x, y []float32) { p.TN(c, r, x, out, y, r, out, r, m, 2, true) })
		run("lora dA", r, in, m, func(c, x, y []float32) { p.TN(c, in, x, r, y, in, r, in, m, 1, true) })
		run("lora dx", m, in, r, func(c, x, y []float32) { p.NN(c, in, x, r, y, in, m, in, r, 1, true) })
	})
}
