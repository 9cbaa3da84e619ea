package jinja

import (
	"strconv"
	"strings"
)

// format is str.format with {}, {0} and {name}; anything finer is refused.
func format(st *state, v any, a args) any {
	s := self(v)
	var b strings.Builder
	auto := 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '{' && s[i] != '}':
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == s[i]:
			b.WriteByte(s[i])
			i++
		case s[i] == '}':
			fail("a single } in a format")
		default:
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				fail("a { in a format is not closed")
			}
			field := s[i+1 : i+end]
			i += end
			if field == "" {
				field = strconv.Itoa(auto)
				auto++
			}
			t := st.str(formatField(field, a))
			st.charge(len(t))
			b.WriteString(t)
		}
	}
	return b.String()
}

func formatField(field string, a args) any {
	if n, err := strconv.Atoi(field); err == nil {
		if n < 0 || n >= len(a.positional) {
			fail("a format has no argument %d", n)
		}
		return a.positional[n]
	}
	if strings.ContainsAny(field, ".[:!") {
		fail("a format field with attributes, items or a specification is not supported")
	}
	v, ok := a.get(-1, field)
	if !ok {
		fail("a format has no argument for one of its fields")
	}
	return v
}

// percent is the % operator on strings with %s, %r, %d, %i and %f.
func (st *state) percent(f string, v any) any {
	values := []any{v}
	if l, ok := v.(*List); ok && l.kind == listTuple {
		values = l.Items
	}
	var b strings.Builder
	for i := 0; i < len(f); i++ {
		if f[i] != '%' {
			b.WriteByte(f[i])
			continue
		}
		if i++; i >= len(f) {
			fail("incomplete format")
		}
		if f[i] == '%' {
			b.WriteByte('%')
			continue
		}
		precision := 6
		if f[i] == '.' {
			start := i + 1
			for i++; i < len(f) && f[i] >= '0' && f[i] <= '9'; i++ {
			}
			precision, _ = strconv.Atoi(f[start:i])
			if i >= len(f) || precision > 100 {
				fail("incomplete format")
			}
		}
		if len(values) == 0 {
			fail("not enough arguments for format string")
		}
		t := st.directive(f[i], precision, values[0])
		st.charge(len(t))
		b.WriteString(t)
		values = values[1:]
	}
	if len(values) > 0 {
		if _, dict := v.(*Dict); !dict {
			fail("not all arguments converted during string formatting")
		}
	}
	return b.String()
}

func (st *state) directive(c byte, precision int, v any) string {
	switch c {
	case 's':
		return st.str(v)
	case 'r':
		return repr(v)
	case 'd', 'i':
		if n, ok := number(v); ok {
			return strconv.FormatInt(int64(n), 10)
		}
	case 'f':
		if n, ok := number(v); ok {
			return strconv.FormatFloat(n, 'f', precision, 64)
		}
	}
	fail("the format %%%c is not supported for a %s", c, typeName(v))
	return ""
}
