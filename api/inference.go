package api

import (
	"bytes"
	"encoding/json"
)

// CompletionRequest is the body of chat/completions and of completions. The
// pointers tell an absent parameter from its zero.
type CompletionRequest struct {
	Model    string    `json:"model"`
	Messages []Message `json:"messages,omitempty"`
	Prompt   *Prompt   `json:"prompt,omitempty"`

	MaxTokens           *int           `json:"max_tokens,omitempty"`
	MaxCompletionTokens *int           `json:"max_completion_tokens,omitempty"`
	Temperature         *float64       `json:"temperature,omitempty"`
	TopP                *float64       `json:"top_p,omitempty"`
	TopK                *int           `json:"top_k,omitempty"`
	MinP                *float64       `json:"min_p,omitempty"`
	TypicalP            *float64       `json:"typical_p,omitempty"`
	FrequencyPenalty    *float64       `json:"frequency_penalty,omitempty"`
	PresencePenalty     *float64       `json:"presence_penalty,omitempty"`
	RepetitionPenalty   *float64       `json:"repetition_penalty,omitempty"`
	N                   *int           `json:"n,omitempty"`
	Stop                StringList     `json:"stop,omitempty"`
	Stream              bool           `json:"stream,omitempty"`
	StreamOptions       *StreamOptions `json:"stream_options,omitempty"`
	Logprobs            *LogprobsMode  `json:"logprobs,omitempty"`
	TopLogprobs         *int           `json:"top_logprobs,omitempty"`
	Echo                bool           `json:"echo,omitempty"`
	EchoLast            *int           `json:"echo_last,omitempty"`
	IgnoreEOS           bool           `json:"ignore_eos,omitempty"`
	Seed                *int64         `json:"seed,omitempty"`
	ContextExceeded     string         `json:"context_length_exceeded_behavior,omitempty"`
	PromptTruncateLen   *int           `json:"prompt_truncate_len,omitempty"`
	RawOutput           bool           `json:"raw_output,omitempty"`
	ReturnTokenIDs      bool           `json:"return_token_ids,omitempty"`
	PerfMetrics         bool           `json:"perf_metrics_in_response,omitempty"`

	LogitBias      map[int32]float64 `json:"logit_bias,omitempty"` // by token id
	MirostatTarget *float64          `json:"mirostat_target,omitempty"`
	MirostatLR     *float64          `json:"mirostat_lr,omitempty"`

	Tools             json.RawMessage `json:"tools,omitempty"`
	ToolChoice        json.RawMessage `json:"tool_choice,omitempty"`
	ParallelToolCalls *bool           `json:"parallel_tool_calls,omitempty"`
	Functions         json.RawMessage `json:"functions,omitempty"`
	FunctionCall      json.RawMessage `json:"function_call,omitempty"`
	ResponseFormat    *ResponseFormat `json:"response_format,omitempty"`
	Images            json.RawMessage `json:"images,omitempty"`
	ReasoningEffort   json.RawMessage `json:"reasoning_effort,omitempty"`
	Thinking          json.RawMessage `json:"thinking,omitempty"`
	ReasoningHistory  *string         `json:"reasoning_history,omitempty"`
	SafeTokenization  *bool           `json:"safe_tokenization,omitempty"`

	// These change neither text nor log-probs of an answer.
	User                    *string           `json:"user,omitempty"`
	PromptCacheKey          *string           `json:"prompt_cache_key,omitempty"`
	PromptCacheIsolationKey *string           `json:"prompt_cache_isolation_key,omitempty"`
	Metadata                map[string]string `json:"metadata,omitempty"`
	ServiceTier             *string           `json:"service_tier,omitempty"`
	Speculation             json.RawMessage   `json:"speculation,omitempty"`
	Prediction              json.RawMessage   `json:"prediction,omitempty"`
}

// StreamOptions asks for usage at the end of a stream.
type StreamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// ResponseFormat constrains the output's syntax.
type ResponseFormat struct {
	Type string `json:"type"`
}

// Message is one turn of a chat.
type Message struct {
	Role             string          `json:"role"`
	Content          Content         `json:"content"`
	ReasoningContent string          `json:"reasoning_content,omitempty"`
	ToolCalls        json.RawMessage `json:"tool_calls,omitempty"`
	ToolCallID       string          `json:"tool_call_id,omitempty"`
	Name             string          `json:"name,omitempty"`
}

