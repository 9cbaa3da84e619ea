package kernel

import "sync"

// scratch is the working memory of one part of a product.
type scratch struct {
	slab [slabPanels * depthBlock * Panel]float32 // gathered panels of b, each [kn, Panel]
	rows [uprightStride * rowStride]float32       // a tile's rows of a
	next *scratch
}

const (
	mostRows      = 14 // of any tile
	uprightStride = 16 // between k's of a copied tile of a^T
	// rowStride is one cache line more than depthBlock: rows do not collide.
	rowStride = depthBlock + 16
)

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
