package jinja

import (
	"strings"
	"time"
)

// Limits bound one rendering.
type Limits struct {
	Steps  int // nodes evaluated and items looped over
	Bytes  int // bytes of values made and text written
	Output int // bytes of the result
}

// DefaultLimits allow a conversation of tens of megabytes.
var DefaultLimits = Limits{Steps: 20 << 20, Bytes: 1 << 30, Output: 256 << 20}

const maxCallDepth = 60

// state is one rendering.
type state struct {
	limits Limits
	steps  int
	bytes  int
	depth  int
	// valueDepth is how deep a comparison is inside nested values.
	valueDepth int
	out        *strings.Builder
	globals    map[string]any
	now        func() time.Time
}

// step counts work.
func (st *state) step(n int) {
	if st.steps += n; st.steps > st.limits.Steps {
		panic(&Error{Message: "the template runs for too long", Limit: true})
	}
}

// charge counts bytes of values.
func (st *state) charge(n int) {
	if st.bytes += n; n < 0 || st.bytes > st.limits.Bytes {
		panic(&Error{Message: "the template makes values that are too large", Limit: true})
	}
}

func (st *state) write(s string) {
	st.charge(len(s))
	if st.out.Len()+len(s) > st.limits.Output {
		panic(&Error{Message: "the template writes too much", Limit: true})
	}
	st.out.WriteString(s)
}

// enter bounds calls of macros and recursive loops.
func (st *state) enter() {
	if st.depth++; st.depth > maxCallDepth {
		panic(&Error{Message: "calls are nested too deep", Limit: true})
	}
}

// enterValue bounds comparisons of nested values, which a template can make
// deeper than any stack and wider than any time.
func (st *state) enterValue() {
	if st.valueDepth++; st.valueDepth > maxNesting {
		panic(&Error{Message: "values are nested too deep to be compared", Limit: true})
	}
}

// capture runs f and returns what it wrote.
func (st *state) capture(f func()) string {
	outer := st.out
	st.out = &strings.Builder{}
	f()
	s := st.out.String()
	st.out = outer
	return s
}

// scope holds the names of one block; lookups go outwards.
type scope struct {
	st    *state
	outer *scope
	vars  map[string]any
}

func (s *scope) inner() *scope { return &scope{st: s.st, outer: s} }

func (s *scope) set(name string, v any) {
	if s.vars == nil {
		s.vars = map[string]any{}
	}
	s.vars[name] = v
}

func (s *scope) get(name string) any {
	for at := s; at != nil; at = at.outer {
		if v, ok := at.vars[name]; ok {
			return v
		}
	}
	if v, ok := s.st.globals[name]; ok {
		return v
	}
	return &Undefined{"'" + name + "'"}
}

// Template is a parsed template. It is safe for concurrent use.
type Template struct {
	body []stmt
}

// Parse compiles src.
func Parse(src string) (t *Template, err error) {
	defer recovered(&err)
	p := &parser{toks: lex(src)}
	body, _ := p.body()
	return &Template{body}, nil
}

// Render runs the template with the given names. now is what strftime_now
// reads.
func (t *Template) Render(vars map[string]any, limits Limits, now func() time.Time) (out string, err error) {
	defer recovered(&err)
	st := &state{limits: limits, out: &strings.Builder{}, now: now}
	st.globals = builtins()
	root := &scope{st: st, vars: vars}
	top := root.inner()
	run(top, t.body)
	return st.out.String(), nil
}