// Content is the text of a message: a string, null, or a list of text parts,
// which are joined. A part that is not text is an error that names its type.
type Content struct {
	Text string
	Null bool
}

// Text is content made of s.
func Text(s string) Content { return Content{Text: s} }

func (c Content) MarshalJSON() ([]byte, error) {
	if c.Null {
		return []byte("null"), nil
	}
	return marshalPlain(c.Text)
}

func (c *Content) UnmarshalJSON(b []byte) error {
	*c = Content{}
	if string(b) == "null" {
		c.Null = true
		return nil
	}
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &c.Text)
	}
	var parts []struct {
		Type string `json:"type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(b, &parts) != nil {
		return reason("content must be a string or a list of parts")
	}
	for _, p := range parts {
		if p.Type != "text" {
			return reason("content parts must be of type text; images and video are not supported")
		}
		c.Text += p.Text
	}
	return nil
}

// Prompt is what completions continues: one or several texts, or token ids.
type Prompt struct {
	Texts  []string
	Tokens [][]int32
}

func (p Prompt) MarshalJSON() ([]byte, error) {
	switch {
	case len(p.Tokens) == 1:
		return json.Marshal(p.Tokens[0])
	case len(p.Tokens) > 1:
		return json.Marshal(p.Tokens)
	case len(p.Texts) == 1:
		return marshalPlain(p.Texts[0])
	}
	return marshalPlain(p.Texts)
}

func (p *Prompt) UnmarshalJSON(b []byte) error {
	*p = Prompt{}
	var one string
	if json.Unmarshal(b, &one) == nil {
		p.Texts = []string{one}
		return nil
	}
	var ids []int32
	if json.Unmarshal(b, &p.Texts) == nil {
		return nil
	}
	p.Texts = nil
	if json.Unmarshal(b, &ids) == nil {
		p.Tokens = [][]int32{ids}
		return nil
	}
	if json.Unmarshal(b, &p.Tokens) == nil {
		return nil
	}
	return reason("prompt must be a string, a list of strings, a list of token ids or a list of such lists")
}

// StringList is a string or a list of strings.
type StringList []string

func (l *StringList) UnmarshalJSON(b []byte) error {
	*l = nil
	if string(b) == "null" {
		return nil
	}
	var one string
	if json.Unmarshal(b, &one) == nil {
		*l = StringList{one}
		return nil
	}
	if json.Unmarshal(b, (*[]string)(l)) != nil {
		return reason("must be a string or a list of strings")
	}
	return nil
}

// LogprobsMode is the value of "logprobs": true asks for the OpenAI shape, a
// number for the legacy shape with that many alternatives, false for nothing.
type LogprobsMode struct {
	On     bool
	Legacy bool
	Top    int
}

func (m LogprobsMode) MarshalJSON() ([]byte, error) {
	if m.Legacy {
		return json.Marshal(m.Top)
	}
	return json.Marshal(m.On)
}

func (m *LogprobsMode) UnmarshalJSON(b []byte) error {
	*m = LogprobsMode{}
	if json.Unmarshal(b, &m.On) == nil {
		return nil
	}
	if json.Unmarshal(b, &m.Top) != nil {
		return reason("logprobs must be a boolean or a whole number")
	}
	m.On, m.Legacy = true, true
	return nil
}

// Completion answers chat/completions and completions, and is each chunk of
// their streams.
type Completion struct {
	ID             string            `json:"id"`
	Object         string            `json:"object"`
	Created        int64             `json:"created"`
	Model          string            `json:"model"`
	Choices        []Choice          `json:"choices"`
	Usage          *Usage            `json:"usage,omitempty"`
	PromptTokenIDs []int32           `json:"prompt_token_ids,omitempty"`
	PerfMetrics    map[string]string `json:"perf_metrics,omitempty"`
	// SystemFingerprint is the digest of the checkpoint that answered, or of the
	// base's weights; the header Firekeep-Checkpoint says it too.
	SystemFingerprint string `json:"system_fingerprint,omitempty"`
}

// Choice is one completion. Message is set in a chat answer, Delta in a chat
// chunk, Text in both of completions.
type Choice struct {
	Index          int           `json:"index"`
	Message        *ReplyMessage `json:"message,omitempty"`
	Delta          *Delta        `json:"delta,omitempty"`
	Text           *string       `json:"text,omitempty"`
	FinishReason   *string       `json:"finish_reason"`
	Logprobs       *Logprobs     `json:"logprobs,omitempty"`
	RawOutput      *RawOutput    `json:"raw_output,omitempty"`
	PromptTokenIDs []int32       `json:"prompt_token_ids,omitempty"`
	TokenIDs       []int32       `json:"token_ids,omitempty"`
}

// ReplyMessage is the assistant's turn.
type ReplyMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Delta is what a chunk adds to the assistant's turn.
type Delta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

// Usage counts tokens.
type Usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`

	PromptTokensDetails *PromptTokensDetails `json:"prompt_tokens_details,omitempty"`
}

