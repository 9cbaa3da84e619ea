package rows

// pair is a row of preferences: a conversation, and two answers to it of which
// one is preferred. Each answer is one assistant message. The fields are where
// the values begin (later), 0 = absent.
type pair struct {
	input, preferred, rejected int
}

func (p *pair) complete() bool { return p.input > 0 && p.preferred > 0 && p.rejected > 0 }
func (p *pair) any() bool      { return p.preferred > 0 || p.rejected > 0 }

// finishPair makes the two samples of the row: the preferred one first. Weights
// of messages play no part: what is compared are the two answers.
func (p *rowParser) finishPair(two *pair) row {
	var prompt Sample
	p.at = two.input
	p.pairInput(&prompt)
	r := row{format: FormatDPO}
	for _, a := range []struct {
		at    int
		field string
	}{{two.preferred, "preferred_output"}, {two.rejected, "non_preferred_output"}} {
		var answer Sample
		p.at = a.at
		p.answer(&answer, a.field)
		s := Sample{Line: p.line, Tools: prompt.Tools, Turns: append(append([]Turn{}, prompt.Turns...), answer.Turns...)}
		for t := range s.Turns {
			s.Turns[t].Weight = -1
		}
		s.Messages = joined(prompt.Messages, answer.Messages)
		r.samples = append(r.samples, s)
	}
	return r
}

// pairInput reads {"messages":[…],"tools":[…]}.
func (p *rowParser) pairInput(s *Sample) {
	if p.peek() != '{' {
		p.skip()
		p.fail(RuleType, "input", "is no object")
	}
	var seen sampleFields
	p.object(func(key []byte) {
		switch string(key) {
		case "messages", "tools":
			p.sampleField(s, &seen, key)
		default:
			p.skip()
		}
	})
	if len(s.Turns) == 0 {
		p.fail(RuleNoMessages, "input.messages", "the row has no messages to answer")
	}
}

// answer reads an array of one assistant message.
func (p *rowParser) answer(s *Sample, field string) {
	if p.peek() != '[' {
		p.skip()
		p.fail(RuleType, field, "is no array")
	}
	p.messages(s)
	if n := len(s.Turns); n != 1 || !s.Turns[0].Assistant {
		p.fail(RuleLastRole, field, "needs exactly one assistant message, here are %d messages", n)
	}
}

// joined is the JSON array of the elements of a and b, neither of which is empty.
func joined(a, b []byte) []byte {
	out := make([]byte, 0, len(a)+len(b))
	out = append(out, a[:len(a)-1]...)
	out = append(out, ',')
	return append(out, b[1:]...)
}
