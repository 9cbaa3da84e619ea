package control

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
	"github.com/firekeep/firekeep/internal/wire"
)

// Bounds of a sampling request, from the contract.
const (
	maxChoices       = 128 // prompts times n
	maxStops         = 4
	maxTopLogprobs   = 5
	defaultMaxTokens = 2048
	maxMessages      = 4096
)

// Sampling is a request that was checked and whose model was found.
type Sampling struct {
	// Model is the model as the client named it; answers repeat it.
	Model string
	// Choices is how many completions will come: one prompt after another, N each.
	Choices int
	N       int
	// Logprobs, TokenIDs and Raw say what the answer must show.
	Logprobs *api.LogprobsMode
	TokenIDs bool
	Raw      bool
	Echo     bool
	Perf     bool
	// IncludeUsage asks for a last chunk with usage and no choices.
	IncludeUsage bool
	Prompts      []string // texts of completions, for raw_output

	target   serving.Target
	requests []wire.SampleRequest
	router   *serving.Router
	// explain gives the account's key as the reason where it is.
	explain func(context.Context, error) error
}

// Run samples and calls yield for every event, from one goroutine at a time.
// Event.Index counts over all choices. An error of yield, and the end of ctx,
// cancel the work in the engine.
func (s *Sampling) Run(ctx context.Context, yield func(wire.SampleEvent) error) error {
	err := s.run(ctx, yield)
	if err != nil && s.explain != nil {
		return s.explain(ctx, err)
	}
	return err
}