// PromptTokensDetails says how many tokens of the prompt were not computed again.
type PromptTokensDetails struct {
	CachedTokens int `json:"cached_tokens"`
}

// Logprobs is in the OpenAI shape when Content is set, else in the legacy shape.
type Logprobs struct {
	Content []TokenLogprob  `json:"content"`
	Legacy  *LegacyLogprobs `json:"-"`
}

func (l Logprobs) MarshalJSON() ([]byte, error) {
	if l.Legacy != nil {
		return marshalPlain(l.Legacy)
	}
	content := l.Content
	if content == nil {
		content = []TokenLogprob{}
	}
	return marshalPlain(struct {
		Content []TokenLogprob `json:"content"`
	}{content})
}

func (l *Logprobs) UnmarshalJSON(b []byte) error {
	var v struct {
		Content []TokenLogprob `json:"content"`
		LegacyLogprobs
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*l = Logprobs{Content: v.Content}
	if v.Content == nil {
		l.Legacy = &v.LegacyLogprobs
	}
	return nil
}

// TokenLogprob describes one token in the OpenAI shape. Logprob is of the
// model's own distribution, nil for the first token of an echoed prompt;
// SamplingLogprob of the one that the token was drawn from.
type TokenLogprob struct {
	Token           string       `json:"token"`
	Logprob         *float64     `json:"logprob"`
	SamplingLogprob *float64     `json:"sampling_logprob,omitempty"`
	Bytes           Bytes        `json:"bytes"`
	TextOffset      int          `json:"text_offset"`
	TokenID         int32        `json:"token_id"`
	TopLogprobs     []TopLogprob `json:"top_logprobs"`
}

// TopLogprob is an alternative.
type TopLogprob struct {
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	TokenID int32   `json:"token_id"`
	Bytes   Bytes   `json:"bytes"`
}

// LegacyLogprobs is the shape of the old completions API.
type LegacyLogprobs struct {
	Tokens        []string             `json:"tokens"`
	TokenLogprobs []*float64           `json:"token_logprobs"`
	TopLogprobs   []map[string]float64 `json:"top_logprobs"`
	TextOffset    []int                `json:"text_offset"`
	TokenIDs      []int32              `json:"token_ids"`
}

// Bytes is a byte string written as a list of numbers.
type Bytes []byte

func (b Bytes) MarshalJSON() ([]byte, error) {
	out := make([]int, len(b))
	for i, v := range b {
		out[i] = int(v)
	}
	return json.Marshal(out)
}

func (b *Bytes) UnmarshalJSON(data []byte) error {
	var in []uint16
	if err := json.Unmarshal(data, &in); err != nil {
		return reason("must be a list of bytes")
	}
	*b = make(Bytes, len(in))
	for i, v := range in {
		if v > 255 {
			return reason("must be a list of bytes")
		}
		(*b)[i] = byte(v)
	}
	return nil
}

// RawOutput is what went into and came out of the model.
type RawOutput struct {
	PromptFragments    []any     `json:"prompt_fragments"` // texts or token ids
	PromptTokenIDs     []int32   `json:"prompt_token_ids"`
	Completion         string    `json:"completion"`
	CompletionTokenIDs []int32   `json:"completion_token_ids"`
	CompletionLogprobs *Logprobs `json:"completion_logprobs,omitempty"`
}

// ServedModel is one entry of GET /v1/models.
type ServedModel struct {
	ID            string `json:"id"`
	Object        string `json:"object"`
	OwnedBy       string `json:"owned_by"`
	Created       int64  `json:"created"`
	ContextLength int    `json:"context_length"`
	Kind          string `json:"kind"`
	SupportsChat  bool   `json:"supports_chat"`
}

// ServedModelList answers GET /v1/models.
type ServedModelList struct {
	Object string        `json:"object"`
	Data   []ServedModel `json:"data"`
}

// Marshal is json.Marshal without the escaping of HTML.
func Marshal(v any) ([]byte, error) { return marshalPlain(v) }

func marshalPlain(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
