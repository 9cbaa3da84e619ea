package control

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
	"github.com/firekeep/firekeep/internal/wire"
)

// Bounds of a sampling request, from the contract.
const (
	maxChoices  = 128 // prompts times n
	maxMessages = 4096
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
	// Echo: answers begin with the prompt, or with its EchoLast last tokens where
	// that is not 0.
	Echo     bool
	EchoLast int
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

// Checkpoint is the digest of what answers: an adapter's checkpoint, a base's
// prepared weights.
func (s *Sampling) Checkpoint() string { return s.target.Checkpoint() }

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

// SeedUnlessGiven makes the answers repeatable where the request left that open.
func (s *Sampling) SeedUnlessGiven(seed int64) {
	for i := range s.requests {
		if s.requests[i].Seed == nil {
			s.requests[i].Seed = &seed
		}
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
	s, err := newSampling(r, m, target, c.Router, serving.Turn(userName(who.Account, who.User)+"/"+who.KeyID), chat)
	if err == nil {
		s.explain = func(ctx context.Context, err error) error { return c.keyed(ctx, who.Account, err) }
	}
	return s, err
}

// newSampling checks a request for a model that was found.
func newSampling(r *api.CompletionRequest, m store.Model, target serving.Target, router *serving.Router, turn uint64, chat bool) (*Sampling, error) {
	base, err := sampleRequest(r, chat)
	if err != nil {
		return nil, err
	}
	base.Caller = turn
	if chat {
		if base.Template, err = trainedTemplate(m); err != nil {
			return nil, err
		}
	}
	s := &Sampling{Model: r.Model, N: base.N, Logprobs: r.Logprobs, TokenIDs: r.ReturnTokenIDs, Raw: r.RawOutput, Echo: base.Echo, EchoLast: base.EchoLast, Perf: r.PerfMetrics,
		IncludeUsage: r.StreamOptions != nil && r.StreamOptions.IncludeUsage,
		target:       target, router: router}
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
	choice := "auto"
	for _, c := range []struct {
		field string
		raw   json.RawMessage
	}{{"function_call", r.FunctionCall}, {"tool_choice", r.ToolChoice}} {
		if !isSet(c.raw) {
			continue
		}
		choice = ""
		_ = json.Unmarshal(c.raw, &choice)
		if choice != "auto" && choice != "none" {
			return nil, rft.FieldErrorf(c.field, "%s: only auto and none are supported: tool calls come back as text", c.field)
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
