package kernel

import (
	"math"
	"runtime/debug"
	"sync"
	"unsafe"
)

// Slab is n zeros outside of the heap, in pages as large as the operating system
// gives. Whoever holds it frees it, once nothing refers to Values any more. What
// it takes is taken from the heap's limit, if there is one, until it is freed.
type Slab struct {
	Values []float32
	pages  []byte
	taken  int64
}

// NewSlab makes a slab of n values, n > 0. Where the operating system gives no pages
// the heap is asked; if it has none either, it ends the process with the words that tell a
// broker why.
func NewSlab(n int) Slab {
	pages, err := mapPages(4 * n)
	if err != nil {
		return Slab{Values: make([]float32, n)}
	}
	return Slab{unsafe.Slice((*float32)(unsafe.Pointer(&pages[0])), n), pages, takeFromHeap(int64(4 * n))}
}

// Free gives the memory back at once.
func (s Slab) Free() {
	if s.pages != nil {
		unmapPages(s.pages)
		takeFromHeap(-s.taken)
	}
}

// heapLimit guards the change of the limit.
var heapLimit sync.Mutex

// leastHeap is left to the heap whatever slabs take.
const leastHeap = 16 << 20

// takeFromHeap lowers the heap's limit and returns by how much.
func takeFromHeap(bytes int64) int64 {
	heapLimit.Lock()
	defer heapLimit.Unlock()
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 {
		return 0
	}
	bytes = min(bytes, max(limit-leastHeap, 0))
	debug.SetMemoryLimit(limit - bytes)
	return bytes
}
