package control

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

// Bounds of a request's parameters. The contract has top_k up to 100; a wider one
// harms nobody.
const (
	defaultMaxTokens = 2048
	maxStops         = 4
	maxStopBytes     = 1024
	maxTopLogprobs   = 5
	maxTopK          = 1000
	maxBiases        = 1024
	maxTokenCount    = 1 << 24
)

// sampleRequest checks the parameters and fills in the defaults. What it does not
// read belongs to the prompt, to the answer's shape, or changes no answer.
func sampleRequest(r *api.CompletionRequest, chat bool) (wire.SampleRequest, error) {
	q := wire.SampleRequest{N: 1, MaxTokens: defaultMaxTokens, Temperature: 1, TopP: 1, Stop: r.Stop, Seed: r.Seed,
		IgnoreEOS: r.IgnoreEOS, Echo: r.Echo, Truncate: true}
	for _, set := range []func(*wire.SampleRequest, *api.CompletionRequest) error{
		refuseUnsupported, setLengths, setDrawing, setPenalties, setBias, setStops, setEcho, setLogprobs, checkHints,
	} {
		if err := set(&q, r); err != nil {
			return q, err
		}
	}
	if chat {
		return q, setInt(&q.TruncatePrompt, r.PromptTruncateLen, "prompt_truncate_len", 1, maxTokenCount)
	}
	if r.PromptTruncateLen != nil {
		return q, rft.FieldErrorf("prompt_truncate_len", "prompt_truncate_len: belongs to chat/completions")
	}
	return q, nil
}

func setLengths(q *wire.SampleRequest, r *api.CompletionRequest) error {
	most := r.MaxTokens
	if r.MaxCompletionTokens != nil {
		if most != nil && *most != *r.MaxCompletionTokens {
			return rft.FieldErrorf("max_tokens", "max_tokens and max_completion_tokens exclude each other")
		}
		most = r.MaxCompletionTokens
	}
	if err := setInt(&q.MaxTokens, most, "max_tokens", 0, maxTokenCount); err != nil {
		return err
	}
	if most != nil && *most == 0 {
		if !r.Echo && (r.EchoLast == nil || *r.EchoLast == 0) {
			return rft.FieldErrorf("max_tokens", "max_tokens: 0 is only useful with echo")
		}
		q.MaxTokens = -1 // score the prompt
	}
	switch r.ContextExceeded {
	case "", "truncate":
	case "error":
		q.Truncate = false
	default:
		return rft.FieldErrorf("context_length_exceeded_behavior", "context_length_exceeded_behavior: must be truncate or error")
	}
	return setInt(&q.N, r.N, "n", 1, maxChoices)
}

func setDrawing(q *wire.SampleRequest, r *api.CompletionRequest) error {
	topK := r.TopK
	if topK != nil && *topK == -1 {
		topK = nil // off, as some clients write it
	}
	return first(
		setInt(&q.TopK, topK, "top_k", 0, maxTopK),
		setFloat(&q.Temperature, r.Temperature, "temperature", 0, 2),
		setFloat(&q.TopP, r.TopP, "top_p", 0, 1),
		setFloat(&q.MinP, r.MinP, "min_p", 0, 1),
		setFloat(&q.TypicalP, r.TypicalP, "typical_p", 0, 1),
	)
}

func setPenalties(q *wire.SampleRequest, r *api.CompletionRequest) error {
	if p := r.RepetitionPenalty; p != nil && *p == 0 {
		return rft.FieldErrorf("repetition_penalty", "repetition_penalty: 0 has no meaning, logits are divided by it; 1 turns it off")
	}
	return first(
		setFloat(&q.RepetitionPenalty, r.RepetitionPenalty, "repetition_penalty", 0, 2),
		setFloat(&q.FrequencyPenalty, r.FrequencyPenalty, "frequency_penalty", -2, 2),
		setFloat(&q.PresencePenalty, r.PresencePenalty, "presence_penalty", -2, 2),
	)
}

// setBias takes the biases in the order of their tokens, so that the same request
// is the same message. Whether a token is one of the model's, the engine knows.
func setBias(q *wire.SampleRequest, r *api.CompletionRequest) error {
	if len(r.LogitBias) > maxBiases {
		return rft.FieldErrorf("logit_bias", "logit_bias: at most %d tokens", maxBiases)
	}
	for id, bias := range r.LogitBias {
		if id < 0 || !(math.Abs(bias) <= 100) {
			return rft.FieldErrorf("logit_bias", "logit_bias: want token ids with values between -100 and 100")
		}
		q.Bias = append(q.Bias, wire.Bias{ID: id, Value: bias})
	}
	slices.SortFunc(q.Bias, func(a, b wire.Bias) int { return int(a.ID) - int(b.ID) })
	return nil
}

func setStops(q *wire.SampleRequest, _ *api.CompletionRequest) error {
	if len(q.Stop) > maxStops {
		return rft.FieldErrorf("stop", "stop: at most %d strings", maxStops)
	}
	for _, stop := range q.Stop {
		if stop == "" || len(stop) > maxStopBytes || !utf8.ValidString(stop) {
			return rft.FieldErrorf("stop", "stop: want strings of 1 to %d bytes", maxStopBytes)
		}
	}
	return nil
}

// setEcho: echo_last alone asks for the end of the prompt, echo for all of it.
func setEcho(q *wire.SampleRequest, r *api.CompletionRequest) error {
	var last int
	if err := setInt(&last, r.EchoLast, "echo_last", 0, maxTokenCount); err != nil {
		return err
	}
	if last > 0 && !r.Echo {
		q.Echo, q.EchoLast = true, last
	}
	return nil
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

// checkHints looks at parameters that change no answer here: there is one tier,
// and what would speed up other engines is not needed.
func checkHints(_ *wire.SampleRequest, r *api.CompletionRequest) error {
	if t := r.ServiceTier; t != nil && !slices.Contains([]string{"auto", "default", "flex", "priority"}, *t) {
		return rft.FieldErrorf("service_tier", "service_tier: must be auto, default, flex or priority")
	}
	return nil
}

// refuseUnsupported names the parameters of the contract that this engine does
// not have. To ignore one of them would return text that was not asked for.
func refuseUnsupported(_ *wire.SampleRequest, r *api.CompletionRequest) error {
	for _, p := range []struct {
		name string
		used bool
	}{
		{"mirostat_target", r.MirostatTarget != nil && *r.MirostatTarget != 0},
		{"images", isSet(r.Images)},
		{"safe_tokenization", r.SafeTokenization != nil && *r.SafeTokenization},
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
	var short bytes.Buffer
	if len(raw) > 64 || json.Compact(&short, raw) != nil {
		return len(raw) > 0
	}
	switch short.String() {
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

// first is the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
