package control

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/wire"
)

// Rendering turns the engine's events into the answer, or into the chunks of a
// stream, of one request.
type Rendering struct {
	s       *Sampling
	chat    bool
	id      string
	created time.Time
	first   time.Time // of the first token
	choices []choice
	prompts []int // prompt tokens, per prompt
	cached  []int // of them, computed by an earlier request
	open    int   // choices without an end
}

// choice is one completion in the making.
type choice struct {
	text     strings.Builder
	finish   string
	prompt   []int32
	ids      []int32 // completion only
	echoed   []int32 // leading tokens that belong to the prompt, with echo
	tokens   int
	logprobs api.Logprobs
	offset   int // of the next token's text
	begun    bool
}

// NewRendering renders the answer of s; created is when its request came.
func NewRendering(s *Sampling, chat bool, id string, created time.Time) *Rendering {
	return &Rendering{s: s, chat: chat, id: id, created: created, choices: make([]choice, s.Choices), prompts: make([]int, s.Choices/s.N), cached: make([]int, s.Choices/s.N), open: s.Choices}
}

// take takes an event in and returns what it added to the choice's log-probs.
func (o *Rendering) take(e wire.SampleEvent) (added api.Logprobs, first bool) {
	if o.first.IsZero() && len(e.Tokens) > 0 {
		o.first = time.Now()
	}
	c := &o.choices[e.Index]
	first = !c.begun
	if first {
		c.begun = true
		if e.PromptTokens > 0 {
			o.prompts[e.Index/o.s.N] = e.PromptTokens
			o.cached[e.Index/o.s.N] = e.CachedTokens
		}
	}
	c.prompt = append(c.prompt, e.Prompt...)
	c.text.WriteString(e.Text)
	if e.Finish != "" && c.finish == "" {
		c.finish = e.Finish
		o.open--
	}
	for i, t := range e.Tokens {
		echoed := i < e.Echoed
		// The prompt's very first token stands behind nothing.
		opening := echoed && len(c.echoed) == 0 && (o.s.EchoLast == 0 || o.s.EchoLast >= o.prompts[e.Index/o.s.N])
		if echoed {
			c.echoed = append(c.echoed, t.ID)
		} else {
			c.ids = append(c.ids, t.ID)
			c.tokens++
		}
		if o.wantsLogprobs() {
			o.addLogprob(&added, t, echoed, opening, c.offset)
		}
		c.offset += len([]rune(t.Text))
	}
	c.logprobs.Content = append(c.logprobs.Content, added.Content...)
	return added, first
}

func (o *Rendering) wantsLogprobs() bool {
	return o.s.Raw || (o.s.Logprobs != nil && o.s.Logprobs.On)
}

func (o *Rendering) addLogprob(l *api.Logprobs, t wire.SampleToken, echoed, opening bool, offset int) {
	e := api.TokenLogprob{Token: t.Text, Bytes: t.Bytes, TextOffset: offset, TokenID: t.ID, TopLogprobs: []api.TopLogprob{}}
	if !opening {
		lp := finite(t.Logprob)
		e.Logprob = &lp
		if !echoed {
			sp := finite(t.Sampling)
			e.SamplingLogprob = &sp
		}
	}
	for _, top := range t.Top {
		e.TopLogprobs = append(e.TopLogprobs, api.TopLogprob{Token: top.Text, Logprob: finite(top.Logprob), TokenID: top.ID, Bytes: top.Bytes})
	}
	l.Content = append(l.Content, e)
}

// finite makes a log-prob of zero probability expressible in JSON.
func finite(lp float64) float64 {
	if math.IsInf(lp, 0) || math.IsNaN(lp) {
		return -9999
	}
	return lp
}

// shape gives log-probs the shape that the request asked for; nil = none.
func (o *Rendering) shape(l api.Logprobs) *api.Logprobs {
	m := o.s.Logprobs
	if m == nil || !m.On {
		return nil
	}
	if !m.Legacy {
		return &l
	}
	old := &api.LegacyLogprobs{Tokens: []string{}, TokenLogprobs: []*float64{}, TextOffset: []int{}, TokenIDs: []int32{}}
	for _, e := range l.Content {
		old.Tokens = append(old.Tokens, e.Token)
		old.TokenLogprobs = append(old.TokenLogprobs, e.Logprob)
		old.TextOffset = append(old.TextOffset, e.TextOffset)
		old.TokenIDs = append(old.TokenIDs, e.TokenID)
		if m.Top > 0 {
			top := map[string]float64{} // and the token itself, which may not be among them
			if e.Logprob != nil {
				top[e.Token] = *e.Logprob
			}
			for _, t := range e.TopLogprobs {
				top[t.Token] = t.Logprob
			}
			old.TopLogprobs = append(old.TopLogprobs, top)
		}
	}
	return &api.Logprobs{Legacy: old}
}

// Add takes an event in.
func (o *Rendering) Add(e wire.SampleEvent) error {
	o.take(e)
	return nil
}

