package jinja

// signal is how a statement ended.
type signal uint8

const (
	sigNone signal = iota
	sigBreak
	sigContinue
)

// stmt is a statement of the tree.
type stmt interface{ exec(s *scope) signal }

type (
	textNode   struct{ text string }
	outputNode struct {
		e    expr
		line int
	}
	ifNode struct {
		conds  []expr
		bodies [][]stmt
		other  []stmt
	}
	target struct {
		name, attr string
		parts      []target
	}
	forNode struct {
		target       target
		iter, filter expr
		body, other  []stmt
		recursive    bool
		line         int
	}
	setNode struct {
		target target
		value  expr
		body   []stmt
		block  bool
		line   int
	}
	macro struct {
		name     string
		params   []string
		defaults []expr
		body     []stmt
		// Names that the body uses, which let it take surplus arguments.
		varargs, kwargs bool
	}
	macroNode struct{ m *macro }
	callNode  struct {
		c *call
		m *macro
	}
	filterStmt struct {
		f    expr
		body []stmt
	}
	scopeStmt struct {
		targets []target
		values  []expr
		body    []stmt
	}
	jumpStmt struct{ sig signal }
)

func run(s *scope, body []stmt) signal {
	for _, n := range body {
		s.st.step(1)
		if sig := n.exec(s); sig != sigNone {
			return sig
		}
	}
	return sigNone
}

func (n *textNode) exec(s *scope) signal {
	s.st.write(n.text)
	return sigNone
}

func (n *outputNode) exec(s *scope) signal {
	s.st.write(s.st.str(n.e.eval(s)))
	return sigNone
}

func (n *ifNode) exec(s *scope) signal {
	for i, c := range n.conds {
		if truth(c.eval(s)) {
			return run(s, n.bodies[i])
		}
	}
	return run(s, n.other)
}

func (n *jumpStmt) exec(s *scope) signal { return n.sig }

func (n *scopeStmt) exec(s *scope) signal {
	inner := s.inner()
	for i, t := range n.targets {
		t.assign(inner, n.values[i].eval(s))
	}
	return run(inner, n.body)
}

func (n *filterStmt) exec(s *scope) signal {
	inner := s.inner()
	inner.set(capturedName, s.st.capture(func() { run(s.inner(), n.body) }))
	s.st.write(s.st.str(n.f.eval(inner)))
	return sigNone
}

func (n *setNode) exec(s *scope) signal {
	defer located(n.line)
	at := s
	if n.block {
		at = s.inner()
		at.set(capturedName, s.st.capture(func() { run(s.inner(), n.body) }))
	}
	n.target.assign(s, n.value.eval(at))
	return sigNone
}

// assign binds v to a name, an attribute of a namespace, or unpacks it.
func (t *target) assign(s *scope, v any) {
	switch {
	case t.parts != nil:
		touch(v)
		items := s.st.wantItems(v)
		if len(items) != len(t.parts) {
			fail("%d values for %d names", len(items), len(t.parts))
		}
		for i := range t.parts {
			t.parts[i].assign(s, items[i])
		}
	case t.attr != "":
		ns, ok := s.get(t.name).(*Namespace)
		if !ok {
			fail("cannot assign attribute on non-namespace object")
		}
		if t.attr[0] == '_' {
			fail("a namespace stores no attribute that begins with an underscore")
		}
		s.st.charge(32)
		ns.attrs.Set(t.attr, v)
	default:
		s.set(t.name, v)
	}
}

func (n *forNode) exec(s *scope) signal {
	defer located(n.line)
	return n.loop(s, n.iter.eval(s), 0)
}

// loop runs the body over the items that pass the filter.
func (n *forNode) loop(s *scope, over any, depth int) signal {
	items := s.st.wantItems(over)
	if n.filter != nil {
		var kept []any
		for _, v := range items {
			s.st.step(1)
			inner := s.inner()
			n.target.assign(inner, v)
			if truth(n.filter.eval(inner)) {
				kept = append(kept, v)
			}
		}
		items = kept
	}
	if len(items) == 0 {
		return run(s.inner(), n.other)
	}
	l := &loop{node: n, scope: s, items: items, depth: depth}
	for i, v := range items {
		s.st.step(1)
		l.at = i
		inner := s.inner()
		inner.set("loop", l)
		n.target.assign(inner, v)
		if run(inner, n.body) == sigBreak {
			break
		}
	}
	return sigNone
}

