package sample

import (
	"fmt"

	"github.com/firekeep/firekeep/internal/engine"
)

// drawn is a token with its log-probs.
type drawn struct {
	id       int32
	sampling float64
	scored   scored
	ok       bool // false: the logits were not finite
}

// compute runs the planned pass and draws from its logits.
func (s *Sampler) compute() {
	if len(s.work) == 0 {
		return
	}
	s.pass.begin()
	for i := range s.work {
		w := &s.work[i]
		s.pass.add(w.span)
		if w.c == nil && w.span.want < len(w.span.tokens) && w.span.pos+len(w.span.tokens) == len(w.r.Prompt) && w.r.logits == nil {
			w.r.logits = s.takeLogits()
		}
	}
	s.choosersFor(s.pool.Threads())
	s.pass.compute()
}

// visited takes the logits of one row, on any thread.
func (s *Sampler) visited(member int, row wanted, logits []float32) {
	w := &s.work[row.span]
	if w.c != nil {
		w.c.draw(&s.choosers[member], logits)
		return
	}
	end := w.span.pos + row.index + 1
	w.r.behind(end, logits)
	if end == len(w.r.Prompt) {
		copy(w.r.logits, logits)
	}
}

func (s *Sampler) choosersFor(threads int) {
	for len(s.choosers) < threads {
		s.choosers = append(s.choosers, chooser{})
	}
}

// eachBegun calls f for the completions that begin, on all threads.
func (s *Sampler) eachBegun(f func(c *chooser, begun *completion)) {
	if len(s.begun) == 0 {
		return
	}
	s.choosersFor(s.pool.Threads())
	s.pool.Do(len(s.begun), 1, func(worker, lo, hi int) {
		for _, c := range s.begun[lo:hi] {
			f(&s.choosers[worker], c)
		}
	})
}

func (s *Sampler) takeLogits() []float32 {
	if n := len(s.spare); n > 0 {
		l := s.spare[n-1]
		s.spare = s.spare[:n-1]
		return l
	}
	return make([]float32, s.model.Config.Vocab)
}

// behind scores prompt token pos from the logits before it, if that is wanted.
func (r *request) behind(pos int, logits []float32) {
	if !r.Echo || !r.Logprobs || pos >= len(r.Prompt) || pos < r.echoFrom() {
		return
	}
	r.echo[pos] = score(logits, r.Prompt[pos], r.TopLogprobs)
}

// echoFrom is the first position of the prompt that Echo shows.
func (r *request) echoFrom() int {
	if r.EchoLast > 0 {
		return max(0, len(r.Prompt)-r.EchoLast)
	}
	return 0
}

// draw draws the completion's next token.
func (c *completion) draw(ch *chooser, logits []float32) {
	r := c.r
	d := &c.drawn
	d.id, d.sampling, d.ok = ch.draw(ch.adjust(logits, c), r.drawing, uniform(r.seed, c.index, len(c.tokens)))
	if d.ok && r.Logprobs {
		d.scored = score(logits, d.id, r.TopLogprobs)
	}
}

// settle takes over what the pass computed.
func (s *Sampler) settle() {
	for i := range s.work {
		w := &s.work[i]
		n := len(w.span.tokens)
		if w.c == nil {
			w.r.computed += n
			s.keep(w.r.lineage, w.r.Prompt[:w.r.computed], w.r.trunk)
			if w.r.computed >= w.r.target() {
				w.r.filling = false
			}
			continue
		}
		w.c.cached += n
		if w.c.cached == w.c.length() && !w.r.cancelled {
			s.advance(w.c)
		}
	}
}

// begin starts completions whose prompt is computed, as far as places and
// memory allow, in order of arrival.
func (s *Sampler) begin() {
	s.census()
	places := s.places()
	s.begun = s.begun[:0]
	for i, r := range s.requests {
		if r.cancelled {
			continue
		}
		if r.has(paused) || r.computed < r.target() && !r.filling {
			if s.yields(r.caller) {
				continue
			}
			break // an older one waits for what this one would take
		}
		if r.filling || r.logits == nil || r.computed < len(r.Prompt) {
			continue
		}
		blocked := false
		for _, c := range r.completions {
			if c.phase != fresh {
				continue
			}
			if s.yields(r.caller) {
				break
			}
			if places >= s.opts.MaxSequences || !s.admit(i, 1) {
				blocked = true
				break
			}
			places++
			r.caller.seat()
			s.fork(c)
			s.begun = append(s.begun, c)
		}
		if blocked {
			break
		}
	}
	s.eachBegun(func(ch *chooser, c *completion) {
		if c.r.MaxTokens >= 0 {
			c.draw(ch, c.r.logits)
		}
	})
	for _, c := range s.begun {
		if c.r.MaxTokens < 0 {
			s.end(c, Event{Finish: FinishLength})
		} else {
			s.advance(c)
		}
	}
	for _, c := range s.begun {
		if r := c.r; !r.unbegun() && r.logits != nil {
			s.recycle(r)
			full := r.sharedBlocks()
			s.cache.release(r.trunk[full:])
			r.trunk, r.computed = r.trunk[:full], full*blockTokens
		}
	}
}

