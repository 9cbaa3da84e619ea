package model

import "runtime/debug"

// arena hands out float32 buffers from one slab, from used on. While it counts,
// it only moves used and hands out nothing.
type arena struct {
	slab     []float32
	used     int
	counting bool
}

// reserve makes the slab hold n values. What it held is gone.
func (a *arena) reserve(n int) {
	if n <= len(a.slab) {
		return
	}
	if a.slab != nil { // the old one must not be there beside the new one
		a.slab = nil
		debug.FreeOSMemory()
	}
	a.slab = make([]float32, n)
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
