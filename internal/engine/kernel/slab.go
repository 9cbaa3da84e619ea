package kernel

import "unsafe"

// Slab is n zeros outside of the heap, in pages as large as the operating system
// gives. Whoever holds it frees it, once nothing refers to Values any more.
type Slab struct {
	Values []float32
	pages  []byte
}

// NewSlab makes a slab of n values, n > 0. Where there is no memory it panics, as
// make does.
func NewSlab(n int) Slab {
	pages, err := mapPages(4 * n)
	if err != nil {
		panic("kernel: out of memory: " + err.Error())
	}
	return Slab{unsafe.Slice((*float32)(unsafe.Pointer(&pages[0])), n), pages}
}

// Free gives the memory back at once.
func (s Slab) Free() {
	if s.pages != nil {
		unmapPages(s.pages)
	}
}
