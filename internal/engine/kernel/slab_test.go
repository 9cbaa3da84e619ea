package kernel

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestSlab(t *testing.T) {
	for _, n := range []int{1, 1000, 3 << 20} {
		s := NewSlab(n)
		if len(s.Values) != n {
			t.Fatalf("a slab of %d values has %d", n, len(s.Values))
		}
		for i, v := range s.Values {
			if v != 0 {
				t.Fatalf("value %d of %d is %v before anybody wrote it", i, n, v)
			}
			s.Values[i] = 1
		}
		s.Free()
	}
	Slab{}.Free()
}

// What is outside of the heap counts against its limit, and is given back.
func TestSlabIsTakenFromTheHeapsLimit(t *testing.T) {
	const limit = 1 << 30
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(limit))
	left := func() int64 { return debug.SetMemoryLimit(-1) }
	a := NewSlab(100 << 20 / 4)
	if a.pages == nil {
		t.Skip("slabs are part of the heap here")
	}
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
