package jinja

import (
	"strings"
	"unicode"
)

type testFunc func(st *state, v any, a args) bool

var testTable map[string]testFunc

func init() {
	testTable = map[string]testFunc{
		"defined":     func(st *state, v any, a args) bool { return !isUndefined(v) },
		"undefined":   func(st *state, v any, a args) bool { return isUndefined(v) },
		"none":        func(st *state, v any, a args) bool { return v == nil },
		"boolean":     func(st *state, v any, a args) bool { _, ok := v.(bool); return ok },
		"true":        func(st *state, v any, a args) bool { return v == true },
		"false":       func(st *state, v any, a args) bool { return v == false },
		"integer":     isInteger,
		"float":       func(st *state, v any, a args) bool { _, ok := v.(float64); return ok },
		"number":      func(st *state, v any, a args) bool { _, ok := number(v); _, big := v.(Number); return ok || big },
		"string":      func(st *state, v any, a args) bool { _, ok := text(v); return ok },
		"mapping":     func(st *state, v any, a args) bool { _, ok := v.(*Dict); return ok },
		"iterable":    func(st *state, v any, a args) bool { return isUndefined(v) || isSequence(st, v, a) || isView(v) },
		"sequence":    isSequence,
		"callable":    func(st *state, v any, a args) bool { _, ok := v.(*function); return ok || isUndefined(v) },
		"odd":         func(st *state, v any, a args) bool { return wantInt(v, "odd")%2 != 0 },
		"even":        func(st *state, v any, a args) bool { return wantInt(v, "even")%2 == 0 },
		"divisibleby": divisibleBy,
		"sameas":      sameAs,
		"escaped":     func(st *state, v any, a args) bool { _, ok := v.(Markup); return ok },
		"lower": func(st *state, v any, a args) bool {
			s := st.str(v)
			return cased(unicode.IsLower, unicode.IsUpper)(st, s, a) == true
		},
		"upper": func(st *state, v any, a args) bool {
			s := st.str(v)
			return cased(unicode.IsUpper, unicode.IsLower)(st, s, a) == true
		},
		"in":     func(st *state, v any, a args) bool { return st.contains(a.want(0, "seq", "in"), v) },
		"filter": func(st *state, v any, a args) bool { s, _ := text(v); return filterTable[s] != nil },
		"test":   func(st *state, v any, a args) bool { s, _ := text(v); return testTable[s] != nil },
	}
	for names, op := range map[string]string{
		"eq equalto ==": "==", "ne !=": "!=", "lt lessthan <": "<", "le <=": "<=", "gt greaterthan >": ">", "ge >=": ">=",
	} {
		for _, name := range strings.Fields(names) {
			testTable[name] = func(st *state, v any, a args) bool { return st.compare(op, v, a.want(0, "other", name)) }
		}
	}
}

func isUndefined(v any) bool { _, ok := v.(*Undefined); return ok }

func isInteger(st *state, v any, a args) bool {
	switch v.(type) {
	case int64, Number:
		return true
	}
	return false
}

func isView(v any) bool {
	l, ok := v.(*List)
	return ok && l.kind == listView
}

// isSequence: what has a length and items by position; Jinja takes dicts too.
func isSequence(st *state, v any, a args) bool {
	switch v := v.(type) {
	case *List:
		return v.kind != listView
	case *Dict, string, Markup, *Undefined:
		return true
	}
	return false
}

func divisibleBy(st *state, v any, a args) bool {
	by := wantInt(a.want(0, "num", "divisibleby"), "divisibleby")
	if by == 0 {
		fail("division by zero")
	}
	return wantInt(v, "divisibleby")%by == 0
}

// sameAs is Python's "is": identity of objects, equality of small values.
func sameAs(st *state, v any, a args) bool {
	other := a.want(0, "other", "sameas")
	if x, ok := text(v); ok {
		y, ok := text(other)
		return ok && x == y
	}
	return v == other
}
