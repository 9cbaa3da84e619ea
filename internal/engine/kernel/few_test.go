package kernel

import (
	"fmt"
	"math"
	"testing"
)

// The bits of a product do not depend on how it is computed: packed panels for
// few rows, any number of rows, any range of panels.
func TestPanelsGiveTheBitsOfForward(t *testing.T) {
	everyLevel(t, func(t *testing.T, _ Level) {
		c := check{t: active, state: 5}
		for _, s := range [][3]int{{1, 64, 40}, {3, 33, 7}, {14, 96, 200}, {15, 40, 193}, {32, 70, 577}, {61, 32, 385}, {5, 1, 1}} {
			m, n, k := s[0], s[1], s[2]
			plain, x := c.filled(n*k), c.filled(m*k)
			w := &Packed{N: n, K: k, Data: make([]float32, PackedLen(n, k))}
			Pack(w.Data, plain.x, n, k)
			for _, acc := range []bool{false, true} {
				got := c.filled(m * n)
				want := got.clone()
				serial := NewPool(1)
				serial.Forward(want.x, n, x.x, k, w, m, acc)
				panels := (n + Panel - 1) / Panel
				for p := 0; p < panels; p += 2 {
					w.Panels(got.x, n, x.x, k, m, p, min(p+2, panels), acc)
				}
				if !sameBits(got.all, want.all) {
					t.Errorf("%dx%dx%d, add %v: not the bits of Forward", m, n, k, acc)
				}
			}
		}
	})
}

func TestFewGivesTheBitsOfGemmNN(t *testing.T) {
	everyLevel(t, func(t *testing.T, _ Level) {
		c := check{t: active, state: 9}
		for _, s := range [][3]int{{1, 32, 64}, {3, 64, 32}, {9, 80, 31}, {16, 32, 128}, {40, 96, 5}, {2, 16, 32}} {
			m, n, k := s[0], s[1], s[2]
			ldb := (n + Panel - 1) / Panel * Panel
			a, b := c.filled(m*k), c.filled(k*ldb)
			for _, acc := range []bool{false, true} {
				got := c.filled(m * n)
				want := got.clone()
				GemmNN(want.x, n, a.x, k, b.x, ldb, m, n, k, 1, acc)
				Few(got.x, n, a.x, k, b.x, ldb, m, n, k, a.x, acc)
				if !sameBits(got.all, want.all) {
					t.Errorf("%dx%dx%d, add %v: not the bits of GemmNN", m, n, k, acc)
				}
			}
		}
	})
}

// A product with int8 weights is that with the weights they stand for, and its
// bits do not depend on the number of rows or the range of panels.
func TestInt8Panels(t *testing.T) {
	everyLevel(t, func(t *testing.T, _ Level) {
		c := check{t: active, state: 3}
		for _, s := range [][3]int{{1, 64, 40}, {9, 33, 70}, {33, 96, 200}} {
			m, n, k := s[0], s[1], s[2]
			plain, x := c.filled(n*k), c.filled(m*k)
			w := &Packed{N: n, K: k, Data: make([]float32, PackedLen(n, k))}
			Pack(w.Data, plain.x, n, k)
			q := Quantize(w)
			near := &Packed{N: n, K: k, Data: make([]float32, len(w.Data))}
			for i, b := range q.Data {
				near.Data[i] = q.Scale[i/(Panel*k)*Panel+i%Panel] * float32(b)
				if d := math.Abs(float64(near.Data[i] - w.Data[i])); d > 0.5/127+1e-6 {
					t.Fatalf("weight %d is %g away", i, d)
				}
			}
			panels := (n + Panel - 1) / Panel
			for _, acc := range []bool{false, true} {
				got := c.filled(m * n)
				want, single := got.clone(), got.clone()
				q.Panels(got.x, n, x.x, k, m, 0, panels, acc)
				near.Panels(want.x, n, x.x, k, m, 0, panels, acc)
				c.compare("an int8 product", got, want, chainTolerance(k+3))
				for i := range m {
					for p := range panels {
						q.Panels(single.x[i*n:], n, x.x[i*k:], k, 1, p, p+1, acc)
					}
				}
				if !sameBits(got.all, single.all) {
					t.Errorf("%dx%dx%d, add %v: bits depend on the company", m, n, k, acc)
				}
			}
		}
		if c.err != nil {
			t.Error(c.err)
		}
	})
}

