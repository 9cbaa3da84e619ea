package jinja

import "strings"

// expr is an expression of the tree.
type expr interface{ eval(s *scope) any }

type (
	literal   struct{ value any }
	variable  struct{ name string }
	captured  struct{} // the text of a filter or set block
	condExpr  struct{ cond, yes, no expr }
	notExpr   struct{ e expr }
	concat    struct{ parts []expr }
	sliceExpr struct{ parts [3]expr }
	logic     struct {
		a, b expr
		or   bool
	}
	compare struct {
		first expr
		ops   []string
		rest  []expr
		line  int
	}
	arith struct {
		op   string
		a, b expr
		line int
	}
	listExpr struct {
		items []expr
		kind  listKind
	}
	dictExpr  struct{ keys, values []expr }
	attribute struct {
		of   expr
		name string
		line int
	}
	subscript struct {
		of, index expr
		line      int
	}
	arguments struct {
		positional   []expr
		names        []string
		named        []expr
		star, kwStar expr
	}
	call struct {
		callee expr
		args   arguments
		line   int
	}
	filterExpr struct {
		value expr
		name  string
		fn    filterFunc
		args  arguments
		line  int
	}
	testExpr struct {
		value   expr
		name    string
		fn      testFunc
		negated bool
		args    arguments
		line    int
	}
)

// located adds the line to an error that has none.
func located(line int) {
	if r := recover(); r != nil {
		if e, ok := r.(*Error); ok && e.Line == 0 {
			e.Line = line
		}
		panic(r)
	}
}

const capturedName = "\x00captured"

func (e *literal) eval(s *scope) any  { return e.value }
func (e *captured) eval(s *scope) any { return s.get(capturedName) }

func (e *variable) eval(s *scope) any {
	s.st.step(1)
	return s.get(e.name)
}

func (e *condExpr) eval(s *scope) any {
	if truth(e.cond.eval(s)) {
		return e.yes.eval(s)
	}
	if e.no == nil {
		return &Undefined{"the value of an if without else"}
	}
	return e.no.eval(s)
}

func (e *notExpr) eval(s *scope) any { return !truth(e.e.eval(s)) }

func (e *logic) eval(s *scope) any {
	if a := e.a.eval(s); truth(a) == e.or {
		return a
	}
	return e.b.eval(s)
}

func (e *concat) eval(s *scope) any {
	var b strings.Builder
	for _, p := range e.parts {
		t := s.st.str(p.eval(s))
		s.st.charge(len(t))
		b.WriteString(t)
	}
	return b.String()
}

func (e *compare) eval(s *scope) any {
	defer located(e.line)
	a := e.first.eval(s)
	for i, op := range e.ops {
		b := e.rest[i].eval(s)
		s.st.step(1)
		if !s.st.compare(op, a, b) {
			return false
		}
		a = b
	}
	return true
}

func (st *state) compare(op string, a, b any) bool {
	switch op {
	case "==":
		return st.equal(a, b)
	case "!=":
		return !st.equal(a, b)
	case "<":
		return st.less(a, b)
	case ">":
		return st.less(b, a)
	case "<=":
		return st.equal(a, b) || st.less(a, b)
	case ">=":
		return st.equal(a, b) || st.less(b, a)
	case "in":
		return st.contains(b, a)
	}
	return !st.contains(b, a)
}

func (e *listExpr) eval(s *scope) any {
	items := make([]any, len(e.items))
	s.st.charge(16 * len(items))
	for i, item := range e.items {
		items[i] = item.eval(s)
	}
	return &List{items, e.kind}
}

func (e *dictExpr) eval(s *scope) any {
	d := NewDict()
	s.st.charge(64 * len(e.keys))
	for i := range e.keys {
		d.Set(e.keys[i].eval(s), e.values[i].eval(s))
	}
	return d
}

func (e *attribute) eval(s *scope) any {
	defer located(e.line)
	s.st.step(1)
	return s.st.attr(e.of.eval(s), e.name)
}

func (e *subscript) eval(s *scope) any {
	defer located(e.line)
	s.st.step(1)
	of := e.of.eval(s)
	if sl, ok := e.index.(*sliceExpr); ok {
		return s.st.slice(of, sl, s)
	}
	return s.st.item(of, e.index.eval(s))
}

func (e *sliceExpr) eval(s *scope) any {
	fail("a slice stands only in brackets")
	return nil
}

// attr is a.name: methods first, then items.
func (st *state) attr(v any, name string) any {
	touch(v)
	if strings.HasPrefix(name, "_") {
		return &Undefined{"an attribute that begins with an underscore is not accessible, it"}
	}
	if m := st.method(v, name); m != nil {
		return m
	}
	switch v := v.(type) {
	case *Dict:
		if item, ok := v.Get(name); ok {
			return item
		}
	case *Namespace:
		if item, ok := v.attrs.Get(name); ok {
			return item
		}
	case *loop:
		if item, ok := v.attr(name); ok {
			return item
		}
	case *function:
		if name == "name" {
			return v.name
		}
	}
	return &Undefined{"'" + typeName(v) + " object' has no attribute '" + name + "', which"}
}

