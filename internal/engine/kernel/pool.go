package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Pool runs parts of a computation on a fixed set of goroutines. The goroutine
// that calls Do is worker 0, so a Pool of n threads owns n-1 goroutines.
//
// A Pool has one computation at a time: a Do that starts while another is under
// way, from inside a part or from another goroutine, runs serially in its
// caller. SetThreads and Close must not overlap with Do.
type Pool struct {
	busy    atomic.Bool
	crammed atomic.Bool // there are more threads than processors: nobody looks, everybody sleeps
	crowd   crowd
	workers []*worker // workers 1..threads-1

	running atomic.Int32  // workers that have not ended their part
	ended   atomic.Uint32 // underWay, callerAsleep or allEnded
	done    chan struct{} // wakes a sleeping caller

	// The computation under way: written before workers are woken.
	n, align int
	part     func(worker, lo, hi int)

	// product is the matrix product under way, kept here so that a call
	// allocates nothing; productPart is the bound method that runs a part.
	product     product
	byRows      bool
	productPart func(worker, lo, hi int)

	// The same for a product in bfloat16.
	bf16                productBF16
	roundPart, bf16Part func(worker, lo, hi int)
	dense               denseBF16
	densePart           func(worker, lo, hi int)

	failed  sync.Mutex
	failure any // first panic of a part
}

// worker is one goroutine of a Pool. Between parts it watches state for a while
// before it sleeps: the layers of a model follow each other within
// microseconds, and waking a sleeping thread costs many of them, or a whole
// millisecond on a virtual machine whose idle processor was given away.
type worker struct {
	state atomic.Uint32
	wake  chan struct{} // one token for each change of state away from asleep
}

// States of a worker.
const (
	watching uint32 = iota
	asleep
	called // there is a part to run
	dismissed
)

// States of a computation.
const (
	underWay uint32 = iota
	callerAsleep
	allEnded
)

// looks is how often a thread looks between two glances at the clock.
const looks = 16

// watch waits until v is no longer was, and gives up after a while.
func (p *Pool) watch(v *atomic.Uint32, was uint32) bool {
	if p.crammed.Load() {
		return v.Load() != was
	}
	var since time.Time
	for {
		for range looks {
			if v.Load() != was {
				return true
			}
			pause()
		}
		if since.IsZero() {
			since = time.Now()
		} else if time.Since(since) > time.Duration(p.crowd.patience.Load()) {
			return false
		}
	}
}

// NewPool returns a Pool of threads threads (at least one).
func NewPool(threads int) *Pool {
	p := &Pool{done: make(chan struct{}, 1)}
	p.productPart, p.roundPart, p.bf16Part, p.densePart = p.runProduct, p.roundBF16, p.runBF16, p.runDense
	p.SetThreads(threads)
	return p
}

// Threads returns how many threads take part, the caller included.
func (p *Pool) Threads() int { return len(p.workers) + 1 }

// SetThreads changes the number of threads; values below one mean one.
func (p *Pool) SetThreads(n int) {
	n = max(n, 1) - 1
	p.crammed.Store(n+1 > runtime.GOMAXPROCS(0))
	p.crowd.patience.CompareAndSwap(0, int64(patient))
	for len(p.workers) > n {
		last := len(p.workers) - 1
		p.workers[last].call(dismissed)
		p.workers = p.workers[:last]
	}
	for len(p.workers) < n {
		w := &worker{wake: make(chan struct{}, 1)}
		p.workers = append(p.workers, w)
		go p.serve(w, len(p.workers))
	}
}

// Close ends the goroutines. A closed Pool computes serially.
func (p *Pool) Close() { p.SetThreads(1) }

// Do calls f for a static contiguous partition of [0, n) whose inner bounds are
// multiples of align, each part on one worker, and returns when all are done.
// Workers with an empty part are not called. worker is below Threads() and
// unique among the parts of this call, but a nested Do is always worker 0, so
// state indexed by worker must belong to one call. A panic in a part is raised
// again in the caller once every part has ended.
func (p *Pool) Do(n, align int, f func(worker, lo, hi int)) {
	if n <= 0 {
		return
	}
	align = max(align, 1)
	if len(p.workers) == 0 || n <= align || !p.busy.CompareAndSwap(false, true) {
		f(0, 0, n)
		return
	}
	p.parts(n, align, f)
	p.end()
}

// end gives the pool back and raises the panic of a part.
func (p *Pool) end() {
	failure := p.failure
	p.part, p.failure, p.product = nil, nil, product{}
	p.busy.Store(false)
	if failure != nil {
		panic(failure)
	}
}

// parts runs every part. The caller has set busy and calls end afterwards.
func (p *Pool) parts(n, align int, f func(worker, lo, hi int)) {
	p.crowd.glance()
	p.n, p.align, p.part = n, align, f
	p.running.Store(int32(len(p.workers)))
	p.ended.Store(underWay)
	for _, w := range p.workers {
		w.call(called)
	}
	p.runPart(0)
	if !p.watch(&p.ended, underWay) && p.ended.CompareAndSwap(underWay, callerAsleep) {
		<-p.done
	}
}

// call changes the state of a worker that watches or sleeps.
func (w *worker) call(state uint32) {
	if w.state.Swap(state) == asleep {
		w.wake <- struct{}{}
	}
}

func (p *Pool) serve(w *worker, index int) {
	for {
		if !p.watch(&w.state, watching) && w.state.CompareAndSwap(watching, asleep) {
			<-w.wake
		}
		if w.state.Load() == dismissed {
			return
		}
		w.state.Store(watching)
		p.runPart(index)
		if p.running.Add(-1) == 0 && p.ended.Swap(allEnded) == callerAsleep {
			p.done <- struct{}{}
		}
	}
}

// runPart runs the part of one worker and keeps its panic for the caller.
func (p *Pool) runPart(index int) {
	defer func() {
		if v := recover(); v != nil {
			p.failed.Lock()
			if p.failure == nil {
				p.failure = v
			}
			p.failed.Unlock()
		}
	}()
	units, threads := (p.n+p.align-1)/p.align, len(p.workers)+1
	lo := units * index / threads * p.align
	hi := min(units*(index+1)/threads*p.align, p.n)
	if lo < hi {
		p.part(index, lo, hi)
	}
}
