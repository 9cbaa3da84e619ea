package jinja

import "slices"

// body reads statements up to a block tag named in ends; it returns that name,
// with the parser behind it. At the end of the template it returns "".
func (p *parser) body(ends ...string) (nodes []stmt, end string) {
	p.enter()
	defer p.leave()
	for {
		t := p.next()
		switch t.kind {
		case tEOF:
			if len(ends) > 0 {
				failAt(t.line, "the template ends where %s is expected", ends[0])
			}
			return nodes, ""
		case tText:
			nodes = append(nodes, &textNode{t.text})
		case tVarBegin:
			nodes = append(nodes, &outputNode{p.tuple(false, ""), t.line})
			p.end(tVarEnd)
		case tBlockBegin:
			name := p.wantName()
			if slices.Contains(ends, name) {
				return nodes, name
			}
			nodes = append(nodes, p.statement(name, t.line))
		}
	}
}

func (p *parser) end(k kind) {
	if t := p.next(); t.kind != k {
		failAt(t.line, "expected the end of the tag, got %s", describe(t))
	}
}

func (p *parser) statement(name string, line int) stmt {
	switch name {
	case "if":
		return p.ifStmt()
	case "for":
		return p.forStmt(line)
	case "set":
		return p.setStmt(line)
	case "macro":
		return p.macroStmt()
	case "call":
		return p.callStmt(line)
	case "filter":
		f := p.filters(p.filter(&captured{}, line))
		p.end(tBlockEnd)
		body, _ := p.body("endfilter")
		p.end(tBlockEnd)
		return &filterStmt{f, body}
	case "with":
		return p.withStmt()
	case "generation":
		p.end(tBlockEnd)
		body, _ := p.body("endgeneration")
		p.end(tBlockEnd)
		return &scopeStmt{body: body}
	case "break", "continue":
		p.end(tBlockEnd)
		return &jumpStmt{map[string]signal{"break": sigBreak, "continue": sigContinue}[name]}
	case "print":
		e := p.tuple(false, "")
		p.end(tBlockEnd)
		return &outputNode{e, line}
	}
	failAt(line, "unknown or unsupported tag %.40q", name)
	return nil
}

func (p *parser) ifStmt() stmt {
	n := &ifNode{}
	for {
		n.conds = append(n.conds, p.tuple(false, ""))
		p.end(tBlockEnd)
		body, end := p.body("elif", "else", "endif")
		n.bodies = append(n.bodies, body)
		if end == "elif" {
			continue
		}
		p.end(tBlockEnd)
		if end == "else" {
			n.other, _ = p.body("endif")
			p.end(tBlockEnd)
		}
		return n
	}
}

// target reads what is assigned to: a, b or (a, (b, c)) or ns.x.
func (p *parser) target(namespace bool) target {
	p.enter()
	defer p.leave()
	var parts []target
	comma := false
	for {
		if p.op("(") {
			parts = append(parts, p.target(false))
			p.wantOp(")")
		} else {
			t := target{name: p.wantName()}
			if slices.Contains([]string{"true", "false", "none", "True", "False", "None"}, t.name) {
				failAt(p.cur().line, "cannot assign to %s", t.name)
			}
			if namespace && p.op(".") {
				t.attr = p.wantName()
			}
			parts = append(parts, t)
		}
		if !p.op(",") {
			break
		}
		comma = true
		if t := p.cur(); t.kind != tName && !t.is(tOp, "(") || t.is(tName, "in") {
			break
		}
	}
	if len(parts) == 1 && !comma {
		return parts[0]
	}
	return target{parts: parts}
}

func (p *parser) forStmt(line int) stmt {
	n := &forNode{target: p.target(false), line: line}
	if !p.name("in") {
		failAt(line, "expected in")
	}
	n.iter = p.forIter()
	if p.name("if") {
		n.filter = p.expression()
	}
	n.recursive = p.name("recursive")
	p.end(tBlockEnd)
	var end string
	if n.body, end = p.body("endfor", "else"); end == "else" {
		p.end(tBlockEnd)
		n.other, _ = p.body("endfor")
	}
	p.end(tBlockEnd)
	return n
}

// forIter reads the iterable: no conditional expression, since "if" filters.
func (p *parser) forIter() expr {
	items := []expr{p.or()}
	for p.op(",") {
		if p.cur().kind == tBlockEnd {
			break
		}
		items = append(items, p.or())
	}
	if len(items) == 1 {
		return items[0]
	}
	return &listExpr{items, listTuple}
}

func (p *parser) setStmt(line int) stmt {
	n := &setNode{target: p.target(true), line: line}
	if p.op("=") {
		n.value = p.tuple(false, "")
		p.end(tBlockEnd)
		return n
	}
	n.value = p.filters(&captured{})
	p.end(tBlockEnd)
	n.body, _ = p.body("endset")
	n.block = true
	p.end(tBlockEnd)
	return n
}

func (p *parser) signature(m *macro) {
	p.wantOp("(")
	for !p.op(")") {
		if len(m.params) > 0 {
			p.wantOp(",")
		}
		m.params = append(m.params, p.wantName())
		var def expr
		if p.op("=") {
			def = p.expression()
		} else if len(m.defaults) > 0 && m.defaults[len(m.defaults)-1] != nil {
			failAt(p.cur().line, "a parameter without a default behind one with a default")
		}
		m.defaults = append(m.defaults, def)
	}
}

func (p *parser) macroStmt() stmt {
	m := &macro{name: p.wantName()}
	p.signature(m)
	p.end(tBlockEnd)
	start := p.at
	m.body, _ = p.body("endmacro")
	for _, t := range p.toks[start:p.at] {
		m.varargs = m.varargs || t.is(tName, "varargs")
		m.kwargs = m.kwargs || t.is(tName, "kwargs")
	}
	p.end(tBlockEnd)
	return &macroNode{m}
}

func (p *parser) callStmt(line int) stmt {
	m := &macro{name: "caller"}
	if p.cur().is(tOp, "(") {
		p.signature(m)
	}
	e := p.expression()
	c, ok := e.(*call)
	if !ok {
		failAt(line, "expected a call")
	}
	p.end(tBlockEnd)
	m.body, _ = p.body("endcall")
	p.end(tBlockEnd)
	return &callNode{c, m}
}

func (p *parser) withStmt() stmt {
	n := &scopeStmt{}
	for p.cur().kind != tBlockEnd {
		if len(n.targets) > 0 {
			p.wantOp(",")
		}
		n.targets = append(n.targets, p.target(false))
		p.wantOp("=")
		n.values = append(n.values, p.expression())
	}
	p.end(tBlockEnd)
	n.body, _ = p.body("endwith")
	p.end(tBlockEnd)
	return n
}