func (s *Sampling) run(ctx context.Context, yield func(wire.SampleEvent) error) error {
	if len(s.requests) == 1 {
		return s.router.Generate(ctx, s.target, s.requests[0], yield)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i, r := range s.requests {
		wg.Go(func() {
			err := s.router.Generate(ctx, s.target, r, func(e wire.SampleEvent) error {
				mu.Lock()
				defer mu.Unlock()
				e.Index += i * s.N
				return yield(e)
			})
			if err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return nil
	case rft.KindOf(cause) == rft.KindUnknown: // the client's end, which is no failure of ours
		return rft.Wrap(rft.KindCancelled, cause, "cancelled")
	default:
		return cause
	}
}

// Chat checks a chat request and finds its model.
func (c *Control) Chat(ctx context.Context, who Caller, r *api.CompletionRequest) (*Sampling, error) {
	return c.sampling(ctx, who, r, true)
}

// Complete checks a request for completions of prompts and finds its model.
func (c *Control) Complete(ctx context.Context, who Caller, r *api.CompletionRequest) (*Sampling, error) {
	return c.sampling(ctx, who, r, false)
}

func (c *Control) sampling(ctx context.Context, who Caller, r *api.CompletionRequest, chat bool) (*Sampling, error) {
	target, m, err := c.target(ctx, who, r.Model, chat)
	if err != nil {
		return nil, err
	}
	base, err := sampleRequest(r)
	if err != nil {
		return nil, err
	}
	if chat {
		if base.Template, err = trainedTemplate(m); err != nil {
			return nil, err
		}
	}
	s := &Sampling{Model: r.Model, N: base.N, Logprobs: r.Logprobs, TokenIDs: r.ReturnTokenIDs, Raw: r.RawOutput, Echo: r.Echo, Perf: r.PerfMetrics,
		IncludeUsage: r.StreamOptions != nil && r.StreamOptions.IncludeUsage,
		target:       target, router: c.Router, explain: func(ctx context.Context, err error) error { return c.keyed(ctx, who.Account, err) }}
	if chat {
		err = s.addChat(base, r)
	} else {
		err = s.addPrompts(base, r)
	}
	if err != nil {
		return nil, err
	}
	if s.Choices = len(s.requests) * s.N; s.Choices > maxChoices {
		return nil, rft.FieldErrorf("n", "n: %d prompts times n = %d is more than %d completions", len(s.requests), s.N, maxChoices)
	}
	return s, nil
}

// trainedTemplate is the chat template that a checkpoint was trained with, ""
// where that is the base's own. Another one would show the model prompts of a
// shape that it never saw.
func trainedTemplate(m store.Model) (string, error) {
	if m.Kind != store.KindAdapter || len(m.Spec) == 0 {
		return "", nil
	}
	var spec engine.Spec
	if err := json.Unmarshal(m.Spec, &spec); err != nil {
		return "", rft.Wrap(rft.KindDataLoss, err, "the recorded parameters of %s cannot be read", m.Name())
	}
	return spec.Template, nil
}

func (s *Sampling) addChat(base wire.SampleRequest, r *api.CompletionRequest) error {
	if len(r.Messages) == 0 {
		return rft.FieldErrorf("messages", "messages: at least one message is required")
	}
	if len(r.Messages) > maxMessages {
		return rft.FieldErrorf("messages", "messages: %d is more than %d", len(r.Messages), maxMessages)
	}
	if r.Prompt != nil {
		return rft.FieldErrorf("prompt", "prompt: belongs to completions; chat takes messages")
	}
	for i, m := range r.Messages {
		switch m.Role {
		case "system", "user", "assistant", "tool", "developer":
		default:
			return rft.FieldErrorf("messages", "messages[%d].role: must be system, user, assistant or tool", i)
		}
	}
	var err error
	if base.Messages, err = json.Marshal(r.Messages); err != nil {
		return err
	}
	if base.Tools, err = templateTools(r); err != nil {
		return err
	}
	s.requests = append(s.requests, base)
	return nil
}

// templateTools returns the tools that the chat template shows to the model.
// Answers are text: calls in it are not parsed, so a forced call is refused.
func templateTools(r *api.CompletionRequest) (json.RawMessage, error) {
	if isSet(r.Functions) {
		return nil, unsupported("functions")
	}
	var choice string
	if isSet(r.ToolChoice) {
		_ = json.Unmarshal(r.ToolChoice, &choice)
		if choice != "auto" && choice != "none" {
			return nil, rft.FieldErrorf("tool_choice", "tool_choice: only auto and none are supported: tool calls come back as text")
		}
	}
	if !isSet(r.Tools) || choice == "none" {
		return nil, nil
	}
	var tools []map[string]json.RawMessage
	if json.Unmarshal(r.Tools, &tools) != nil {
		return nil, rft.FieldErrorf("tools", "tools: must be a list of objects")
	}
	return r.Tools, nil
}

func (s *Sampling) addPrompts(base wire.SampleRequest, r *api.CompletionRequest) error {
	if r.Prompt == nil || len(r.Prompt.Texts)+len(r.Prompt.Tokens) == 0 {
		return rft.FieldErrorf("prompt", "prompt: is required")
	}
	if len(r.Messages) > 0 {
		return rft.FieldErrorf("messages", "messages: belong to chat/completions; completions take a prompt")
	}
	for i := range r.Prompt.Texts {
		one := base
		one.Prompt = &r.Prompt.Texts[i]
		s.requests = append(s.requests, one)
	}
	for i, ids := range r.Prompt.Tokens {
		if len(ids) == 0 {
			return rft.FieldErrorf("prompt", "prompt: list %d of token ids is empty", i)
		}
		one := base
		one.Tokens = ids
		s.requests = append(s.requests, one)
	}
	s.Prompts = r.Prompt.Texts
	return nil
}

// sampleRequest checks the parameters and fills in the defaults.
func sampleRequest(r *api.CompletionRequest) (wire.SampleRequest, error) {
	q := wire.SampleRequest{N: 1, MaxTokens: defaultMaxTokens, Temperature: 1, TopP: 1, Stop: r.Stop, Seed: r.Seed,
		IgnoreEOS: r.IgnoreEOS, Echo: r.Echo, Truncate: true}
	if err := refuseUnsupported(r); err != nil {
		return q, err
	}
	if r.MaxTokens != nil && r.MaxCompletionTokens != nil && *r.MaxTokens != *r.MaxCompletionTokens {
		return q, rft.FieldErrorf("max_tokens", "max_tokens and max_completion_tokens exclude each other")
	}
	if r.MaxCompletionTokens != nil {
		r.MaxTokens = r.MaxCompletionTokens
	}
	if err := setInt(&q.MaxTokens, r.MaxTokens, "max_tokens", 0, 1<<24); err != nil {
		return q, err
	}
	if r.MaxTokens != nil && *r.MaxTokens == 0 {
		if !r.Echo {
			return q, rft.FieldErrorf("max_tokens", "max_tokens: 0 is only useful with echo")
		}
		q.MaxTokens = -1 // score the prompt
	}
	if r.TopK != nil && *r.TopK == -1 {
		r.TopK = nil // off, as some clients write it
	}
	for _, err := range []error{
		setInt(&q.N, r.N, "n", 1, maxChoices),
		setInt(&q.TopK, r.TopK, "top_k", 0, 1000),
		setFloat(&q.Temperature, r.Temperature, "temperature", 0, 2),
		setFloat(&q.TopP, r.TopP, "top_p", 0, 1),
	} {
		if err != nil {
			return q, err
		}
	}
	if len(q.Stop) > maxStops {
		return q, rft.FieldErrorf("stop", "stop: at most %d strings", maxStops)
	}
	for _, stop := range q.Stop {
		if stop == "" || len(stop) > 1024 || !utf8.ValidString(stop) {
			return q, rft.FieldErrorf("stop", "stop: want strings of 1 to 1024 bytes")
		}
	}
	switch r.ContextExceeded {
	case "", "truncate":
	case "error":
		q.Truncate = false
	default:
		return q, rft.FieldErrorf("context_length_exceeded_behavior", "context_length_exceeded_behavior: must be truncate or error")
	}
	return q, setLogprobs(&q, r)
}

func setLogprobs(q *wire.SampleRequest, r *api.CompletionRequest) error {
	if m := r.Logprobs; m != nil && m.On {
		if m.Top < 0 || m.Top > maxTopLogprobs {
			return rft.FieldErrorf("logprobs", "logprobs must be between 0 and %d: %d", maxTopLogprobs, m.Top)
		}
		q.Logprobs, q.TopLogprobs = true, m.Top
	}
	if r.TopLogprobs != nil {
		if *r.TopLogprobs < 0 || *r.TopLogprobs > maxTopLogprobs {
			return rft.FieldErrorf("top_logprobs", "top_logprobs must be between 0 and %d: %d", maxTopLogprobs, *r.TopLogprobs)
		}
		if *r.TopLogprobs > 0 && !q.Logprobs {
			return rft.FieldErrorf("top_logprobs", "top_logprobs: needs logprobs")
		}
		q.TopLogprobs = max(q.TopLogprobs, *r.TopLogprobs)
	}
	// The engine tells the prompt's ids when log-probs are asked for.
	q.Logprobs = q.Logprobs || r.ReturnTokenIDs || r.RawOutput
	return nil
}

// refuseUnsupported names the parameters of the contract that this engine does
// not have. To ignore one of them would return text that was not asked for.
func refuseUnsupported(r *api.CompletionRequest) error {
	nonzero := func(f *float64, neutral float64) bool { return f != nil && *f != neutral }
	for _, p := range []struct {
		name string
		used bool
	}{
		{"min_p", nonzero(r.MinP, 0)},
		{"typical_p", nonzero(r.TypicalP, 1)},
		{"frequency_penalty", nonzero(r.FrequencyPenalty, 0)},
		{"presence_penalty", nonzero(r.PresencePenalty, 0)},
		{"repetition_penalty", nonzero(r.RepetitionPenalty, 1)},
		{"mirostat_target", nonzero(r.MirostatTarget, 0)},
		{"echo_last", r.EchoLast != nil && *r.EchoLast > 0},
		{"prompt_truncate_len", r.PromptTruncateLen != nil},
		{"logit_bias", isSet(r.LogitBias)},
		{"images", isSet(r.Images)},
	} {
		if p.used {
			return unsupported(p.name)
		}
	}
	if r.ResponseFormat != nil && r.ResponseFormat.Type != "" && r.ResponseFormat.Type != "text" {
		return rft.FieldErrorf("response_format", "response_format: only type text is supported by this server")
	}
	return nil
}

func unsupported(field string) error {
	return rft.FieldErrorf(field, "%s: is not supported by this server", field)
}

// isSet reports whether a raw parameter has a value other than null, {} and [].
func isSet(raw json.RawMessage) bool {
	switch strings.Join(strings.Fields(string(raw)), "") {
	case "", "null", "{}", "[]":
		return false
	}
	return true
}

func setInt(to, from *int, field string, low, high int) error {
	if from == nil {
		return nil
	}
	if *from < low || *from > high {
		return rft.FieldErrorf(field, "%s must be between %d and %d: %d", field, low, high, *from)
	}
	*to = *from
	return nil
}

func setFloat(to, from *float64, field string, low, high float64) error {
	if from == nil {
		return nil
	}
	if !(*from >= low && *from <= high) {
		return rft.FieldErrorf(field, "%s must be between %g and %g: %g", field, low, high, *from)
	}
	*to = *from
	return nil
}
