package kernel

import (
	"sync/atomic"
	"time"
)

// crowd says how long a thread of a pool looks for work before it sleeps.
//
// Alone on its processors it looks for much longer than waking takes, tens of
// microseconds: a thread that sleeps too soon keeps its partner waiting until that
// one sleeps as well, and then every part of a step pays for two wakings. Where
// other programs want the same processors it sleeps at once, because a processor
// on which somebody looks is one that neither its partner nor they can have.
type crowd struct {
	patience atomic.Int64 // nanoseconds

	// Of the pool's caller.
	next    time.Time // of the next count
	counted int64     // how often the process was put off a processor until the last one
}

// The patience of a thread alone and in company. It is measured by the clock: a
// pause takes 10 ns on one processor and 50 on another.
const (
	patient   = 200 * time.Microsecond
	impatient = 5 * time.Microsecond
)

// countEvery is the time between two counts; crowded is the rate, per second, of
// being put off a processor that says the processors are wanted. Measured with two
// threads on two processors: 140 alone, 4000 beside one busy program.
const (
	countEvery = 20 * time.Millisecond
	crowded    = 800
)

// glance counts again if it is time to, and is called at the begin of a computation.
func (c *crowd) glance() {
	if now := time.Now(); !now.Before(c.next) {
		count, known := putOff()
		c.judge(now, count, known)
	}
}

// judge sets the patience by what was counted since the last time.
func (c *crowd) judge(now time.Time, count int64, known bool) {
	p := patient
	if known && !c.next.IsZero() {
		since := now.Sub(c.next) + countEvery
		if float64(count-c.counted) > crowded*since.Seconds() {
			p = impatient
		}
	}
	c.patience.Store(int64(p))
	c.next, c.counted = now.Add(countEvery), count
}
