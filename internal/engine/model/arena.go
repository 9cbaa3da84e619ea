package model

// arena hands out float32 buffers from one slab. A plan is run twice: once to
// count, once to carve; the slab is replaced only when it is too small.
type arena struct {
	slab     []float32
	used     int
	counting bool
}

// plan runs carve, growing the slab when needed. carve must make the same
// calls both times.
func (a *arena) plan(carve func()) {
	a.used, a.counting = 0, true
	carve()
	if need := a.used; need > len(a.slab) {
		a.slab = nil // lets the collector have the old one first
		a.slab = make([]float32, need)
	}
	a.used, a.counting = 0, false
	carve()
}

// take returns n values of unspecified content, aligned to a cache line
// relative to the slab.
func (a *arena) take(n int) []float32 {
	start := a.used
	a.used += (n + 15) &^ 15
	if a.counting {
		return nil
	}
	return a.slab[start : start+n : start+n]
}