// envelope is a Completion without choices.
func (o *Rendering) envelope(chunk bool) api.Completion {
	c := api.Completion{ID: o.id, Object: "text_completion", Created: o.created.Unix(), Model: o.s.Model, SystemFingerprint: o.s.Checkpoint(), Choices: []api.Choice{}}
	switch {
	case o.chat && chunk:
		c.Object = "chat.completion.chunk"
	case o.chat:
		c.Object = "chat.completion"
	}
	return c
}

// Answer is the whole answer.
func (o *Rendering) Answer() api.Completion {
	a := o.envelope(false)
	for i := range o.choices {
		c := &o.choices[i]
		w := api.Choice{Index: i, FinishReason: finishReason(c.finish), Logprobs: o.shape(c.logprobs), RawOutput: o.raw(i)}
		text := c.text.String()
		if o.chat {
			w.Message = &api.ReplyMessage{Role: "assistant", Content: text}
		} else {
			w.Text = &text
		}
		if o.s.TokenIDs {
			w.TokenIDs = nonNil(append(append([]int32(nil), c.echoed...), c.ids...))
			if o.chat {
				a.PromptTokenIDs = c.prompt
			} else {
				w.PromptTokenIDs = c.prompt
			}
		}
		a.Choices = append(a.Choices, w)
	}
	a.Usage, a.PerfMetrics = o.wireUsage(), o.perf()
	return a
}

// Chunk is what an event adds to a stream. The first chunk of a choice in a
// chat names the role.
func (o *Rendering) Chunk(e wire.SampleEvent) []api.Completion {
	added, first := o.take(e)
	if e.Text == "" && len(e.Tokens) == 0 && e.Finish == "" && !first {
		return nil
	}
	out := o.envelope(true)
	w := api.Choice{Index: e.Index, FinishReason: finishReason(e.Finish)}
	if len(e.Tokens) > 0 {
		w.Logprobs = o.shape(added)
	}
	text := e.Text
	if o.chat {
		w.Delta = &api.Delta{Content: &text}
		if first {
			w.Delta.Role = "assistant"
		}
	} else {
		w.Text = &text
	}
	if o.s.TokenIDs {
		for _, t := range e.Tokens {
			w.TokenIDs = append(w.TokenIDs, t.ID)
		}
		if o.chat {
			out.PromptTokenIDs = e.Prompt
		} else {
			w.PromptTokenIDs = e.Prompt
		}
	}
	if e.Finish != "" {
		w.RawOutput = o.raw(e.Index)
	}
	out.Choices = append(out.Choices, w)
	if o.open > 0 {
		return []api.Completion{out}
	}
	// The contract's final chunk has finish_reason and usage; who asks for
	// include_usage expects usage behind it, in a chunk without choices.
	if !o.s.IncludeUsage {
		out.Usage, out.PerfMetrics = o.wireUsage(), o.perf()
		return []api.Completion{out}
	}
	last := o.envelope(true)
	last.Usage, last.PerfMetrics = o.wireUsage(), o.perf()
	return []api.Completion{out, last}
}

func (o *Rendering) raw(i int) *api.RawOutput {
	if !o.s.Raw {
		return nil
	}
	c := &o.choices[i]
	r := &api.RawOutput{PromptFragments: []any{}, PromptTokenIDs: nonNil(c.prompt), Completion: c.text.String(),
		CompletionTokenIDs: nonNil(append(append([]int32(nil), c.echoed...), c.ids...))}
	if p := i / o.s.N; p < len(o.s.Prompts) {
		r.PromptFragments = append(r.PromptFragments, o.s.Prompts[p])
	} else {
		for _, id := range c.prompt {
			r.PromptFragments = append(r.PromptFragments, id)
		}
	}
	if o.s.Logprobs != nil && o.s.Logprobs.On {
		r.CompletionLogprobs = &c.logprobs
	}
	return r
}

// Usage is the tokens of the prompts and of the completions so far.
func (o *Rendering) Usage() (prompt, completion int) {
	for _, n := range o.prompts {
		prompt += n
	}
	for i := range o.choices {
		completion += o.choices[i].tokens
	}
	return prompt, completion
}

func (o *Rendering) wireUsage() *api.Usage {
	p, c := o.Usage()
	cached := 0
	for _, n := range o.cached {
		cached += n
	}
	return &api.Usage{PromptTokens: p, CompletionTokens: c, TotalTokens: p + c, PromptTokensDetails: &api.PromptTokensDetails{CachedTokens: cached}}
}

// FirstTokenSeconds is how long the first token took, for headers.
func (o *Rendering) FirstTokenSeconds() string {
	if o.first.IsZero() {
		return "0"
	}
	return strconv.FormatFloat(o.first.Sub(o.created).Seconds(), 'f', 3, 64)
}

func (o *Rendering) perf() map[string]string {
	if !o.s.Perf {
		return nil
	}
	p, _ := o.Usage()
	return map[string]string{"prompt-tokens": strconv.Itoa(p), "server-time-to-first-token": o.FirstTokenSeconds(),
		"server-processing-time": strconv.FormatFloat(time.Since(o.created).Seconds(), 'f', 3, 64)}
}

// finishReason is the contract's word, null until the end.
func finishReason(s string) *string {
	switch s {
	case "":
		return nil
	case "stop", "length":
		return &s
	}
	word := "error"
	return &word
}

func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
