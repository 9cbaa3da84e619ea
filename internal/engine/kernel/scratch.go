package kernel

import "sync"

// scratch is the working memory of one part of a product.
type scratch struct {
	panel [depthBlock * Panel]float32 // a gathered slice of the right operand
	next  *scratch
}

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
