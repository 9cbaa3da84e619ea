package model

import (
	"runtime"

	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// arena hands out float32 buffers from one slab, from used on. While it counts,
// it only moves used and hands out nothing. Its buffers end with it: who computes
// with them keeps it alive.
type arena struct {
	slab     kernel.Slab
	cleanup  runtime.Cleanup
	used     int
	counting bool
}

// reserve makes the slab hold n values. What it held is gone.
func (a *arena) reserve(n int) {
	if n <= len(a.slab.Values) {
		return
	}
	a.cleanup.Stop()
	a.slab.Free()
	a.slab = kernel.Slab{} // the old one must not be there beside the new one
	a.slab = kernel.NewSlab(n)
	a.cleanup = runtime.AddCleanup(a, kernel.Slab.Free, a.slab)
}

// take returns n values of unspecified content, aligned to a cache line
// relative to the slab.
func (a *arena) take(n int) []float32 {
	start := a.used
	a.used += (n + 15) &^ 15
	if a.counting {
		return nil
	}
	return a.slab.Values[start : start+n : start+n]
}
