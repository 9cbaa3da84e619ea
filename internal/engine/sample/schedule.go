package sample

import (
	"cmp"
	"slices"
)

// Scheduling. What runs stays; what waits is admitted in turn between callers
// (fair.go) and otherwise first come, first served; and when memory is
// short the youngest gives its blocks back and computes its tokens again later.
// That changes no answer, because no value depends on the company it was
// computed in. The oldest can always take what it needs, so work always ends.

// work is what a span of the pass is for: a completion's next token or, with c
// nil, a chunk of the prompt of r.
type work struct {
	r    *request
	c    *completion
	span span
}

// plan fills s.work with the next pass.
func (s *Sampler) plan() {
	s.census()
	clear(s.work)
	s.work = s.work[:0]
	p := planner{Sampler: s, budget: chunkTokens, places: s.places()}
	for i, r := range s.requests {
		if r.cancelled {
			continue
		}
		for _, c := range r.completions {
			if c.phase == running {
				p.continueCompletion(i, c)
			}
		}
		if r.computed < r.target() {
			p.fillTrunk(i, r)
		}
		for _, c := range r.completions {
			if c.phase == paused {
				p.resume(i, c)
			}
		}
	}
	s.orderByAdapter()
}

// planner holds what is left to give away while a pass is planned.
type planner struct {
	*Sampler
	budget  int  // prompt tokens
	places  int  // of completions and trunks that take part in the pass
	blocked bool // something waits that nothing younger may overtake
}

// places counts the completions and trunks in every pass.
func (s *Sampler) places() int {
	n := 0
	for _, r := range s.requests {
		if r.filling {
			n++
		}
		for _, c := range r.completions {
			if c.phase == running {
				n++
			}
		}
	}
	return n
}

// continueCompletion plans the next token of a running completion, or a chunk
// of what it has to compute again.
func (p *planner) continueCompletion(i int, c *completion) {
	n := c.length() - c.cached
	if n > 1 {
		n = min(n, p.budget)
		p.budget -= n
	}
	if n == 0 {
		return
	}
	if !p.room(&c.table, c.cached+n, i, c.index) {
		p.pause(c)
		p.places--
		p.blocked = true
		return
	}
	tokens := c.next[:]
	if n > 1 {
		tokens = make([]int32, n)
	}
	for j := range tokens {
		tokens[j] = c.token(c.cached + j)
	}
	want := n
	if c.cached+n == c.length() {
		want = n - 1
	}
	p.work = append(p.work, work{r: c.r, c: c, span: span{lineage: c.r.lineage, tokens: tokens, pos: c.cached,
		table: c.table, shared: c.r.sharedBlocks(), family: c.r, want: want}})
}

// fillTrunk plans a chunk of a prompt.
func (p *planner) fillTrunk(i int, r *request) {
	if !r.filling {
		switch {
		case p.yields(r.caller):
			return
		case p.blocked || p.places >= p.opts.MaxSequences:
			p.blocked = true
			return
		}
		recalled := p.recall(r)
		if r.computed >= r.target() {
			return
		}
		if !p.admit(i, blocksFor(r.target())-len(r.trunk)+p.reserve()) {
			p.blocked = true
			if recalled {
				p.dropTrunk(r) // the tree keeps it
			}
			return
		}
		r.filling = true
		p.places++
		r.caller.seat()
	}
	n := min(r.target()-r.computed, p.budget)
	if n == 0 {
		return
	}
	if !p.room(&r.trunk, r.computed+n, i, len(r.completions)) {
		p.dropTrunk(r)
		p.places--
		p.blocked = true
		return
	}
	p.budget -= n
	end := r.computed + n
	want := n
	switch {
	case r.Echo && r.Logprobs && r.unbegun():
		want = 0
	case end == len(r.Prompt):
		want = n - 1
	}
	p.work = append(p.work, work{r: r, span: span{lineage: r.lineage, tokens: r.Prompt[r.computed:end], pos: r.computed,
		table: r.trunk, shared: blocksFor(end), want: want}})
}