// loop is the variable of that name.
type loop struct {
	node    *forNode
	scope   *scope
	items   []any
	at      int
	depth   int
	changed any
}

func (l *loop) attr(name string) (any, bool) {
	n := len(l.items)
	ints := map[string]int{"index": l.at + 1, "index0": l.at, "revindex": n - l.at, "revindex0": n - l.at - 1, "length": n,
		"depth": l.depth + 1, "depth0": l.depth}
	if v, ok := ints[name]; ok {
		return int64(v), true
	}
	switch name {
	case "first":
		return l.at == 0, true
	case "last":
		return l.at == n-1, true
	case "previtem":
		if l.at > 0 {
			return l.items[l.at-1], true
		}
		return &Undefined{"there is no previous item, loop.previtem"}, true
	case "nextitem":
		if l.at+1 < n {
			return l.items[l.at+1], true
		}
		return &Undefined{"there is no next item, loop.nextitem"}, true
	case "cycle":
		return &function{"cycle", func(st *state, a args) any {
			if len(a.positional) == 0 {
				fail("no items for cycling given")
			}
			return a.positional[l.at%len(a.positional)]
		}}, true
	case "changed":
		return &function{"changed", func(st *state, a args) any {
			v := &List{a.positional, listTuple}
			was := l.changed
			l.changed = v
			return was == nil || !st.equal(was, v)
		}}, true
	}
	return nil, false
}

// recurse is loop(items) of a recursive loop.
func (l *loop) recurse(st *state, a args) any {
	if !l.node.recursive || len(a.positional) != 1 {
		fail("the loop is not recursive")
	}
	st.enter()
	defer func() { st.depth-- }()
	return st.capture(func() { l.node.loop(l.scope, a.positional[0], l.depth+1) })
}

func (n *macroNode) exec(s *scope) signal {
	s.set(n.m.name, n.m.bind(s))
	return sigNone
}

func (n *callNode) exec(s *scope) signal {
	defer located(n.c.line)
	f, ok := n.c.callee.eval(s).(*function)
	if !ok {
		fail("what a call block calls is not a macro")
	}
	a := n.c.args.eval(s)
	if a.named == nil {
		a.named = NewDict()
	}
	a.named.Set("caller", n.m.bind(s))
	s.st.write(s.st.str(f.call(s.st, a)))
	return sigNone
}

// bind makes a macro callable in the scope where it stands.
func (m *macro) bind(s *scope) *function {
	return &function{m.name, func(st *state, a args) any {
		st.enter()
		defer func() { st.depth-- }()
		inner := s.inner()
		m.bindArguments(inner, a)
		return st.capture(func() { run(inner, m.body) })
	}}
}

func (m *macro) bindArguments(inner *scope, a args) {
	rest := NewDict()
	if a.named != nil {
		for i, k := range a.named.keys {
			rest.Set(k, a.named.values[i])
		}
	}
	for i, name := range m.params {
		if i < len(a.positional) {
			if _, twice := rest.Get(name); twice {
				fail("macro %s got the argument %s twice", m.name, name)
			}
			inner.set(name, a.positional[i])
			continue
		}
		if v, ok := rest.Get(name); ok {
			inner.set(name, v)
			rest.remove(name)
		} else if m.defaults[i] != nil {
			inner.set(name, m.defaults[i].eval(inner))
		} else {
			inner.set(name, &Undefined{"parameter '" + name + "' was not provided and"})
		}
	}
	caller, ok := rest.Get("caller")
	if ok {
		rest.remove("caller")
		inner.set("caller", caller)
	}
	var extra []any
	if len(a.positional) > len(m.params) {
		extra = a.positional[len(m.params):]
	}
	if len(extra) > 0 && !m.varargs {
		fail("macro %s takes not more than %d arguments", m.name, len(m.params))
	}
	if rest.Len() > 0 && !m.kwargs {
		fail("macro %s got a keyword argument that it does not take", m.name)
	}
	inner.set("varargs", &List{extra, listTuple})
	inner.set("kwargs", rest)
}
