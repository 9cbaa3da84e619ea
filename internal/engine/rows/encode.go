package rows

import (
	"math"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/token"
)

// Encoder turns groups into token ids and loss masks. It is safe for
// concurrent use.
type Encoder struct {
	tok        *token.Tokenizer
	template   *token.Template
	method     string
	rewards    map[string]float64
	maxContext int
}

// NewEncoder takes from spec the reward weights and the maximal context
// length. The caller chose the template: spec.Template or the model's own.
func NewEncoder(tok *token.Tokenizer, template *token.Template, spec *engine.Spec) *Encoder {
	return &Encoder{tok, template, spec.Method, spec.Rewards, spec.MaxContextLength}
}

// Encode tokenises a group. Bad rewards, a template that refuses, or ids that
// do not fit are problems that name line and sample.
func (e *Encoder) Encode(g *Group) (*Encoded, error) {
	rewards, err := e.rewardsOf(g)
	if err != nil {
		return nil, err
	}
	out := &Encoded{Line: g.Line, Samples: make([]EncodedSample, len(g.Samples))}
	for i := range g.Samples {
		s := &g.Samples[i]
		x := sampleEncoder{Encoder: e, sample: s, number: g.sampleNumber(i)}
		if err := x.encode(); err != nil {
			return nil, x.located(err)
		}
		out.Samples[i] = x.finish(rewards[i])
	}
	return out, nil
}

// rewardsOf checks that the method can learn from the group, and returns the
// rewards; SFT needs none and reads none.
func (e *Encoder) rewardsOf(g *Group) ([]float64, error) {
	switch {
	case g.Format == FormatBatch:
		return nil, problem(g.Line, 0, RuleFormat, "", "the row is a request to be answered, from which nothing is learned")
	case g.Format == FormatDPO && e.method != "DPO" && e.method != "ORPO":
		return nil, problem(g.Line, 0, RuleFormat, "", "the row is a pair of preferences, from which only DPO and ORPO learn")
	case e.method == "SFT":
		return make([]float64, len(g.Samples)), nil
	}
	return g.CheckRewards(e.rewards)
}

// sampleEncoder builds one sample.
type sampleEncoder struct {
	*Encoder
	sample   *Sample
	number   int
	messages *token.Messages
	tools    *token.Messages
	ids      []int32
	scored   []bool
	logprobs []float64 // nil = none
	prompt   int
}

func (x *sampleEncoder) problem(rule, key, format string, args ...any) error {
	return problem(x.sample.Line, x.number, rule, key, format, args...)
}

// located adds line and sample to a problem of the template.
func (x *sampleEncoder) located(err error) error {
	if p, ok := err.(*engine.Problem); ok && p.Object == "chat_template" {
		return x.problem(p.Rule, "messages", "%s", p.Error())
	}
	return err
}

func (x *sampleEncoder) encode() error {
	s := x.sample
	if s.HasTokens && s.HasLogprobs {
		return x.sampled()
	}
	if s.Messages == nil {
		return x.withoutTemplate()
	}
	var err error
	if x.messages, err = token.ParseMessages(s.Messages); err != nil {
		return err
	}
	if s.Tools != nil {
		if x.tools, err = token.ParseMessages(s.Tools); err != nil {
			return err
		}
	}
	if s.HasTokens {
		return x.tokensOnly()
	}
	if err := x.text(); err != nil {
		return err
	}
	if s.HasLogprobs {
		return x.textLogprobs()
	}
	return nil
}

func (x *sampleEncoder) render(turns int, generation bool) (string, error) {
	return x.template.Render(token.Conversation{Messages: x.messages.Head(turns), Tools: x.tools, AddGenerationPrompt: generation}, x.tok)
}

// sampled takes ids and logprobs as the sampler reported them: the completion
// is as long as the logprobs, null means unscored.
func (x *sampleEncoder) sampled() error {
	s := x.sample
	if err := x.checkIDs(); err != nil {
		return err
	}
	x.ids = slices.Clone(s.TokenIDs)
	x.prompt = len(x.ids) - len(s.Logprobs)
	x.scored = make([]bool, len(x.ids))
	x.logprobs = noLogprobs(len(x.ids))
	copy(x.logprobs[x.prompt:], s.Logprobs)
	for i, lp := range s.Logprobs {
		x.scored[x.prompt+i] = !math.IsNaN(lp)
	}
	x.cutShort(x.prompt, len(x.ids))
	return nil
}

// tokensOnly takes ids without logprobs: they must begin with the rendered
// prompt; what follows is scored up to the end of the turn.
func (x *sampleEncoder) tokensOnly() error {
	s := x.sample
	if err := x.checkIDs(); err != nil {
		return err
	}
	prompt, err := x.renderedPrompt()
	if err != nil {
		return err
	}
	if len(prompt) > len(s.TokenIDs) || !slices.Equal(prompt, s.TokenIDs[:len(prompt)]) {
		return x.problem(RuleTokensPrompt, "token_ids", "do not begin with the %d ids of the prompt; add logprobs, whose number marks the completion", len(prompt))
	}
	x.ids, x.prompt = slices.Clone(s.TokenIDs), len(prompt)
	x.scored = make([]bool, len(x.ids))
	if s.Messages == nil || len(s.scored()) > 0 {
		x.score(x.prompt, len(x.ids))
	}
	return nil
}

// renderedPrompt are the ids that a sampler is given.
func (x *sampleEncoder) renderedPrompt() ([]int32, error) {
	if x.sample.Messages == nil {
		return x.promptIDs(), nil
	}
	text, err := x.render(x.sample.promptTurns(), true)
	return x.tok.Encode(text, false), err
}

