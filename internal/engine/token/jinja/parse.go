package jinja

import (
	"strconv"
)

// parser builds the tree. Its grammar is Jinja's, function by function.
type parser struct {
	toks  []tok
	at    int
	depth int
}

const maxNesting = 200

func (p *parser) cur() tok { return p.toks[p.at] }

func (p *parser) next() tok {
	t := p.toks[p.at]
	if t.kind != tEOF {
		p.at++
	}
	return t
}

func (p *parser) op(text string) bool {
	if p.cur().is(tOp, text) {
		p.at++
		return true
	}
	return false
}

func (p *parser) name(text string) bool {
	if p.cur().is(tName, text) {
		p.at++
		return true
	}
	return false
}

func (p *parser) wantOp(text string) {
	if !p.op(text) {
		failAt(p.cur().line, "expected %q", text)
	}
}

func (p *parser) wantName() string {
	t := p.next()
	if t.kind != tName {
		failAt(t.line, "expected a name")
	}
	return t.text
}

// enter bounds the depth of the tree, and with it the stack of everything
// that walks it.
func (p *parser) enter() {
	if p.depth++; p.depth > maxNesting {
		failAt(p.cur().line, "nested deeper than %d", maxNesting)
	}
}

func (p *parser) leave() { p.depth-- }

// expression is a conditional expression: a if b else c.
func (p *parser) expression() expr {
	p.enter()
	defer p.leave()
	e := p.or()
	for p.cur().is(tName, "if") {
		p.at++
		cond := p.or()
		var other expr
		if p.name("else") {
			other = p.expression()
		}
		e = &condExpr{cond, e, other}
	}
	return e
}

func (p *parser) or() expr {
	e := p.and()
	for p.name("or") {
		e = &logic{e, p.and(), true}
	}
	return e
}

func (p *parser) and() expr {
	e := p.not()
	for p.name("and") {
		e = &logic{e, p.not(), false}
	}
	return e
}

func (p *parser) not() expr {
	p.enter()
	defer p.leave()
	if p.name("not") {
		return &notExpr{p.not()}
	}
	return p.compare()
}

func (p *parser) compare() expr {
	c := &compare{first: p.sum(), line: p.cur().line}
	for {
		t := p.cur()
		op := ""
		switch {
		case t.kind == tOp && (t.text == "==" || t.text == "!=" || t.text == "<" || t.text == "<=" || t.text == ">" || t.text == ">="):
			op = t.text
			p.at++
		case t.is(tName, "in"):
			op = "in"
			p.at++
		case t.is(tName, "not") && p.toks[p.at+1].is(tName, "in"):
			op = "not in"
			p.at += 2
		}
		if op == "" {
			break
		}
		c.ops, c.rest = append(c.ops, op), append(c.rest, p.sum())
	}
	if len(c.ops) == 0 {
		return c.first
	}
	return c
}

func (p *parser) binary(operand func() expr, ops ...string) expr {
	e := operand()
	for n := 0; ; n++ {
		t, found := p.cur(), false
		for _, op := range ops {
			if p.op(op) {
				e, found = &arith{op, e, operand(), t.line}, true
				break
			}
		}
		if !found {
			return e
		}
		if n > 5000 {
			failAt(t.line, "an expression with more than 5000 operators")
		}
	}
}

func (p *parser) sum() expr     { return p.binary(p.concat, "+", "-") }
func (p *parser) product() expr { return p.binary(p.power, "*", "//", "/", "%") }
func (p *parser) power() expr {
	return p.binary(func() expr { return p.unary(true) }, "**")
}

