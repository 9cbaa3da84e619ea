package kernel

import (
	"sync"
	"sync/atomic"
	"testing"
)

// TestDoCoversExactly checks the partition: every index once, bounds at
// multiples of align, workers distinct.
func TestDoCoversExactly(t *testing.T) {
	for _, threads := range []int{1, 2, 3, 4, 7} {
		p := NewPool(threads)
		for _, n := range []int{0, 1, 5, 16, 17, 100, 1000} {
			for _, align := range []int{0, 1, 4, 16, 32} {
				seen := make([]int32, n)
				used := make([]int32, threads)
				p.Do(n, align, func(worker, lo, hi int) {
					if unit := max(align, 1); lo >= hi || lo%unit != 0 || hi != n && hi%unit != 0 {
						t.Errorf("part [%d, %d) of %d aligned to %d", lo, hi, n, align)
					}
					if atomic.AddInt32(&used[worker], 1) != 1 {
						t.Errorf("worker %d is used twice", worker)
					}
					for i := lo; i < hi; i++ {
						atomic.AddInt32(&seen[i], 1)
					}
				})
				for i, v := range seen {
					if v != 1 {
						t.Fatalf("%d threads, n %d, align %d: index %d done %d times", threads, n, align, i, v)
					}
				}
			}
		}
		p.Close()
	}
}

func TestNestedDoRunsSerially(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	var inner atomic.Int32
	p.Do(3, 1, func(_, lo, hi int) {
		p.Do(10, 1, func(worker, lo, hi int) {
			if worker != 0 || lo != 0 || hi != 10 {
				t.Errorf("nested part of worker %d is [%d, %d)", worker, lo, hi)
			}
			inner.Add(1)
		})
	})
	if inner.Load() != 3 {
		t.Errorf("%d nested calls", inner.Load())
	}
}

func TestPanicReachesTheCaller(t *testing.T) {
	p := NewPool(4)
	defer p.Close()
	for bad := range 4 {
		func() {
			var ended atomic.Int32
			defer func() {
				if v := recover(); v != bad {
					t.Errorf("recovered %v, want %d", v, bad)
				}
				if ended.Load() != 3 {
					t.Errorf("%d other parts ended", ended.Load())
				}
			}()
			p.Do(4, 1, func(worker, lo, hi int) {
				if worker == bad {
					panic(bad)
				}
				ended.Add(1)
			})
		}()
	}
	done := 0
	p.Do(1, 1, func(_, lo, hi int) { done = hi })
	if done != 1 {
		t.Error("the pool is dead after a panic")
	}
}

func TestSetThreads(t *testing.T) {
	p := NewPool(0)
	for _, n := range []int{1, 5, 2, 0, 3} {
		p.SetThreads(n)
		if p.Threads() != max(n, 1) {
			t.Errorf("%d threads, want %d", p.Threads(), n)
		}
		var workers atomic.Int32
		p.Do(100, 1, func(_, lo, hi int) { workers.Add(1) })
		if int(workers.Load()) != p.Threads() {
			t.Errorf("%d parts on %d threads", workers.Load(), p.Threads())
		}
	}
	p.Close()
	total := 0
	p.Do(10, 1, func(_, lo, hi int) { total += hi - lo })
	if total != 10 {
		t.Error("a closed pool does not compute")
	}
}

// TestPoolFromManyGoroutines shares one pool: whoever comes second computes
// serially, and every result is right.
func TestPoolFromManyGoroutines(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	const m, n, k = 20, 64, 64
	w := &Packed{N: n, K: k, Data: randomSlice(PackedLen(n, k))}
	x, want := randomSlice(m*k), make([]float32, m*n)
	p.Forward(want, n, x, k, w, m, false)
	var g sync.WaitGroup
	for range 4 {
		g.Go(func() {
			y := make([]float32, m*n)
			for range 200 {
				clear(y)
				p.Forward(y, n, x, k, w, m, false)
				if !sameBits(y, want) {
					t.Error("results differ")
					return
				}
			}
		})
	}
	g.Wait()
}
