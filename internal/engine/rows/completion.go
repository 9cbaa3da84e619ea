package rows

import "slices"

// completion is a row of plain text: a prompt and what follows it, without roles
// and without a template. The fields are where the values begin (later), 0 = absent.
type completion struct {
	prompt, completion int
}

func (c *completion) complete() bool { return c.prompt > 0 && c.completion > 0 }

// finishCompletion makes the sample of the row from its two texts and the fields
// that any sample may have.
func (p *rowParser) finishCompletion(c *completion, s *Sample, seen *sampleFields) row {
	end := p.at
	s.Prompt, s.Completion = p.textAt(c.prompt, "prompt"), p.textAt(c.completion, "completion")
	p.at = end
	if s.Completion == "" {
		p.fail(RuleNoCompletion, "completion", "is empty: there is nothing to learn from")
	}
	p.finishScores(s, seen)
	return row{format: FormatCompletion, samples: []Sample{*s}}
}

func (p *rowParser) textAt(at int, field string) string {
	p.at = at
	if p.peek() != '"' {
		p.fail(RuleType, field, "is no string")
	}
	return string(p.key())
}

// withoutTemplate builds a sample of plain text.
func (x *sampleEncoder) withoutTemplate() error {
	if x.sample.HasTokens {
		return x.tokensOnly()
	}
	x.plainText()
	if x.sample.HasLogprobs {
		return x.textLogprobs()
	}
	return nil
}

// plainText tokenises a row without a template, as a completion request would:
// the tokeniser's own beginning, the prompt, then the completion behind it and the
// token that ends it, which the model learns to write.
func (x *sampleEncoder) plainText() {
	x.ids = x.promptIDs()
	x.prompt = len(x.ids)
	x.scored = make([]bool, len(x.ids))
	x.append(x.sample.Completion)
	if end, ok := x.tok.ID(x.tok.EOSText()); ok && !slices.Contains(x.ids[x.prompt:], end) {
		x.ids, x.scored = append(x.ids, end), append(x.scored, false)
	}
	x.score(x.prompt, len(x.ids))
}

// promptIDs are the ids of a plain prompt.
func (x *sampleEncoder) promptIDs() []int32 { return x.tok.Encode(x.sample.Prompt, true) }