// fork gives a completion the prompt's blocks: the full ones by reference and a
// copy of the last, which the completion will go on writing. The last
// completion to begin takes that one itself.
func (s *Sampler) fork(c *completion) {
	r, full := c.r, c.r.sharedBlocks()
	c.phase, c.cached = running, len(r.Prompt)
	c.tokens = make([]int32, 0, min(r.maxTokens, 4096)) // appending allocates nothing
	s.cache.share(r.trunk[:full])
	c.table = append(make([]*block, 0, blocksFor(len(r.Prompt)+r.maxTokens)), r.trunk[:full]...)
	if full == len(r.trunk) {
		return
	}
	if r.unbegun() {
		c.table = append(c.table, s.cache.copyOf(r.trunk[full]))
		return
	}
	c.table = append(c.table, r.trunk[full])
	r.trunk = r.trunk[:full]
}

// advance adds the drawn token to a completion and tells the caller.
func (s *Sampler) advance(c *completion) {
	r, d := c.r, &c.drawn
	if !d.ok {
		s.end(c, Event{Finish: FinishFailed, Problem: &engine.Problem{Rule: "logits-not-finite",
			Message: fmt.Sprintf("the model's output at token %d is not a finite number; its weights or the adapter's are damaged", c.length())}})
		return
	}
	c.tokens = append(c.tokens, d.id)
	if r.adjusting.counts() {
		if c.counts == nil {
			c.counts = map[int32]int{}
		}
		c.counts[d.id]++
	}
	s.told[0] = s.token(d.id, d.scored, d.sampling)
	e := Event{Tokens: s.told[:]}
	if s.ends[d.id] && !r.IgnoreEOS {
		e.Finish = FinishStop
		e.Text = c.rest()
		s.end(c, e)
		return
	}
	text, hit := c.stop.push(c.decoder.Push(d.id))
	e.Text = text
	switch {
	case hit:
		e.Finish = FinishStop
	case len(c.tokens) >= r.maxTokens:
		e.Finish = FinishLength
		e.Text += c.rest()
	}
	if e.Finish != "" {
		s.end(c, e)
		return
	}
	s.tell(c, e)
}

// rest is the text that was held back when no more follows.
func (c *completion) rest() string {
	text, hit := c.stop.push(c.decoder.Flush())
	if hit {
		return text
	}
	return text + c.stop.flush()
}

// end finishes a completion with its last event.
func (s *Sampler) end(c *completion, e Event) {
	s.keepAnswer(c, e.Finish)
	s.cache.release(c.table)
	c.table, c.phase = nil, ended
	s.tell(c, e)
}

// keepAnswer lets a next turn begin with this completion: its blocks hold what
// prompt and answer gave. A failed one's values are of no use.
func (s *Sampler) keepAnswer(c *completion, finish Finish) {
	if finish != FinishStop && finish != FinishLength || c.cached/blockTokens <= c.r.sharedBlocks() {
		return
	}
	s.history = append(s.history[:0], c.r.Prompt...)
	s.history = append(s.history, c.tokens...)
	s.keep(c.r.lineage, s.history[:c.cached], c.table)
}

// keep remembers blocks for later requests, unless their adapter is gone.
func (s *Sampler) keep(a lineage, tokens []int32, table []*block) {
	if a.adapter == nil || !a.adapter.removed {
		s.cache.keep(a, tokens, table)
	}
}

// tell emits e, with the prompt if it is the completion's first event.
func (s *Sampler) tell(c *completion, e Event) {
	r := c.r
	if !c.told {
		c.told = true
		e.PromptTokens, e.Prompt, e.CachedTokens = len(r.Prompt), r.Prompt, r.recalled
		r.told = true
		if r.Echo {
			from := r.echoFrom()
			e.Text = s.tok.Decode(r.Prompt[from:], false) + e.Text
			tokens := make([]Token, 0, len(r.Prompt)-from+len(e.Tokens))
			for i, id := range r.Prompt[from:] {
				var known scored
				if r.Logprobs {
					known = r.echo[from+i]
				}
				tokens = append(tokens, s.token(id, known, 0))
			}
			e.Tokens, e.Echoed = append(tokens, e.Tokens...), len(tokens)
		}
	}
	c.emit(e)
}

func (c *completion) emit(e Event) {
	e.ID, e.Index, e.Generated = c.r.ID, c.index, len(c.tokens)
	c.r.emit(e)
}

// token describes one token for an event.
func (s *Sampler) token(id int32, sc scored, sampling float64) Token {
	p := s.piece(id)
	t := Token{ID: id, Text: p.text, Bytes: p.bytes, Logprob: sc.logprob, Sampling: sampling}
	for _, a := range sc.top {
		p := s.piece(a.id)
		t.Top = append(t.Top, Alternative{ID: a.id, Text: p.text, Bytes: p.bytes, Logprob: a.logprob})
	}
	return t
}

// piece is what an event says of a token of the vocabulary.
type piece struct {
	text  string
	bytes []byte
	known bool
}

// piece returns the piece of a token, made when it is first needed.
func (s *Sampler) piece(id int32) *piece {
	p := &s.pieces[id]
	if !p.known {
		*p = piece{text: s.tok.TokenText(id), bytes: []byte(s.tok.TokenBytes(id)), known: true}
	}
	return p
}