// recall begins a trunk with what is known of its tokens from earlier requests.
// Logits cannot be recalled: where they are wanted, tokens are computed.
func (s *Sampler) recall(r *request) bool {
	if r.computed > 0 || len(r.trunk) > 0 || r.Echo && r.Logprobs && r.unbegun() {
		return false
	}
	most := r.target() / blockTokens
	if r.unbegun() {
		most = min(most, (len(r.Prompt)-1)/blockTokens)
	}
	r.trunk = s.cache.find(r.lineage, r.Prompt, most)
	r.computed = len(r.trunk) * blockTokens
	if !r.told {
		r.recalled = r.computed
	}
	return r.computed > 0
}

// resume brings a paused completion back when its prompt is there.
func (p *planner) resume(i int, c *completion) {
	r, full := c.r, c.r.sharedBlocks()
	if r.computed < full*blockTokens {
		return
	}
	if p.yields(r.caller) {
		return
	}
	if p.blocked || p.places >= p.opts.MaxSequences || !p.admit(i, blocksFor(c.length())-full+p.reserve()) {
		p.blocked = true
		return
	}
	p.cache.share(r.trunk[:full])
	c.table, c.cached, c.phase = slices.Clone(r.trunk[:full]), full*blockTokens, running
	p.places++
	r.caller.seat()
	p.continueCompletion(i, c)
}

// reserve is what must stay free when something is admitted: a block, so that
// it does not give its place back at once. What has the memory to itself needs
// none, and might not find one.
func (p *planner) reserve() int { return min(p.places, 1) }

// pause takes the memory of a running completion away.
func (s *Sampler) pause(c *completion) {
	s.cache.release(c.table)
	c.table, c.cached, c.phase = nil, 0, paused
}

// admit says whether n blocks can be had for something of request i without
// taking them from what runs.
func (s *Sampler) admit(i, n int) bool {
	for j := len(s.requests) - 1; j > i && s.cache.available() < n; j-- {
		if r := s.requests[j]; !r.filling && !r.has(running) {
			s.dropTrunk(r)
		}
	}
	return s.cache.available() >= n
}

// room makes table hold the given number of positions, taking memory from what
// is younger than completion index of request i where it has to.
func (p *planner) room(table *[]*block, positions, i, index int) bool {
	for len(*table) < blocksFor(positions) {
		if p.cache.available() == 0 && !p.reclaim(i, index) {
			return false
		}
		*table = append(*table, p.cache.take())
	}
	return true
}

// reclaim frees at least one block held by something younger, the youngest
// first. What it takes from has not been planned yet.
func (p *planner) reclaim(i, index int) bool {
	for j := len(p.requests) - 1; j >= i; j-- {
		r := p.requests[j]
		for k := len(r.completions) - 1; k >= 0 && (j > i || k > index); k-- {
			if c := r.completions[k]; c.phase == running {
				p.pause(c)
				p.places--
				if p.cache.available() > 0 {
					return true
				}
			}
		}
		if j > i && len(r.trunk) > 0 {
			if r.filling {
				p.places--
			}
			p.dropTrunk(r)
			if p.cache.available() > 0 {
				return true
			}
		}
	}
	return false
}

// orderByAdapter brings spans with the same weights together, those in full
// precision first, keeping the order of arrival within.
func (s *Sampler) orderByAdapter() {
	clear(s.order)
	s.order = s.order[:0]
	for _, exact := range []bool{true, false} {
		for i := range s.work {
			if from := s.work[i].span.lineage; from.exact == exact && !slices.Contains(s.order, from) {
				s.order = append(s.order, from)
			}
		}
	}
	if len(s.order) > 1 {
		slices.SortStableFunc(s.work, func(a, b work) int {
			return cmp.Compare(slices.Index(s.order, a.span.lineage), slices.Index(s.order, b.span.lineage))
		})
	}
}
