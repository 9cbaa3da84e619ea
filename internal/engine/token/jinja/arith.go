package jinja

import (
	"math"
	"strings"
)

func (e *arith) eval(s *scope) any {
	defer located(e.line)
	s.st.step(1)
	return s.st.arith(e.op, e.a.eval(s), e.b.eval(s))
}

func (st *state) arith(op string, a, b any) any {
	touch(a)
	touch(b)
	if i, ok := integer(a); ok {
		if j, ok := integer(b); ok {
			return intArith(op, i, j)
		}
	}
	if x, ok := number(a); ok {
		if y, ok := number(b); ok {
			return floatArith(op, x, y)
		}
	}
	switch op {
	case "+":
		return st.add(a, b)
	case "*":
		if _, ok := integer(a); ok {
			a, b = b, a
		}
		if n, ok := integer(b); ok {
			return st.repeat(a, n)
		}
	case "%":
		if f, ok := text(a); ok {
			return st.percent(f, b)
		}
	}
	fail("a %s and a %s do not support %s", typeName(a), typeName(b), op)
	return nil
}

func (st *state) add(a, b any) any {
	x, xok := text(a)
	y, yok := text(b)
	if xok && yok {
		st.charge(len(x) + len(y))
		_, ma := a.(Markup)
		_, mb := b.(Markup)
		switch {
		case ma && mb:
			return Markup(x + y)
		case ma:
			return Markup(x + escapeHTML(y))
		case mb:
			return Markup(escapeHTML(x) + y)
		}
		return x + y
	}
	l, lok := a.(*List)
	r, rok := b.(*List)
	if lok && rok && l.kind == r.kind && l.kind != listView {
		st.charge(16 * (len(l.Items) + len(r.Items)))
		return &List{append(append(make([]any, 0, len(l.Items)+len(r.Items)), l.Items...), r.Items...), l.kind}
	}
	fail("a %s and a %s cannot be added", typeName(a), typeName(b))
	return nil
}

func (st *state) repeat(v any, n int64) any {
	n = max(n, 0)
	if s, ok := text(v); ok {
		if n > 0 && int64(len(s)) > int64(st.limits.Bytes)/n {
			st.charge(st.limits.Bytes + 1)
		}
		st.charge(len(s) * int(n))
		return strings.Repeat(s, int(n))
	}
	l, ok := v.(*List)
	if !ok || l.kind == listView {
		fail("a %s cannot be repeated", typeName(v))
	}
	if n > 0 && int64(len(l.Items)) > int64(st.limits.Bytes)/16/n {
		st.charge(st.limits.Bytes + 1)
	}
	st.charge(16 * len(l.Items) * int(n))
	out := &List{kind: l.kind}
	for range min(n, int64(len(l.Items))*n) {
		out.Items = append(out.Items, l.Items...)
	}
	return out
}

func overflow() { fail("an integer beyond 64 bits") }

func intArith(op string, i, j int64) any {
	switch op {
	case "+":
		if r := i + j; (r > i) == (j > 0) {
			return r
		}
		overflow()
	case "-":
		if r := i - j; (r < i) == (j > 0) {
			return r
		}
		overflow()
	case "*":
		if i == 0 || j == 0 {
			return int64(0)
		}
		if r := i * j; r/j == i && !(i == -1 && j == math.MinInt64) && !(j == -1 && i == math.MinInt64) {
			return r
		}
		overflow()
	case "/", "//", "%":
		if j == 0 {
			fail("division by zero")
		}
		if op == "/" {
			return float64(i) / float64(j)
		}
		q, r := i/j, i%j
		if r != 0 && (r < 0) != (j < 0) {
			q, r = q-1, r+j
		}
		if op == "%" {
			return r
		}
		return q
	}
	if j < 0 {
		return math.Pow(float64(i), float64(j))
	}
	r := int64(1)
	for range j { // ends early: |i| >= 2 overflows within 64 rounds
		if i == 0 || i == 1 || i == -1 {
			return int64(math.Pow(float64(i), float64(j&1+2*min(j, 1))))
		}
		r = intArith("*", r, i).(int64)
	}
	return r
}

func floatArith(op string, x, y float64) any {
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "**":
		return math.Pow(x, y)
	}
	if y == 0 {
		fail("division by zero")
	}
	switch op {
	case "/":
		return x / y
	case "//":
		return math.Floor(x / y)
	}
	r := math.Mod(x, y)
	if r != 0 && (r < 0) != (y < 0) {
		r += y
	}
	return r
}
