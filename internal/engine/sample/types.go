// Package sample decodes text from a base model and its LoRA adapters with a
// KV cache: continuous batching, prompts that are computed once and shared by
// their completions, base and several adapters in the same pass.
//
// A sampled answer depends on the weights, the adapter, the prompt, the
// request's parameters, its seed and the kernel level, and on nothing else: not on
// the other requests, on when they arrive, on chunking, preemption or threads.
//
// One goroutine owns a Sampler:
//
//	s := sample.New(pool, base, tokenizer, sample.Options{...})
//	err := s.AddAdapter(digest, adapter)
//	err = s.Submit(sample.Request{...}, func(e sample.Event) { ... })
//	for s.Step() { ... }   // one pass each; Submit, Cancel and adapters between passes
package sample

import "github.com/firekeep/firekeep/internal/engine"

// Options bounds a Sampler.
type Options struct {
	MaxSequences int   // completions decoded at once; 0 = 32
	MaxContext   int   // prompt and completion in tokens; 0 = the model's positions
	CacheBytes   int64 // KV memory; 0 = 1 GiB
	// Int8: requests without log-probs are decoded with weights of one byte, a
	// quarter of the memory to read; see docs/performance.md for what it costs.
	Int8 bool
}

// Request asks for N completions of one prompt.
type Request struct {
	ID      uint64 // chosen by the caller, unique among the requests in work
	Caller  uint64 // whose it is: callers take turns
	Adapter string // as given to AddAdapter; "" = base
	Prompt  []int32
	N       int // 0 = 1

	MaxTokens   int     // per completion; 0 = to the context's end, < 0 = none (score the prompt with Echo)
	Temperature float64 // 0 = greedy
	TopP        float64 // 1 = off; 0 keeps the most probable token only
	TopK        int     // 0 = off
	MinP        float64 // 0 = off; the least probability, as a share of the most probable token's
	TypicalP    float64 // 0 and 1 = off
	Seed        *int64  // nil = a fresh one
	// Penalties and biases change the logits before anything else; Logprob is
	// still of what the model said.
	RepetitionPenalty float64 // 0 and 1 = off; of tokens of prompt and completion
	FrequencyPenalty  float64 // 0 = off; per occurrence in the completion
	PresencePenalty   float64 // 0 = off; once, of tokens in the completion
	Bias              []Bias  // at most MaxBiases
	Stop              []string
	IgnoreEOS         bool
	Logprobs          bool // Token.Logprob and Token.Sampling are computed
	TopLogprobs       int  // alternatives per token, at most MaxTopLogprobs
	Echo              bool // the prompt comes first in text and tokens, with log-probs if asked for
	EchoLast          int  // with Echo: only so many of the prompt's last tokens; 0 = all
	// Truncate: a prompt and MaxTokens that exceed the context together are an
	// error unless true; then MaxTokens shrinks to what is left.
	Truncate bool
}

// Bias is added to a token's logit.
type Bias struct {
	ID    int32
	Value float64
}

// Bounds of a request.
const (
	MaxTopLogprobs = 20
	MaxBiases      = 4096
	MaxN           = 1024
	MaxStops       = 64
	MaxStopBytes   = 4096 // of one stop string
)

// Event carries what one pass produced for one completion.
type Event struct {
	ID    uint64
	Index int // of the completion
	// Text continues the completion's text: valid UTF-8, special tokens left
	// out, what could become a stop string held back.
	Text string
	// Tokens is the sampler's memory and holds until emit returns; what a Token
	// refers to stays, and is not to be written to.
	Tokens []Token
	// Echoed is the number of leading Tokens that belong to the prompt (with
	// Echo, in a completion's first event). The prompt's very first has no log-prob.
	Echoed int
	// PromptTokens and Prompt are set in each completion's first event.
	PromptTokens int
	Prompt       []int32
	// CachedTokens of the prompt were computed for an earlier request already. It
	// is set with PromptTokens.
	CachedTokens int
	// Finish is set in the completion's last event.
	Finish Finish
	// Generated counts the completion's tokens so far, the end-of-turn included.
	Generated int
	// Problem says why a completion failed (Finish is FinishFailed).
	Problem *engine.Problem
}

// Finish says why a completion ended.
type Finish string

const (
	FinishStop      Finish = "stop"   // end of turn or stop string
	FinishLength    Finish = "length" // MaxTokens or context
	FinishCancelled Finish = "cancelled"
	FinishFailed    Finish = "failed" // see Event.Problem
)

// Token is one token of a completion or of an echoed prompt. The end-of-turn
// token is listed too, though it has no part in Text.
type Token struct {
	ID    int32
	Text  string // of the token alone; bytes that are not UTF-8 are U+FFFD
	Bytes []byte // of the token alone
	// Logprob is of the raw softmax: temperature 1, nothing cut off, as the trainer computes it.
	Logprob float64
	// Sampling is of the distribution that the token was drawn from: 0 when greedy or echoed.
	Sampling float64
	Top      []Alternative // most probable first
}

// Alternative is a token that could have stood at one position.
type Alternative struct {
	ID      int32
	Text    string
	Bytes   []byte
	Logprob float64
}

// Load says how busy a Sampler is.
type Load struct {
	Running int // completions in every pass
	Waiting int // completions that wait for their prompt, a place or memory
	Blocks  int // blocks of KV memory in use
	Limit   int // blocks there may be
}
