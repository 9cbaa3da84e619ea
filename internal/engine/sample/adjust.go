package sample

import (
	"fmt"
	"math"
	"slices"

	"github.com/firekeep/firekeep/internal/engine"
)

// adjusting is how a request changes logits before they are drawn from: first
// the repetition penalty, then frequency and presence, then the biases. Each is a
// formula of one logit:
//
//	repetition r, of tokens in prompt or completion: x/r where x > 0, else x*r
//	frequency f, of a token that the completion holds n times: x - n*f
//	presence p, of a token that the completion holds: x - p
//	bias b: x + b
type adjusting struct {
	repetition, frequency, presence float64 // repetition 1 = off
	prompt                          []int32 // each token once, for repetition
	inPrompt                        map[int32]bool
	bias                            []Bias
}

// maxPenalty bounds penalties and biases; the contract's own bounds are narrower.
const maxPenalty = 1e4

// acceptAdjusting checks a request's penalties and biases; nil = it has none.
func (s *Sampler) acceptAdjusting(q *Request) (*adjusting, error) {
	refuse := func(key, format string, args ...any) (*adjusting, error) {
		return nil, &engine.Problem{Rule: "sampling-bound", Key: key, Message: fmt.Sprintf(format, args...)}
	}
	a := &adjusting{repetition: q.RepetitionPenalty, frequency: q.FrequencyPenalty, presence: q.PresencePenalty, bias: slices.Clone(q.Bias)}
	if a.repetition == 0 {
		a.repetition = 1
	}
	for _, b := range q.Bias {
		switch {
		case b.ID < 0 || int(b.ID) >= s.model.Config.Vocab:
			return refuse("logit_bias", "a token id lies outside the model's vocabulary of %d", s.model.Config.Vocab)
		case !(math.Abs(b.Value) <= maxPenalty):
			return refuse("logit_bias", "a bias must be a number of at most %g", maxPenalty)
		}
	}
	switch {
	case len(q.Bias) > MaxBiases:
		return refuse("logit_bias", "at most %d biases can be given", MaxBiases)
	case !(a.repetition > 0 && a.repetition <= maxPenalty):
		return refuse("repetition_penalty", "the repetition penalty must be a number above 0")
	case !(math.Abs(a.frequency) <= maxPenalty):
		return refuse("frequency_penalty", "the frequency penalty must be a number of at most %g", maxPenalty)
	case !(math.Abs(a.presence) <= maxPenalty):
		return refuse("presence_penalty", "the presence penalty must be a number of at most %g", maxPenalty)
	case a.repetition == 1 && a.frequency == 0 && a.presence == 0 && len(a.bias) == 0:
		return nil, nil
	}
	if a.repetition != 1 {
		a.inPrompt = map[int32]bool{}
		for _, id := range q.Prompt {
			if !a.inPrompt[id] {
				a.inPrompt[id] = true
				a.prompt = append(a.prompt, id)
			}
		}
	}
	return a, nil
}

// counts says whether the tokens of completions must be counted.
func (a *adjusting) counts() bool {
	return a != nil && (a.repetition != 1 || a.frequency != 0 || a.presence != 0)
}

// adjust returns the logits that the completion's next token is drawn from. They
// are the chooser's memory where they differ from what came in.
func (c *chooser) adjust(logits []float32, of *completion) []float32 {
	a := of.r.adjusting
	if a == nil {
		return logits
	}
	grow(&c.adjusted, len(logits))
	copy(c.adjusted, logits)
	a.apply(c.adjusted, of.counts)
	return c.adjusted
}

// apply changes logits behind a completion that holds each token of counts so
// often.
func (a *adjusting) apply(logits []float32, counts map[int32]int) {
	for _, id := range a.prompt {
		logits[id] = a.repeated(logits[id])
	}
	for id, n := range counts {
		x := logits[id]
		if !a.inPrompt[id] {
			x = a.repeated(x)
		}
		logits[id] = float32(float64(x) - float64(n)*a.frequency - a.presence)
	}
	for _, b := range a.bias {
		logits[b.ID] += float32(b.Value)
	}
}

// repeated is the logit of a token that was there before.
func (a *adjusting) repeated(x float32) float32 {
	if x > 0 {
		return float32(float64(x) / a.repetition)
	}
	return float32(float64(x) * a.repetition)
}
