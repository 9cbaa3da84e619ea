package sample

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"unicode/utf8"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/token"
)

// request is a Request in work. Its prompt is computed once, into the trunk;
// each completion shares the trunk's full blocks and copies the last one.
type request struct {
	Request
	seed   uint64
	caller *caller
	lineage
	emit      func(Event)
	maxTokens int // per completion, resolved
	drawing   drawing
	adjusting *adjusting // nil = the logits are drawn from as they are

	// The trunk holds positions 0..computed-1 of the prompt. It is kept while
	// the request lives, unless memory is short and no completion runs.
	trunk    []*block
	computed int
	filling  bool // the trunk has a place in every pass
	recalled int  // positions of the prompt that an earlier request had computed
	told     bool // an event said so
	// logits are those behind the prompt, nil until they are known and again
	// when every completion has begun.
	logits []float32
	echo   []scored // of each prompt token, with Echo and Logprobs

	completions []*completion
	cancelled   bool
}

// completion is one sequence of a request.
type completion struct {
	r      *request
	index  int
	phase  phase
	tokens []int32       // generated
	counts map[int32]int // of each generated token, where a penalty asks for them
	table  []*block      // positions 0..computed-1 are filled
	cached int           // positions computed

	decoder *token.Decoder
	stop    stopper
	next    [1]int32 // the token that a pass computes
	told    bool     // the first event is out
	drawn   drawn    // the token that the last pass led to
}

// phase is where a completion stands.
type phase int

const (
	fresh   phase = iota // waits for the prompt, for a place or for memory
	running              // takes part in every pass
	paused               // gave its memory back; its tokens will be computed again
	ended
)

// length is the number of tokens of prompt and completion.
func (c *completion) length() int { return len(c.r.Prompt) + len(c.tokens) }

// token returns the token at a position of prompt and completion.
func (c *completion) token(pos int) int32 {
	if n := len(c.r.Prompt); pos >= n {
		return c.tokens[pos-n]
	}
	return c.r.Prompt[pos]
}

// has says whether a completion is in phase p.
func (r *request) has(p phase) bool {
	return slices.ContainsFunc(r.completions, func(c *completion) bool { return c.phase == p })
}

// unbegun says whether a completion still needs the logits behind the prompt.
func (r *request) unbegun() bool { return r.has(fresh) }

func (r *request) finished() bool {
	return !slices.ContainsFunc(r.completions, func(c *completion) bool { return c.phase != ended })
}

// sharedBlocks is the number of full blocks of the prompt.
func (r *request) sharedBlocks() int { return len(r.Prompt) / blockTokens }

// target is how much of the prompt the trunk must hold now: all of it while a
// completion has to begin, its full blocks for those that come back.
func (r *request) target() int {
	switch {
	case r.unbegun():
		return len(r.Prompt)
	case r.has(paused):
		return r.sharedBlocks() * blockTokens
	}
	return 0
}