func TestPanelsRefuseWhatDoesNotFit(t *testing.T) {
	w := &Packed{N: 40, K: 8, Data: make([]float32, PackedLen(40, 8))}
	for name, f := range map[string]func(){
		"short x":       func() { w.Panels(make([]float32, 80), 40, make([]float32, 15), 8, 2, 0, 2, false) },
		"short y":       func() { w.Panels(make([]float32, 79), 40, make([]float32, 16), 8, 2, 0, 2, false) },
		"no such panel": func() { w.Panels(make([]float32, 200), 40, make([]float32, 16), 8, 2, 0, 3, false) },
		"narrow rows":   func() { w.Panels(make([]float32, 200), 39, make([]float32, 16), 8, 2, 0, 2, false) },
		"short b": func() {
			Few(make([]float32, 64), 32, make([]float32, 8), 4, make([]float32, 127), 32, 2, 32, 4, nil, false)
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: accepted", name)
				}
			}()
			f()
		}()
	}
}

// Every member sees what all others wrote before a stage ended.
func TestTeamStages(t *testing.T) {
	for _, threads := range []int{1, 2, 5} {
		pool := NewPool(threads)
		const stages = 300
		marks := make([][stages]int, threads)
		late := make([]error, threads)
		team := NewTeam(func(tm *Team, member int) {
			for s := range stages {
				marks[member][s] = s + 1
				tm.Wait()
				for m := range tm.Size() {
					if marks[m][s] != s+1 && late[member] == nil {
						late[member] = fmt.Errorf("member %d is past stage %d before member %d", member, s, m)
					}
				}
			}
		})
		for range 3 {
			pool.Together(team)
		}
		for _, err := range late {
			if err != nil {
				t.Error(err)
			}
		}
		if team.Size() != threads {
			t.Errorf("a team of %d on %d threads", team.Size(), threads)
		}
		pool.Close()
	}
}

func TestTeamShares(t *testing.T) {
	for _, size := range []int{1, 2, 3, 7} {
		team, next := &Team{size: size}, 0
		for member := range size {
			lo, hi := team.Share(member, 19)
			if lo != next || hi < lo {
				t.Errorf("member %d of %d has [%d, %d), want it to begin at %d", member, size, lo, hi, next)
			}
			next = hi
		}
		if next != 19 {
			t.Errorf("%d members share %d of 19 units", size, next)
		}
	}
}

// A panic of one member ends all of them, and is the caller's.
func TestTeamPanics(t *testing.T) {
	pool := NewPool(3)
	defer pool.Close()
	for failing := range 3 {
		team := NewTeam(func(tm *Team, member int) {
			tm.Wait()
			if member == failing {
				panic("planted")
			}
			tm.Wait()
			tm.Wait()
		})
		for range 20 {
			func() {
				defer func() {
					if v := recover(); v != "planted" {
						t.Errorf("member %d: recovered %v", failing, v)
					}
				}()
				pool.Together(team)
			}()
		}
	}
}

// Where the pool is at work already, the caller is a team of one.
func TestTeamInsideAPart(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	runs := make([]int, 2)
	pool.Do(2, 1, func(worker, _, _ int) {
		pool.Together(NewTeam(func(tm *Team, member int) {
			tm.Wait()
			if tm.Size() == 1 && member == 0 {
				runs[worker]++
			}
		}))
	})
	if runs[0] != 1 || runs[1] != 1 {
		t.Errorf("ran %v times", runs)
	}
}

func TestDecodingKernelsAllocateNothing(t *testing.T) {
	pool := NewPool(2)
	defer pool.Close()
	w := &Packed{N: 64, K: 64, Data: make([]float32, PackedLen(64, 64))}
	coded := &Packed{N: 64, K: 64, Coding: codings[0], Data: make([]float32, codings[0].CodedLen(64, 64))}
	x, y := make([]float32, 64), make([]float32, 64)
	team := NewTeam(func(tm *Team, member int) {
		lo, hi := tm.Share(member, 2)
		w.Panels(y, 64, x, 64, 1, lo, hi, false)
		coded.Panels(y, 64, x, 64, 1, lo, hi, false)
		tm.Wait()
	})
	if n := testing.AllocsPerRun(50, func() { pool.Together(team) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