func (x *sampleEncoder) checkIDs() error {
	for i, id := range x.sample.TokenIDs {
		if int(id) >= x.tok.Vocab() {
			return x.problem(RuleTokens, "token_ids", "entry %d is %d, the vocabulary has %d ids", i, id, x.tok.Vocab())
		}
	}
	if len(x.sample.TokenIDs) == 0 {
		return x.problem(RuleTokens, "token_ids", "is empty")
	}
	return nil
}

// text renders and tokenises. The rendering is cut where each scored message
// begins and ends; each part is tokenised on its own, so that the prompt's ids
// are those that the sampler saw.
func (x *sampleEncoder) text() error {
	s := x.sample
	full, err := x.render(len(s.Turns), false)
	if err != nil {
		return err
	}
	scored := s.scored()
	starts := scored
	if len(scored) == 0 { // all weights are 0: the prompt still ends somewhere
		starts = []int{len(s.Turns) - 1}
	}
	at := 0
	for n, turn := range starts {
		begin, end, err := x.span(full, turn)
		if err != nil {
			return err
		}
		if begin < at {
			return x.problem(RuleNotPrefix, "messages", "the template renders message %d before the end of an earlier scored one; give token_ids and logprobs", turn+1)
		}
		x.append(full[at:begin])
		if n == 0 {
			x.prompt = len(x.ids)
		}
		from := len(x.ids)
		x.append(full[begin:end])
		if len(scored) > 0 {
			x.score(from, len(x.ids))
		}
		at = end
	}
	x.append(full[at:])
	return nil
}

// span finds a message's completion in the rendering: from the end of the
// messages before it with generation prompt to the end of it.
func (x *sampleEncoder) span(full string, turn int) (begin, end int, err error) {
	before, err := x.render(turn, true)
	if err != nil {
		return 0, 0, err
	}
	if !strings.HasPrefix(full, before) {
		return 0, 0, x.problem(RuleNotPrefix, "messages", "the template renders the messages before message %d differently with and without it; give token_ids and logprobs", turn+1)
	}
	if turn == len(x.sample.Turns)-1 {
		return len(before), len(full), nil
	}
	through, err := x.render(turn+1, false)
	if err != nil {
		return 0, 0, err
	}
	if !strings.HasPrefix(full, through) || len(through) < len(before) {
		return 0, 0, x.problem(RuleNotPrefix, "messages", "the template renders message %d differently when others follow; give token_ids and logprobs", turn+1)
	}
	return len(before), len(through), nil
}

func (x *sampleEncoder) append(text string) {
	x.ids = append(x.ids, x.tok.EncodeAfter(x.ids, text)...)
	x.scored = append(x.scored, make([]bool, len(x.ids)-len(x.scored))...)
}

// score marks ids[from:to] up to and including the first that ends a turn: a
// sampler stops there, so nothing behind it was ever sampled.
func (x *sampleEncoder) score(from, to int) {
	for i := from; i < to; i++ {
		x.scored[i] = true
		if x.tok.IsEndOfTurn(x.ids[i]) {
			to = i + 1
		}
	}
	x.cutShort(from, to)
}

// cutShort clears the end of turn of a completion that reached the length
// limit: the sampler never wrote it. Only the last message can be cut short.
func (x *sampleEncoder) cutShort(from, to int) {
	if x.sample.CutShort && to > from && x.tok.IsEndOfTurn(x.ids[to-1]) && !slices.Contains(x.scored[to:], true) {
		x.scored[to-1] = false
		if x.logprobs != nil {
			x.logprobs[to-1] = math.NaN()
		}
	}
}

// textLogprobs aligns logprobs with a re-tokenised completion. Their number
// may leave out the template's text behind the end of the turn.
func (x *sampleEncoder) textLogprobs() error {
	s := x.sample
	last := slices.Index(x.reversed(), true)
	least := len(x.ids) - last - x.prompt // completion tokens up to the last scored one
	if last < 0 {
		least = 0
	}
	if n := len(s.Logprobs); n < least || n > len(x.ids)-x.prompt {
		return x.problem(RuleLogprobs, "logprobs", "%d logprobs; the completion has %d tokens, the last scored one is number %d; give token_ids", n, len(x.ids)-x.prompt, least)
	}
	x.logprobs = noLogprobs(len(x.ids))
	for i, lp := range s.Logprobs {
		at := x.prompt + i
		if math.IsNaN(lp) {
			x.scored[at] = false
		} else if x.scored[at] {
			x.logprobs[at] = lp
		}
	}
	return nil
}

func (x *sampleEncoder) reversed() []bool {
	r := slices.Clone(x.scored)
	slices.Reverse(r)
	return r
}

func noLogprobs(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.NaN()
	}
	return out
}

// finish truncates to the maximal context length.
func (x *sampleEncoder) finish(reward float64) EncodedSample {
	out := EncodedSample{IDs: x.ids, Scored: x.scored, Logprobs: x.logprobs, Reward: reward, Prompt: x.prompt}
	for i := range out.Logprobs {
		if !out.Scored[i] {
			out.Logprobs[i] = math.NaN()
		}
	}
	if n := x.maxContext; n > 0 && len(out.IDs) > n {
		out.IDs, out.Scored, out.Cut = out.IDs[:n:n], out.Scored[:n:n], true
		if out.Logprobs != nil {
			out.Logprobs = out.Logprobs[:n:n]
		}
		out.Prompt = min(out.Prompt, n)
	}
	return out
}