func (p *parser) concat() expr {
	parts := []expr{p.product()}
	for p.op("~") {
		parts = append(parts, p.product())
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return &concat{parts}
}

func (p *parser) unary(filters bool) expr {
	p.enter()
	defer p.leave()
	line := p.cur().line
	var e expr
	switch {
	case p.op("-"):
		e = &arith{"-", &literal{int64(0)}, p.unary(false), line}
	case p.op("+"):
		e = &arith{"+", &literal{int64(0)}, p.unary(false), line}
	default:
		e = p.postfix(p.primary())
	}
	if filters {
		e = p.filters(e)
	}
	return e
}

func (p *parser) primary() expr {
	t := p.next()
	switch t.kind {
	case tName:
		switch t.text {
		case "true", "True":
			return &literal{true}
		case "false", "False":
			return &literal{false}
		case "none", "None":
			return &literal{nil}
		}
		return &variable{t.text}
	case tString:
		s := t.text
		for p.cur().kind == tString {
			s += p.next().text
		}
		return &literal{s}
	case tInt:
		n, err := strconv.ParseInt(t.text, 10, 64)
		if err != nil {
			failAt(t.line, "an integer beyond 64 bits")
		}
		return &literal{n}
	case tFloat:
		f, _ := strconv.ParseFloat(t.text, 64)
		return &literal{f}
	case tOp:
		switch t.text {
		case "(":
			e := p.tuple(true, ")")
			p.wantOp(")")
			return e
		case "[":
			return &listExpr{p.commaList("]"), listList}
		case "{":
			return p.dict()
		}
	}
	failAt(t.line, "unexpected %s", describe(t))
	return nil
}

func describe(t tok) string {
	switch t.kind {
	case tEOF:
		return "end of the template"
	case tVarEnd, tBlockEnd:
		return "end of the tag"
	}
	return strconv.Quote(t.text)
}

// commaList reads expressions up to closing.
func (p *parser) commaList(closing string) []expr {
	p.enter()
	defer p.leave()
	var items []expr
	for !p.op(closing) {
		if len(items) > 0 {
			p.wantOp(",")
			if p.op(closing) {
				break
			}
		}
		items = append(items, p.expression())
	}
	return items
}

func (p *parser) dict() expr {
	p.enter()
	defer p.leave()
	d := &dictExpr{}
	for !p.op("}") {
		if len(d.keys) > 0 {
			p.wantOp(",")
			if p.op("}") {
				break
			}
		}
		d.keys = append(d.keys, p.expression())
		p.wantOp(":")
		d.values = append(d.values, p.expression())
	}
	return d
}

// tuple reads a, b, c; without a comma it is the one expression. closing is
// the operator that ends it inside parentheses.
func (p *parser) tuple(parens bool, closing string) expr {
	p.enter()
	defer p.leave()
	var items []expr
	comma := false
	for {
		if t := p.cur(); t.kind == tVarEnd || t.kind == tBlockEnd || t.kind == tEOF || t.is(tOp, closing) || t.is(tName, "in") {
			break
		}
		items = append(items, p.expression())
		if !p.op(",") {
			break
		}
		comma = true
	}
	if !comma && len(items) == 1 {
		return items[0]
	}
	if !comma && !parens {
		failAt(p.cur().line, "expected an expression, got %s", describe(p.cur()))
	}
	return &listExpr{items, listTuple}
}

func (p *parser) postfix(e expr) expr {
	for n := 0; ; n++ {
		if n > 1000 {
			failAt(p.cur().line, "a chain of more than 1000 accesses")
		}
		line := p.cur().line
		switch {
		case p.op("."):
			t := p.next()
			switch t.kind {
			case tName:
				e = &attribute{e, t.text, line}
			case tInt:
				i, _ := strconv.ParseInt(t.text, 10, 64)
				e = &subscript{e, &literal{i}, line}
			default:
				failAt(t.line, "expected a name behind '.'")
			}
		case p.op("["):
			e = &subscript{e, p.index(), line}
		case p.cur().is(tOp, "("):
			e = p.call(e)
		default:
			return e
		}
	}
}

// index reads what stands in brackets: an expression or a slice.
func (p *parser) index() expr {
	var parts [3]expr
	colons := 0
	for !p.op("]") {
		switch {
		case p.op(":"):
			if colons++; colons > 2 {
				failAt(p.cur().line, "a slice has at most three parts")
			}
		default:
			if parts[colons] != nil {
				failAt(p.cur().line, "expected ]")
			}
			parts[colons] = p.tuple(false, "]")
		}
	}
	if colons == 0 {
		if parts[0] == nil {
			failAt(p.cur().line, "an empty subscript")
		}
		return parts[0]
	}
	return &sliceExpr{parts}
}

func (p *parser) call(callee expr) expr {
	c := &call{callee: callee, line: p.cur().line}
	c.args = p.arguments()
	return c
}

func (p *parser) arguments() arguments {
	p.enter()
	defer p.leave()
	p.wantOp("(")
	var a arguments
	for first := true; !p.op(")"); first = false {
		if !first {
			p.wantOp(",")
			if p.op(")") {
				break
			}
		}
		switch {
		case p.op("**"):
			a.kwStar = p.expression()
		case p.op("*"):
			a.star = p.expression()
		case p.cur().kind == tName && p.toks[p.at+1].is(tOp, "="):
			name := p.next().text
			p.at++
			a.names, a.named = append(a.names, name), append(a.named, p.expression())
		default:
			if len(a.names) > 0 {
				failAt(p.cur().line, "a positional argument behind a keyword argument")
			}
			a.positional = append(a.positional, p.expression())
		}
	}
	return a
}

// filters reads | filter, is test, and calls behind them.
func (p *parser) filters(e expr) expr {
	for n := 0; ; n++ {
		if n > 1000 {
			failAt(p.cur().line, "a chain of more than 1000 filters")
		}
		line := p.cur().line
		switch {
		case p.op("|"):
			e = p.filter(e, line)
		case p.name("is"):
			e = p.test(e, line)
		case p.cur().is(tOp, "("):
			e = p.call(e)
		default:
			return e
		}
	}
}

func (p *parser) dotted() string {
	name := p.wantName()
	for p.op(".") {
		name += "." + p.wantName()
	}
	return name
}

func (p *parser) filter(e expr, line int) expr {
	f := &filterExpr{value: e, name: p.dotted(), line: line}
	if f.fn = filterTable[f.name]; f.fn == nil {
		failAt(line, "no filter named %.40q", f.name)
	}
	if p.cur().is(tOp, "(") {
		f.args = p.arguments()
	}
	return f
}

func (p *parser) test(e expr, line int) expr {
	negated := p.name("not")
	t := &testExpr{value: e, name: p.dotted(), negated: negated, line: line}
	if t.fn = testTable[t.name]; t.fn == nil {
		failAt(line, "no test named %.40q", t.name)
	}
	c := p.cur()
	switch {
	case c.is(tOp, "("):
		t.args = p.arguments()
	case c.kind == tName && c.text != "else" && c.text != "or" && c.text != "and",
		c.kind == tString, c.kind == tInt, c.kind == tFloat, c.is(tOp, "["), c.is(tOp, "{"):
		if c.is(tName, "is") {
			failAt(c.line, "tests cannot be chained with is")
		}
		t.args.positional = []expr{p.postfix(p.primary())}
	}
	return t
}
