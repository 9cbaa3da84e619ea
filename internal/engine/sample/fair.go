package sample

import "slices"

// Fairness between callers. Within a caller requests are served in the order of
// their arrival; between callers, a place that becomes free goes to the one that
// waits with the fewest. Who works alone gets everything.

// caller is one of those that share the sampler.
type caller struct {
	id       uint64
	requests int // in work
	places   int // completions and trunks in every pass
	waiting  int // what could take a place now
}

// enroll counts a request of a caller.
func (s *Sampler) enroll(id uint64) *caller {
	i := slices.IndexFunc(s.callers, func(c *caller) bool { return c.id == id })
	if i < 0 {
		i = len(s.callers)
		s.callers = append(s.callers, &caller{id: id})
	}
	s.callers[i].requests++
	return s.callers[i]
}

func (s *Sampler) dismiss(c *caller) {
	if c.requests--; c.requests == 0 {
		i := slices.Index(s.callers, c)
		s.callers = slices.Delete(s.callers, i, i+1)
	}
}

// census counts what each caller has and waits for.
func (s *Sampler) census() {
	for _, c := range s.callers {
		c.places, c.waiting = 0, 0
	}
	for _, r := range s.requests {
		if r.cancelled {
			continue
		}
		switch {
		case r.filling:
			r.caller.places++
		case r.computed < r.target():
			r.caller.waiting++
		}
		for _, c := range r.completions {
			switch {
			case c.phase == running:
				r.caller.places++
			case c.phase == paused, c.phase == fresh && !r.filling && r.logits != nil:
				r.caller.waiting++
			}
		}
	}
}

// yields says whether a place that c could take belongs to another caller. The
// one with the fewest places never yields, so work goes on.
func (s *Sampler) yields(c *caller) bool {
	return slices.ContainsFunc(s.callers, func(o *caller) bool { return o.waiting > 0 && o.places < c.places })
}

// seat counts a place that c took.
func (c *caller) seat() { c.places, c.waiting = c.places+1, c.waiting-1 }
