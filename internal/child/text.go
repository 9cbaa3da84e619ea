package child

import (
	"errors"
	"fmt"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/rows"
	"github.com/firekeep/firekeep/internal/engine/tensorfile"
	"github.com/firekeep/firekeep/internal/engine/token"
	"github.com/firekeep/firekeep/internal/wire"
)

// checkText judges a model's tokeniser and chat template at import: a model
// whose text cannot be read exactly is refused then, not when it is used. A
// base without a template is fine; its chats need one with the request.
func checkText(tokenizer []byte, template string) error {
	if _, err := token.New(tokenizer); err != nil {
		return err
	}
	if template == "" {
		return nil
	}
	_, err := token.ParseTemplate(template)
	return err
}

// text turns requests into tokens. It belongs to one goroutine.
type text struct {
	tokenizer *token.Tokenizer
	source    string // of the model's own template
	templates map[string]*token.Template
}

// maxTemplates bounds the templates that are kept parsed.
const maxTemplates = 16

func newText(tok *token.Tokenizer, p *tensorfile.Prepared) *text {
	return &text{tokenizer: tok, source: p.ChatTemplate(), templates: map[string]*token.Template{}}
}

// prompt is the prompt of a request in tokens.
func (t *text) prompt(m wire.SampleRequest) ([]int32, error) {
	given := 0
	for _, is := range []bool{m.Messages != nil, m.Prompt != nil, m.Tokens != nil} {
		if is {
			given++
		}
	}
	switch {
	case given != 1:
		return nil, &engine.Problem{Rule: "bad-request", Message: "give exactly one of messages, prompt and tokens"}
	case m.Prompt != nil:
		return t.tokenizer.Encode(*m.Prompt, true), nil
	case m.Tokens != nil:
		return m.Tokens, nil
	}
	template, err := t.template(m.Template)
	if err != nil {
		return nil, err
	}
	messages, err := token.ParseMessages(m.Messages)
	if err != nil {
		return nil, err
	}
	c := token.Conversation{Messages: messages, AddGenerationPrompt: true}
	if len(m.Tools) > 0 && string(m.Tools) != "null" {
		if c.Tools, err = token.ParseMessages(m.Tools); err != nil {
			return nil, err
		}
	}
	render := func(messages *token.Messages) ([]int32, error) {
		c.Messages = messages
		rendered, err := template.Render(c, t.tokenizer)
		if err != nil {
			return nil, err
		}
		return t.tokenizer.Encode(rendered, false), nil
	}
	if m.TruncatePrompt > 0 {
		return truncated(messages, m.TruncatePrompt, render)
	}
	return render(messages)
}

// truncated is the longest prompt of at most limit tokens that begins with a turn
// of the user: the earliest turns are left out, leading system messages stay. Each
// turn costs tokens, so the first turn to keep is found by bisection.
func truncated(messages *token.Messages, limit int, render func(*token.Messages) ([]int32, error)) ([]int32, error) {
	ids, err := render(messages)
	if err != nil || len(ids) <= limit {
		return ids, err
	}
	lead := 0
	for lead < messages.Len() && (messages.Role(lead) == "system" || messages.Role(lead) == "developer") {
		lead++
	}
	var starts []int
	for i := lead + 1; i < messages.Len(); i++ {
		if messages.Role(i) == "user" {
			starts = append(starts, i)
		}
	}
	var best []int32
	for lo, hi := 0, len(starts); lo < hi; {
		mid := (lo + hi) / 2
		if ids, err = render(messages.Without(lead, starts[mid])); err != nil {
			return nil, err
		}
		if len(ids) <= limit {
			best, hi = ids, mid
		} else {
			lo = mid + 1
		}
	}
	if best == nil {
		return nil, &engine.Problem{Rule: "prompt-truncation", Key: "prompt_truncate_len",
			Message: fmt.Sprintf("the last turn alone is longer than %d tokens", limit)}
	}
	return best, nil
}

// template parses a template once; "" is the model's own.
func (t *text) template(source string) (*token.Template, error) {
	if source == "" {
		source = t.source
	}
	if parsed, ok := t.templates[source]; ok {
		return parsed, nil
	}
	parsed, err := token.ParseTemplate(source)
	if err != nil {
		return nil, err
	}
	if len(t.templates) >= maxTemplates {
		clear(t.templates)
	}
	t.templates[source] = parsed
	return parsed, nil
}

// encoder turns groups of rows into tokens.
type encoder struct{ rows *rows.Encoder }

func newEncoder(tok *token.Tokenizer, p *tensorfile.Prepared, spec *engine.Spec) (*encoder, error) {
	source := spec.Template
	if source == "" {
		source = p.ChatTemplate()
	}
	template, err := token.ParseTemplate(source)
	if err != nil {
		return nil, err
	}
	return &encoder{rows.NewEncoder(tok, template, spec)}, nil
}

// group parses and tokenises one group. Problems name the object by number: the
// engine does not know its name.
func (e *encoder) group(g wire.Group) (*rows.Encoded, error) {
	parsed, err := rows.ParseGroup(g.Rows, g.Line)
	var encoded *rows.Encoded
	if err == nil {
		encoded, err = e.rows.Encode(parsed)
	}
	var p *engine.Problem
	if errors.As(err, &p) && p.Object == "" {
		named := *p
		named.Object = fmt.Sprintf("object %d", g.Object+1)
		return nil, &named
	}
	return encoded, err
}
