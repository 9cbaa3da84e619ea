package control

import (
	"strings"
	"unicode"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Bounds of a filter.
const (
	maxFilterBytes = 4096
	maxFilterTerms = 64
	maxFilterDepth = 8
)

// parseFilter reads a filter of AIP-160: comparisons joined by AND and OR, of
// which OR binds tighter, NOT or "-" before one, and parentheses. Identifiers may
// be camelCase or snake_case; values bare or in double quotes.
func parseFilter(s string) ([]store.Term, error) {
	p := filterParser{in: strings.TrimSpace(s)}
	if len(s) > maxFilterBytes {
		return nil, p.bad("is longer than 4096 bytes")
	}
	if p.in == "" {
		return nil, nil
	}
	terms, err := p.all(0)
	if err == nil && p.in != "" {
		err = p.bad("want AND or OR between two comparisons")
	}
	if err != nil {
		return nil, err
	}
	return terms, nil
}

type filterParser struct {
	in    string // what is left, without leading space
	terms int
}

func (p *filterParser) bad(why string) error { return rft.FieldErrorf("filter", "filter: %s", why) }

func (p *filterParser) advance(n int) { p.in = strings.TrimSpace(p.in[n:]) }

// word takes a keyword off the front: it ends where a space or a parenthesis begins.
func (p *filterParser) word(word string) bool {
	rest, ok := strings.CutPrefix(p.in, word)
	if !ok || rest != "" && rest[0] != ' ' && rest[0] != '(' {
		return false
	}
	p.advance(len(word))
	return true
}

// all reads what AND joins.
func (p *filterParser) all(depth int) (terms []store.Term, err error) {
	if depth > maxFilterDepth {
		return nil, p.bad("has too many parentheses inside each other")
	}
	for {
		t, err := p.either(depth)
		if err != nil {
			return nil, err
		}
		if terms = append(terms, t); !p.word("AND") {
			return terms, nil
		}
	}
}

// either reads what OR joins.
func (p *filterParser) either(depth int) (store.Term, error) {
	t, err := p.term(depth)
	if err != nil || !p.word("OR") {
		return t, err
	}
	out := store.Term{Any: [][]store.Term{{t}}}
	for {
		if t, err = p.term(depth); err != nil {
			return t, err
		}
		if out.Any = append(out.Any, []store.Term{t}); !p.word("OR") {
			return out, nil
		}
	}
}

// term reads a comparison or an expression in parentheses.
func (p *filterParser) term(depth int) (t store.Term, err error) {
	not := p.word("NOT")
	if !not && strings.HasPrefix(p.in, "-") {
		not = true
		p.advance(1)
	}
	if strings.HasPrefix(p.in, "(") {
		t, err = p.inside(depth)
	} else {
		t, err = p.comparison()
	}
	t.Not = t.Not != not
	return t, err
}

func (p *filterParser) inside(depth int) (t store.Term, err error) {
	p.advance(1)
	terms, err := p.all(depth + 1)
	switch {
	case err != nil:
		return t, err
	case !strings.HasPrefix(p.in, ")"):
		return t, p.bad("a parenthesis is not closed")
	}
	p.advance(1)
	if len(terms) == 1 {
		return terms[0], nil
	}
	return store.Term{Any: [][]store.Term{terms}}, nil
}

func (p *filterParser) comparison() (t store.Term, err error) {
	if p.terms++; p.terms > maxFilterTerms {
		return t, p.bad("has more than 64 comparisons")
	}
	field := p.in[:span(p.in, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '.' })]
	if field == "" {
		return t, p.bad("want the name of a field")
	}
	p.advance(len(field))
	op := operator(p.in)
	if op == "" {
		return t, p.bad("want one of = != < <= > >= : behind " + field)
	}
	p.advance(len(op))
	value, rest, ok := filterValue(p.in)
	if !ok {
		return t, p.bad("want a value behind " + field)
	}
	p.in = strings.TrimSpace(rest)
	if field == "name" { // rows know the last part only, and are of one account
		value = value[strings.LastIndexByte(value, '/')+1:]
	}
	return store.Term{Field: snakeCase(field), Op: op, Value: value}, nil
}

func operator(s string) string {
	for _, op := range []string{"!=", "<=", ">=", "=", "<", ">", ":"} {
		if strings.HasPrefix(s, op) {
			return op
		}
	}
	return ""
}

// filterValue cuts a value off the front of s.
func filterValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		n := span(s, func(r rune) bool { return !unicode.IsSpace(r) && r != '(' && r != ')' && r != '"' })
		return s[:n], s[n:], n > 0
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
