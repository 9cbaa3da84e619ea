package kernel

import "sync"

// scratch is the working memory of one part of a product.
type scratch struct {
	slab [slabPanels * depthBlock * Panel]float32 // gathered panels of b, each [kn, Panel]
	rows [farFloats]float32                       // a group of strips of a
	// square holds coded weights on their way to being turned.
	square [Panel * Panel]float32
	next   *scratch
}

const (
	uprightStride = 16 // between k's of a copied strip of a^T, at least a tile's rows, where no other is best: see table.apart
	line          = 16 // float32 of a cache line
)

// stripFloats bounds the copy of a strip of rows of a for a depth.
func (t *table) stripFloats(depth int) int { return t.apart * (depth + line) }

// idle holds scratch between products. A list rather than a sync.Pool: it is
// never emptied, so a warm program allocates nothing.
var idle struct {
	sync.Mutex
	head *scratch
}

func takeScratch() *scratch {
	idle.Lock()
	s := idle.head
	if s != nil {
		idle.head = s.next
	}
	idle.Unlock()
	if s == nil {
		s = new(scratch)
	}
	return s
}

func (s *scratch) release() {
	idle.Lock()
	s.next = idle.head
	idle.head = s
	idle.Unlock()
}
