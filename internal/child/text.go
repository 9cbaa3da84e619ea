package child

import (
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/tensorfile"
	"github.com/firekeep/firekeep/internal/engine/token"
	"github.com/firekeep/firekeep/internal/wire"
)

// checkText judges a model's tokeniser and chat template at import: a model
// whose text cannot be read exactly is refused then, not when it is used.
func checkText(tokenizer []byte, template string) error {
	if _, err := token.New(tokenizer); err != nil {
		return err
	}
	return nil
}

// text turns requests into tokens.
type text struct {
	tokenizer *token.Tokenizer
}

// newText reads tokeniser and template of prepared weights; override replaces
// the template when it is not "".
func newText(p *tensorfile.Prepared, override string) (*text, error) {
	tok, err := token.New(p.Tokenizer())
	if err != nil {
		return nil, err
	}
	return &text{tokenizer: tok}, nil
}

// prompt is the prompt of a request in tokens.
func (t *text) prompt(m wire.SampleRequest) ([]int32, error) {
	switch {
	case m.Prompt != nil && m.Messages == nil && m.Tokens == nil:
		return t.tokenizer.Encode(*m.Prompt, true), nil
	case m.Tokens != nil && m.Messages == nil:
		return m.Tokens, nil
	}
	return nil, &engine.Problem{Rule: "bad-request", Message: "give exactly one of messages, prompt and tokens"}
}
