package kernel

import (
	"sync"
	"sync/atomic"
)

// Team is the threads of a Pool inside one call of Together. They run the same
// program in stages; Wait ends a stage. A whole pass through a model costs one
// hand-over of the pool and a barrier per stage, which is far less than a
// hand-over per product where a product takes microseconds.
type Team struct {
	pool    *Pool
	size    int
	arrived atomic.Int32
	stage   atomic.Uint32

	asleep atomic.Int32 // members that sleep, or are about to
	mu     sync.Mutex
	wake   *sync.Cond

	broken  atomic.Bool // a member left with a panic
	program func(t *Team, member int)
	part    func(worker, lo, hi int)
}

// NewTeam returns a Team for the given program. One Team runs once at a time.
func NewTeam(program func(t *Team, member int)) *Team {
	t := &Team{program: program}
	t.wake = sync.NewCond(&t.mu)
	t.part = t.run
	return t
}

// Together runs the program of t once on every thread of the pool, or on the
// caller alone where the pool is busy. It returns when all members have; a panic
// of one is raised in the caller.
func (p *Pool) Together(t *Team) {
	t.pool, t.size = p, p.Threads()
	t.arrived.Store(0)
	t.broken.Store(false)
	p.Do(t.size, 1, t.part)
}

// run is one member's part, or, where Do was serial, everybody's.
func (t *Team) run(member, lo, hi int) {
	if hi-lo > 1 {
		t.size = 1
	}
	whole := false
	defer func() {
		if whole {
			return
		}
		if t.broken.CompareAndSwap(false, true) {
			t.release() // the others must not wait for this one; its panic goes on
			return
		}
		_ = recover() // left because another failed
	}()
	t.program(t, member)
	whole = true
}

// Size is the number of members.
func (t *Team) Size() int { return t.size }

// Wait returns when every member has called it: what they wrote before is seen
// by all behind it.
func (t *Team) Wait() {
	if t.size == 1 {
		return
	}
	stage := t.stage.Load()
	if t.broken.Load() { // seen here, or the release behind it ends this stage
		panic("kernel: another member of the team failed")
	}
	if int(t.arrived.Add(1)) == t.size {
		t.arrived.Store(0)
		t.release()
	} else if !t.pool.watch(&t.stage, stage) {
		t.sleep(stage)
	}
	if t.broken.Load() {
		panic("kernel: another member of the team failed")
	}
}

// release begins the next stage.
func (t *Team) release() {
	t.stage.Add(1)
	if t.asleep.Load() > 0 {
		t.mu.Lock()
		t.wake.Broadcast()
		t.mu.Unlock()
	}
}

// sleep waits for the end of a stage that takes long: a member's processor was
// given away.
func (t *Team) sleep(stage uint32) {
	t.mu.Lock()
	t.asleep.Add(1)
	for t.stage.Load() == stage {
		t.wake.Wait()
	}
	t.asleep.Add(-1)
	t.mu.Unlock()
}

// Share is a member's part [lo, hi) of n units: contiguous, the same for the
// same size.
func (t *Team) Share(member, n int) (lo, hi int) {
	return n * member / t.size, n * (member + 1) / t.size
}
