package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/token/jinja"
)

// Template is a chat template. It is safe for concurrent use.
type Template struct {
	// Now is the clock of strftime_now. It stands still by default: training
	// must give the same bytes on any day, and the sampler must see the prompt
	// that the trainer sees.
	Now    time.Time
	Limits jinja.Limits

	tree   *jinja.Template
	source string
}

// ParseTemplate compiles Jinja source.
func ParseTemplate(src string) (*Template, error) {
	if strings.TrimSpace(src) == "" {
		return nil, &engine.Problem{Rule: "missing-template", Object: "chat_template", Message: "the model has no chat template; give one with jinjaTemplate"}
	}
	tree, err := jinja.Parse(src)
	if err != nil {
		return nil, templateProblem(err, src)
	}
	return &Template{Now: time.Date(2024, 7, 26, 12, 0, 0, 0, time.UTC), Limits: jinja.DefaultLimits, tree: tree, source: src}, nil
}

// Messages is a parsed list of messages or tools, in the order of its keys.
type Messages struct{ list *jinja.List }

// ParseMessages reads a JSON array.
func ParseMessages(raw []byte) (*Messages, error) {
	v, err := jinja.FromJSON(raw)
	list, ok := v.(*jinja.List)
	if err != nil || !ok {
		return nil, &engine.Problem{Rule: "bad-messages", Message: "messages and tools must be JSON arrays"}
	}
	return &Messages{list}, nil
}

// Len is the number of messages.
func (m *Messages) Len() int { return len(m.list.Items) }

// Head is the first n messages.
func (m *Messages) Head(n int) *Messages { return &Messages{jinja.NewList(m.list.Items[:n:n])} }

// Role is the role of message i, "" where it has none.
func (m *Messages) Role(i int) string {
	if d, ok := m.list.Items[i].(*jinja.Dict); ok {
		role, _ := d.Get("role")
		s, _ := role.(string)
		return s
	}
	return ""
}

// Without is m without the messages from to to-1.
func (m *Messages) Without(from, to int) *Messages {
	return &Messages{jinja.NewList(slices.Concat(m.list.Items[:from], m.list.Items[to:]))}
}

// Conversation is what a template renders.
type Conversation struct {
	Messages            *Messages
	Tools               *Messages // nil = none
	AddGenerationPrompt bool
}

// Render writes the conversation as transformers' apply_chat_template does.
// Special tokens come from tok.
func (t *Template) Render(c Conversation, tok *Tokenizer) (string, error) {
	vars := map[string]any{"messages": withReasoning(c.Messages.list), "tools": nil, "documents": nil,
		"add_generation_prompt": c.AddGenerationPrompt}
	if c.Tools != nil {
		vars["tools"] = c.Tools.list
	}
	for name, text := range map[string]string{"bos_token": tok.blob.BOSToken, "eos_token": tok.blob.EOSToken,
		"unk_token": tok.blob.UNKToken, "pad_token": tok.blob.PADToken} {
		if text != "" {
			vars[name] = text
		}
	}
	out, err := t.tree.Render(vars, t.Limits, func() time.Time { return t.Now })
	if err != nil {
		return "", templateProblem(err, t.source)
	}
	return out, nil
}

// RenderJSON is Render of raw JSON; tools may be nil.
func (t *Template) RenderJSON(messages, tools json.RawMessage, addGenerationPrompt bool, tok *Tokenizer) (string, error) {
	m, err := ParseMessages(messages)
	if err != nil {
		return "", err
	}
	c := Conversation{Messages: m, AddGenerationPrompt: addGenerationPrompt}
	if len(tools) > 0 && string(tools) != "null" {
		if c.Tools, err = ParseMessages(tools); err != nil {
			return "", err
		}
	}
	return t.Render(c, tok)
}

// reasoningFields are the names under which a message's reasoning is passed;
// templates read the first or, some, the second.
var reasoningFields = []string{"reasoning_content", "thinking", "reasoning"}

// withReasoning fills the aliases of reasoning, as transformers does.
func withReasoning(messages *jinja.List) *jinja.List {
	out := messages
	for i, m := range messages.Items {
		d, ok := m.(*jinja.Dict)
		if !ok {
			continue
		}
		var reasoning any
		for _, name := range reasoningFields {
			if v, ok := d.Get(name); ok && v != nil {
				reasoning = v
				break
			}
		}
		if reasoning == nil {
			continue
		}
		if out == messages {
			out = jinja.NewList(append([]any(nil), messages.Items...))
		}
		out.Items[i] = d.With("thinking", reasoning, "reasoning_content")
	}
	return out
}

// templateProblem reports an error. What raise_exception says is quoted only
// when it stands in the template: it may be made of content.
func templateProblem(err error, source string) error {
	var e *jinja.Error
	if !errors.As(err, &e) {
		return err
	}
	p := &engine.Problem{Rule: "bad-template", Object: "chat_template", Line: int64(e.Line), Message: e.Message}
	switch {
	case e.Limit:
		p.Rule = "template-limit"
	case e.Raised:
		p.Rule, p.Message = "template-refused", "the template refuses these messages"
		if len(e.Message) < 300 && e.Message != "" && strings.Contains(source, e.Message) {
			p.Message += fmt.Sprintf(": %q", e.Message)
		}
	}
	return p
}
