// Package jinja renders chat templates: the Jinja that transformers sets up
// for apply_chat_template (trim_blocks, lstrip_blocks, loop controls, the
// generation tag, immutable values), and nothing that could reach outside.
//
// Templates are foreign code, so an interpreter of our own bounds what no
// general engine bounds: steps, bytes made, depth of calls. It knows no files,
// no includes, no imports, no environment.
//
// Inside the package an error travels as a panic of *Error that Render and
// Parse recover; no other panic is recovered.
package jinja

import "fmt"

// Error is what is wrong with a template or its rendering. Line is 1-based, 0
// when unknown. Raised marks a message of the template's own raise_exception.
type Error struct {
	Line    int
	Message string
	Raised  bool
	Limit   bool // a bound of Limits was met
}

func (e *Error) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("line %d: %s", e.Line, e.Message)
	}
	return e.Message
}

func fail(format string, args ...any) {
	panic(&Error{Message: fmt.Sprintf(format, args...)})
}

func failAt(line int, format string, args ...any) {
	panic(&Error{Line: line, Message: fmt.Sprintf(format, args...)})
}

// recovered turns a panic of *Error into an error.
func recovered(err *error) {
	switch r := recover().(type) {
	case nil:
	case *Error:
		*err = r
	default:
		panic(r)
	}
}
