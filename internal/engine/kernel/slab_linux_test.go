//go:build linux && !race

package kernel

import (
	"math"
	"runtime/debug"
	"testing"
)

// What is outside of the heap counts against its limit, and is given back.
func TestSlabIsTakenFromTheHeapsLimit(t *testing.T) {
	const limit = 1 << 30
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(limit))
	left := func() int64 { return debug.SetMemoryLimit(-1) }
	a := NewSlab(100 << 20 / 4)
	b := NewSlab(4 << 30 / 4)
	if left() != leastHeap {
		t.Errorf("behind more than there is %d are left", left())
	}
	b.Free()
	if left() != limit-100<<20 {
		t.Errorf("behind 100 MiB %d are left", left())
	}
	a.Free()
	if left() != limit {
		t.Errorf("at the end %d are left of %d", left(), limit)
	}
	debug.SetMemoryLimit(math.MaxInt64)
	NewSlab(1000).Free()
	if left() != math.MaxInt64 {
		t.Errorf("no limit became %d", left())
	}
}