// item is a[index]: items first, then methods.
func (st *state) item(v, index any) any {
	touch(v)
	switch c := v.(type) {
	case *Dict:
		if _, undefined := index.(*Undefined); undefined {
			return index
		}
		if item, ok := c.Get(index); ok {
			return item
		}
	case *List:
		if i, ok := integer(index); ok {
			if i < 0 {
				i += int64(len(c.Items))
			}
			if i >= 0 && i < int64(len(c.Items)) {
				return c.Items[i]
			}
			return &Undefined{"the item of a " + typeName(v)}
		}
	case string, Markup:
		if i, ok := integer(index); ok {
			s, _ := text(v)
			return st.runeAt(s, i)
		}
	}
	if name, ok := text(index); ok {
		// The name may be content, which no error may quote.
		if m := st.method(v, name); m != nil {
			return m
		}
		if _, dict := v.(*Dict); !dict && !strings.HasPrefix(name, "_") {
			if found := st.attr(v, name); !isUndefined(found) {
				return found
			}
		}
	}
	return &Undefined{"the item of a " + typeName(v)}
}

func (st *state) runeAt(s string, i int64) any {
	runes := []rune(s)
	st.step(len(s)/64 + 1)
	if i < 0 {
		i += int64(len(runes))
	}
	if i < 0 || i >= int64(len(runes)) {
		return &Undefined{"the character of a str"}
	}
	return string(runes[i])
}

// slice is a[start:stop:step].
func (st *state) slice(v any, e *sliceExpr, s *scope) any {
	var bounds [3]*int64
	for i, p := range e.parts {
		if p == nil {
			continue
		}
		if b := p.eval(s); b != nil {
			n := wantInt(b, "a slice")
			bounds[i] = &n
		}
	}
	if str, ok := text(v); ok {
		runes := []rune(str)
		st.charge(4 * len(runes))
		var b strings.Builder
		for _, i := range sliceIndexes(len(runes), bounds) {
			b.WriteRune(runes[i])
		}
		return b.String()
	}
	l, ok := v.(*List)
	if !ok {
		if _, dict := v.(*Dict); dict {
			return &Undefined{"the slice of a dict"}
		}
		fail("a %s cannot be sliced", typeName(v))
	}
	out := &List{kind: l.kind}
	st.charge(16 * len(l.Items))
	for _, i := range sliceIndexes(len(l.Items), bounds) {
		out.Items = append(out.Items, l.Items[i])
	}
	return out
}

// sliceIndexes follows Python's slice.indices.
func sliceIndexes(n int, bounds [3]*int64) []int {
	step := int64(1)
	if bounds[2] != nil {
		step = *bounds[2]
	}
	if step == 0 {
		fail("a slice step of zero")
	}
	size := int64(n)
	lo, hi := int64(0), size
	if step < 0 {
		lo, hi = -1, size-1
	}
	clip := func(b *int64, fallback int64) int64 {
		if b == nil {
			return fallback
		}
		v := *b
		if v < 0 {
			v += size
		}
		return max(lo, min(v, hi))
	}
	var out []int
	if step > 0 {
		for i, end := clip(bounds[0], 0), clip(bounds[1], size); i < end; i += min(step, size) {
			out = append(out, int(i))
		}
	} else {
		for i, end := clip(bounds[0], size-1), clip(bounds[1], -1); i > end; i += max(step, -size) {
			out = append(out, int(i))
		}
	}
	return out
}

func (e *call) eval(s *scope) any {
	defer located(e.line)
	s.st.step(1)
	callee := e.callee.eval(s)
	touch(callee)
	switch f := callee.(type) {
	case *function:
		return f.call(s.st, e.args.eval(s))
	case *loop:
		return f.recurse(s.st, e.args.eval(s))
	}
	fail("a %s cannot be called", typeName(callee))
	return nil
}

func (a *arguments) eval(s *scope) args {
	var out args
	for _, e := range a.positional {
		out.positional = append(out.positional, e.eval(s))
	}
	if a.star != nil {
		out.positional = append(out.positional, s.st.wantItems(a.star.eval(s))...)
	}
	if len(a.names) > 0 || a.kwStar != nil {
		out.named = NewDict()
	}
	for i, name := range a.names {
		out.named.Set(name, a.named[i].eval(s))
	}
	if a.kwStar != nil {
		d, ok := a.kwStar.eval(s).(*Dict)
		if !ok {
			fail("** needs a dict")
		}
		for i, k := range d.keys {
			out.named.Set(wantText(k, "a keyword"), d.values[i])
		}
	}
	return out
}

func (e *filterExpr) eval(s *scope) any {
	defer located(e.line)
	s.st.step(1)
	return e.fn(s.st, e.value.eval(s), e.args.eval(s))
}

func (e *testExpr) eval(s *scope) any {
	defer located(e.line)
	s.st.step(1)
	return e.fn(s.st, e.value.eval(s), e.args.eval(s)) != e.negated
}
