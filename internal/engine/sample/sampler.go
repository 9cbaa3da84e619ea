package sample

import (
	"slices"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/token"
)

const (
	defaultSequences = 32
	defaultCache     = 1 << 30
	// chunkTokens is the number of prompt tokens that one pass computes, so
	// that decoding goes on beside long prompts.
	chunkTokens = 256
)

// Sampler serves requests. It belongs to one goroutine.
type Sampler struct {
	pool     *kernel.Pool
	model    *model.Model
	tok      *token.Tokenizer
	opts     Options
	cache    *cache
	pass     *pass
	adapters map[string]*adapter
	ends     map[int32]bool // tokens that end a turn

	requests []*request // in order of arrival
	callers  []*caller  // of the requests
	stepping bool

	work     []work        // of the pass, parallel to its spans
	history  []int32       // of a completion that ends
	order    []lineage     // of the pass, as they first appear
	told     [1]Token      // of the event that is being told
	pieces   []piece       // of the vocabulary
	begun    []*completion // that begin behind this pass
	choosers []chooser     // per worker
	spare    [][]float32   // logits to use again
}

// New returns a sampler of m, whose texts tok reads and writes. The kernels'
// threads are the pool's; its number of threads may change between passes. Keys
// and values are kept in the precision that m has now.
func New(pool *kernel.Pool, m *model.Model, tok *token.Tokenizer, o Options) *Sampler {
	if o.MaxSequences <= 0 {
		o.MaxSequences = defaultSequences
	}
	if o.MaxContext <= 0 || o.MaxContext > m.Config.MaxPositions {
		o.MaxContext = m.Config.MaxPositions
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = defaultCache
	}
	s := &Sampler{pool: pool, model: m, tok: tok, opts: o, cache: newCache(&m.Config, o.CacheBytes, m.Head.BF16 != nil),
		adapters: map[string]*adapter{}, ends: map[int32]bool{}}
	s.pass = newPass(pool, m, s.cache, o.MaxContext, s.visited)
	if o.Int8 {
		s.pass.int8 = newInt8Weights(m)
	}
	s.pieces = make([]piece, m.Config.Vocab)
	for _, id := range slices.Concat(m.Config.EOS, tok.EndOfTurn()) {
		s.ends[id] = true
	}
	return s
}

// AddAdapter makes a available under id. The sampler keeps its own copy. An
// adapter that does not fit the model is an *engine.Problem.
func (s *Sampler) AddAdapter(id string, a *model.Adapter) error {
	if id == "" {
		return &engine.Problem{Rule: "adapter-id", Message: "an adapter needs an id"}
	}
	p, err := packAdapter(&s.model.Config, a)
	if err != nil {
		return err
	}
	s.RemoveAdapter(id) // what another one under this id computed is none of its business
	s.adapters[id] = p
	return nil
}

// RemoveAdapter forgets an adapter, if it has it. Requests in work keep using it.
func (s *Sampler) RemoveAdapter(id string) (had bool) {
	a := s.adapters[id]
	if a == nil {
		return false
	}
	a.removed = true
	s.cache.forget(a)
	delete(s.adapters, id)
	return true
}

// Submit takes a request on. emit is called from Step and Cancel with what the
// completions produce; the last event of each completion has a Finish. A
// request that cannot be served is an *engine.Problem, and emit is not called.
func (s *Sampler) Submit(q Request, emit func(Event)) error {
	if slices.ContainsFunc(s.requests, func(r *request) bool { return r.ID == q.ID }) {
		return &engine.Problem{Rule: "duplicate-request", Message: "a request with this id is in work"}
	}
	r, err := s.accept(q, emit)
	if err != nil {
		return err
	}
	r.caller = s.enroll(q.Caller)
	s.requests = append(s.requests, r)
	return nil
}

// Cancel ends a request: FinishCancelled is emitted for each completion that is
// not finished, at once or, inside an emit, at the end of the pass. It reports
// whether the request was in work.
func (s *Sampler) Cancel(id uint64) bool {
	i := slices.IndexFunc(s.requests, func(r *request) bool { return r.ID == id && !r.cancelled })
	if i < 0 {
		return false
	}
	s.requests[i].cancelled = true
	if !s.stepping {
		s.reap()
	}
	return true
}

// Step makes one pass: one token for every running completion, a chunk of the
// prompts that wait. It returns false when no request is left.
func (s *Sampler) Step() (busy bool) {
	if len(s.requests) == 0 {
		return false
	}
	s.stepping = true
	s.plan()
	s.compute()
	s.settle()
	s.begin()
	s.stepping = false
	s.reap()
	return len(s.requests) > 0
}

// Load returns the state of the queue and of the memory.
func (s *Sampler) Load() Load {
	l := Load{Blocks: s.cache.limit - s.cache.available(), Limit: s.cache.limit}
	for _, r := range s.requests {
		for _, c := range r.completions {
			switch c.phase {
			case running:
				l.Running++
			case fresh, paused:
				l.Waiting++
			}
		}
	}
	return l
}

// reap drops requests that are finished or cancelled.
func (s *Sampler) reap() {
	var cancelled []*request
	kept := s.requests[:0]
	for _, r := range s.requests {
		switch {
		case r.finished():
			s.drop(r)
		case r.cancelled:
			cancelled = append(cancelled, r)
		default:
			kept = append(kept, r)
		}
	}
	clear(s.requests[len(kept):])
	s.requests = kept
	for _, r := range cancelled { // behind the change of the list: an emit may call back
		s.drop(r)
		for _, c := range r.completions {
			if c.phase != ended {
				c.phase = ended
				c.emit(Event{Finish: FinishCancelled})
			}
		}
	}
}

// drop releases all memory of a request.
func (s *Sampler) drop(r *request) {
	s.dismiss(r.caller)
	for _, c := range r.completions {
		s.cache.release(c.table)
		c.table = nil
	}
	s.dropTrunk(r)
	s.recycle(r)
}

// dropTrunk releases the prompt's blocks; completions that run keep theirs.
func (s *Sampler) dropTrunk(r *request) {
	s.cache.release(r.trunk)
	r.trunk, r.computed, r.filling = nil, 0, false
}

// recycle takes the logits behind the prompt back.
func (s *Sampler) recycle(r *request) {
	if r.logits != nil {
		s.spare = append(s.spare, r.logits)
		r.logits = nil
	}
}
