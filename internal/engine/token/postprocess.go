package token

import "encoding/json"

// processor is a post_processor of tokenizer.json.
type processor struct {
	Type       string      `json:"type"`
	Processors []processor `json:"processors"`
	Single     []struct {
		SpecialToken *struct{ ID string } `json:"SpecialToken"`
		Sequence     *struct{ ID string } `json:"Sequence"`
	} `json:"single"`
	SpecialTokens map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`
}

// postProcessor finds out which tokens go before and behind a text. ByteLevel
// only moves offsets.
func (t *Tokenizer) postProcessor(raw json.RawMessage) error {
	var p *processor
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &p); err != nil {
			return problem("bad-tokenizer", "post_processor", "is malformed")
		}
	}
	if p == nil {
		return nil
	}
	return t.process(p, 0)
}

func (t *Tokenizer) process(p *processor, depth int) error {
	switch {
	case p.Type == "ByteLevel":
		return nil
	case p.Type == "Sequence" && depth < 4:
		for i := range p.Processors {
			if err := t.process(&p.Processors[i], depth+1); err != nil {
				return err
			}
		}
		return nil
	case p.Type == "TemplateProcessing":
		return t.templateProcessing(p)
	}
	return problem("unsupported-tokenizer", "post_processor", "%.40q is not supported; supported are ByteLevel, TemplateProcessing and Sequence", p.Type)
}

func (t *Tokenizer) templateProcessing(p *processor) error {
	var front, back []int32
	seen := false
	for _, part := range p.Single {
		switch {
		case part.Sequence != nil:
			seen = true
		case part.SpecialToken != nil:
			ids := p.SpecialTokens[part.SpecialToken.ID].IDs
			if seen {
				back = append(back, ids...)
			} else {
				front = append(front, ids...)
			}
		}
	}
	if !seen {
		return problem("bad-tokenizer", "post_processor", "its template leaves out the text")
	}
	t.front, t.back = append(front, t.front...), append(t.back, back...)
	return nil
}