// accept checks a Request against the bounds of the sampler and resolves its
// defaults.
func (s *Sampler) accept(q Request, emit func(Event)) (*request, error) {
	r := &request{Request: q, emit: emit, drawing: drawing{q.Temperature, q.TopP, q.TopK, q.MinP, q.TypicalP}}
	r.N = max(r.N, 1)
	r.exact = s.pass.int8 == nil || r.Logprobs
	refuse := func(rule, key, format string, args ...any) (*request, error) {
		return nil, &engine.Problem{Rule: rule, Key: key, Message: fmt.Sprintf(format, args...)}
	}
	if q.Adapter != "" {
		if r.adapter = s.adapters[q.Adapter]; r.adapter == nil {
			return refuse("unknown-adapter", "", "the adapter is not loaded")
		}
	}
	switch {
	case r.N > MaxN:
		return refuse("sampling-bound", "n", "at most %d completions can be asked for", MaxN)
	case !(q.Temperature >= 0 && q.Temperature <= 1e6):
		return refuse("sampling-bound", "temperature", "the temperature must be a number that is not negative")
	case !(q.TopP >= 0 && q.TopP <= 1):
		return refuse("sampling-bound", "top_p", "top_p must lie between 0 and 1")
	case q.TopK < 0:
		return refuse("sampling-bound", "top_k", "top_k must not be negative")
	case !(q.MinP >= 0 && q.MinP <= 1):
		return refuse("sampling-bound", "min_p", "min_p must lie between 0 and 1")
	case !(q.TypicalP >= 0 && q.TypicalP <= 1):
		return refuse("sampling-bound", "typical_p", "typical_p must lie between 0 and 1")
	case q.EchoLast < 0:
		return refuse("sampling-bound", "echo_last", "echo_last must not be negative")
	case q.TopLogprobs < 0 || q.TopLogprobs > MaxTopLogprobs:
		return refuse("sampling-bound", "top_logprobs", "at most %d alternatives can be asked for", MaxTopLogprobs)
	case len(q.Stop) > MaxStops:
		return refuse("sampling-bound", "stop", "at most %d stop strings can be given", MaxStops)
	case len(q.Prompt) == 0:
		return refuse("empty-prompt", "prompt", "the prompt has no tokens")
	}
	for _, stop := range q.Stop {
		if stop == "" || len(stop) > MaxStopBytes || !utf8.ValidString(stop) {
			return refuse("sampling-bound", "stop", "a stop string must be text of 1 to %d bytes", MaxStopBytes)
		}
	}
	for _, id := range q.Prompt {
		if id < 0 || int(id) >= s.model.Config.Vocab {
			return refuse("token-id", "prompt", "a token id lies outside the model's vocabulary of %d", s.model.Config.Vocab)
		}
	}
	if err := s.fit(r); err != nil {
		return nil, err
	}
	var err error
	if r.adjusting, err = s.acceptAdjusting(&q); err != nil {
		return nil, err
	}
	r.seed = rand.Uint64()
	if q.Seed != nil {
		r.seed = uint64(*q.Seed)
	}
	r.Prompt, r.Stop = slices.Clone(q.Prompt), slices.Clone(q.Stop)
	if r.Echo && r.Logprobs {
		r.echo = make([]scored, len(r.Prompt))
	}
	for i := range r.N {
		r.completions = append(r.completions, &completion{r: r, index: i, decoder: s.tok.NewDecoder(true).Continuing(), stop: stopper{stops: r.Stop}})
	}
	return r, nil
}

// fit resolves maxTokens and refuses what can never be served: a request must
// fit into the context and, alone and one completion after another, into the cache.
func (s *Sampler) fit(r *request) error {
	left := s.opts.MaxContext - len(r.Prompt)
	need := max(1, r.MaxTokens)
	if r.MaxTokens < 0 {
		need = 0
	}
	if left < min(need, 1) || left < need && !r.Truncate {
		return &engine.Problem{Rule: "context-length", Key: "prompt",
			Message: fmt.Sprintf("the prompt has %d tokens and %d more were asked for; the context holds %d", len(r.Prompt), need, s.opts.MaxContext)}
	}
	r.maxTokens = min(need, left)
	if r.MaxTokens == 0 {
		r.maxTokens = left
	}
	// One block more than its own: the prompt's last block is kept for the
	// completions that have not begun.
	if blocks := blocksFor(len(r.Prompt)+r.maxTokens) + 1; blocks > s.cache.limit {
		if r.MaxTokens == 0 && s.cache.limit > blocksFor(len(r.Prompt))+1 {
			r.maxTokens = (s.cache.limit-1)*blockTokens - len(r.Prompt)
			return nil
		}
		return &engine.Problem{Rule: "cache-size", Key: "prompt",
			Message: fmt.Sprintf("prompt and completion of %d tokens do not fit into the sampling memory of %d tokens", len(r.Prompt)+r.maxTokens, max(0, s.cache.limit-1)*blockTokens)}
	}
	return nil
}
