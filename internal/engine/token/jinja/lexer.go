package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind uint8

const (
	tText kind = iota
	tVarBegin
	tVarEnd
	tBlockBegin
	tBlockEnd
	tName
	tString
	tInt
	tFloat
	tOp
	tEOF
)

type tok struct {
	kind kind
	text string // of a string: its value
	line int
}

func (t tok) is(k kind, text string) bool { return t.kind == k && t.text == text }

// lexer cuts a template into tokens, applying Jinja's whitespace rules.
type lexer struct {
	src  string
	at   int
	line int
	toks []tok
}

const maxTemplate = 1 << 20

// lex normalises newlines, drops one trailing newline and cuts.
func lex(src string) []tok {
	if len(src) > maxTemplate {
		fail("the template has %d bytes; at most %d are accepted", len(src), maxTemplate)
	}
	if !utf8.ValidString(src) {
		fail("the template is not UTF-8")
	}
	src = strings.ReplaceAll(strings.ReplaceAll(src, "\r\n", "\n"), "\r", "\n")
	l := &lexer{src: strings.TrimSuffix(src, "\n"), line: 1}
	for l.at < len(l.src) {
		l.root()
	}
	l.emit(tEOF, "")
	return l.toks
}

func (l *lexer) emit(k kind, text string) { l.toks = append(l.toks, tok{k, text, l.line}) }

// advance moves to offset and counts lines.
func (l *lexer) advance(to int) {
	l.line += strings.Count(l.src[l.at:to], "\n")
	l.at = to
}

// root reads text up to the next tag, then the tag.
func (l *lexer) root() {
	rest := l.src[l.at:]
	open := len(rest)
	for i := 0; i+1 < len(rest); i++ {
		if rest[i] == '{' && strings.IndexByte("{%#", rest[i+1]) >= 0 {
			open = i
			break
		}
	}
	text := rest[:open]
	if open == len(rest) {
		l.text(text)
		l.advance(len(l.src))
		return
	}
	tag, sign := rest[open:open+2], byte(0)
	if open+2 < len(rest) && (rest[open+2] == '-' || rest[open+2] == '+') {
		sign = rest[open+2]
	}
	l.text(l.stripBefore(text, tag, sign))
	begin := open + 2
	if sign != 0 {
		begin++
	}
	l.advance(l.at + begin)
	switch tag {
	case "{#":
		l.comment()
	case "{{":
		l.emit(tVarBegin, "")
		l.expression("}}", tVarEnd)
	default:
		if !l.raw() {
			l.emit(tBlockBegin, "")
			l.expression("%}", tBlockEnd)
		}
	}
}

func (l *lexer) text(s string) {
	if s != "" {
		l.emit(tText, s)
	}
}

// stripBefore applies "-" and lstrip_blocks to the text before a tag.
func (l *lexer) stripBefore(text, tag string, sign byte) string {
	if sign == '-' {
		return strings.TrimRightFunc(text, unicode.IsSpace)
	}
	if sign == '+' || tag == "{{" {
		return text
	}
	start := strings.LastIndexByte(text, '\n') + 1
	lineStart := start > 0 || l.at == 0 || l.src[l.at-1] == '\n'
	if lineStart && strings.TrimFunc(text[start:], unicode.IsSpace) == "" {
		return text[:start]
	}
	return text
}

// stripAfter applies "-" and trim_blocks behind a tag that ended at l.at.
func (l *lexer) stripAfter(sign byte, block bool) {
	rest := l.src[l.at:]
	switch {
	case sign == '-':
		l.advance(len(l.src) - len(strings.TrimLeftFunc(rest, unicode.IsSpace)))
	case block && sign != '+' && strings.HasPrefix(rest, "\n"):
		l.advance(l.at + 1)
	}
}

func (l *lexer) comment() {
	end := strings.Index(l.src[l.at:], "#}")
	if end < 0 {
		failAt(l.line, "a comment is not closed")
	}
	sign := byte(0)
	if end > 0 && (l.src[l.at+end-1] == '-' || l.src[l.at+end-1] == '+') {
		sign = l.src[l.at+end-1]
	}
	l.advance(l.at + end + 2)
	l.stripAfter(sign, true)
}

// raw reads {% raw %}…{% endraw %} when it stands here.
func (l *lexer) raw() bool {
	inner := strings.TrimLeftFunc(l.src[l.at:], unicode.IsSpace)
	rest, ok := strings.CutPrefix(inner, "raw")
	if !ok {
		return false
	}
	rest = strings.TrimLeftFunc(rest, unicode.IsSpace)
	switch {
	case strings.HasPrefix(rest, "-%}"):
		rest = strings.TrimLeftFunc(rest[3:], unicode.IsSpace)
	case strings.HasPrefix(rest, "%}"):
		rest = rest[2:]
	default:
		return false
	}
	l.advance(len(l.src) - len(rest))
	for i := 0; ; {
		open := strings.Index(rest[i:], "{%")
		if open < 0 {
			failAt(l.line, "raw is not closed")
		}
		open += i
		tag := rest[open+2:]
		sign := byte(0)
		if tag != "" && (tag[0] == '-' || tag[0] == '+') {
			sign, tag = tag[0], tag[1:]
		}
		tag, ok := strings.CutPrefix(strings.TrimLeftFunc(tag, unicode.IsSpace), "endraw")
		tag = strings.TrimLeftFunc(tag, unicode.IsSpace)
		end := byte(0)
		if ok && tag != "" && (tag[0] == '-' || tag[0] == '+') {
			end, tag = tag[0], tag[1:]
		}
		if !ok || !strings.HasPrefix(tag, "%}") {
			i = open + 2
			continue
		}
		l.text(l.stripBefore(rest[:open], "{%", sign))
		l.advance(len(l.src) - len(tag) + 2)
		l.stripAfter(end, true)
		return true
	}
}

// operators, longest first.
var operators = []string{"**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", ".", ":", "|", ",", ";", "(", ")", "[", "]", "{", "}"}

// expression reads tokens up to the closing mark outside of brackets.
func (l *lexer) expression(closing string, end kind) {
	var open []byte
	for {
		l.advance(len(l.src) - len(strings.TrimLeftFunc(l.src[l.at:], unicode.IsSpace)))
		rest := l.src[l.at:]
		if rest == "" {
			failAt(l.line, "a tag is not closed")
		}
		if len(open) == 0 {
			sign := byte(0)
			if rest[0] == '-' || rest[0] == '+' && end == tBlockEnd {
				sign = rest[0]
			}
			tail := rest
			if sign != 0 {
				tail = rest[1:]
			}
			if strings.HasPrefix(tail, closing) {
				l.emit(end, "")
				l.advance(len(l.src) - len(tail) + 2)
				l.stripAfter(sign, end == tBlockEnd)
				return
			}
		}
		open = l.token(rest, open)
	}
}

// token reads one token of an expression and tracks brackets.
func (l *lexer) token(rest string, open []byte) []byte {
	c := rest[0]
	r, _ := utf8.DecodeRuneInString(rest)
	switch {
	case c == '\'' || c == '"':
		l.quoted(rest)
		return open
	case c >= '0' && c <= '9':
		l.number(rest)
		return open
	case r == '_' || unicode.IsLetter(r):
		n := strings.IndexFunc(rest, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
		if n < 0 {
			n = len(rest)
		}
		l.emit(tName, rest[:n])
		l.advance(l.at + n)
		return open
	}
	for _, op := range operators {
		if !strings.HasPrefix(rest, op) {
			continue
		}
		if i := strings.Index("([{", op); i >= 0 {
			open = append(open, ")]}"[i])
		} else if strings.Contains(")]}", op) {
			if len(open) == 0 || open[len(open)-1] != op[0] {
				failAt(l.line, "unexpected %q", op)
			}
			open = open[:len(open)-1]
		}
		l.emit(tOp, op)
		l.advance(l.at + len(op))
		return open
	}
	failAt(l.line, "unexpected character %q", r)
	return nil
}

// number reads 42, 1_000, 1.5, 1e3, 1.5e-3.
func (l *lexer) number(rest string) {
	digits := func(i int) int {
		for i < len(rest) && (rest[i] >= '0' && rest[i] <= '9' || rest[i] == '_') {
			i++
		}
		return i
	}
	n, k := digits(0), tInt
	if n+1 < len(rest) && rest[n] == '.' && rest[n+1] >= '0' && rest[n+1] <= '9' {
		n, k = digits(n+1), tFloat
	}
	if n < len(rest) && (rest[n] == 'e' || rest[n] == 'E') {
		e := n + 1
		if e < len(rest) && (rest[e] == '+' || rest[e] == '-') {
			e++
		}
		if m := digits(e); m > e {
			n, k = m, tFloat
		}
	}
	l.emit(k, strings.ReplaceAll(rest[:n], "_", ""))
	l.advance(l.at + n)
}

// quoted reads a string with Python's escapes.
func (l *lexer) quoted(rest string) {
	var b strings.Builder
	quote := rest[0]
	for i := 1; i < len(rest); i++ {
		c := rest[i]
		switch {
		case c == quote:
			l.emit(tString, b.String())
			l.advance(l.at + i + 1)
			return
		case c != '\\' || i+1 >= len(rest):
			b.WriteByte(c)
		default:
			i += l.escape(&b, rest[i+1:])
		}
	}
	failAt(l.line, "a string is not closed")
}

var simpleEscapes = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", '\\': "\\", '\'': "'", '"': "\"", 'a': "\a", 'b': "\b", 'f': "\f", 'v': "\v", '\n': "", '0': "\x00"}

// escape writes what a backslash before s means and returns the bytes used.
func (l *lexer) escape(b *strings.Builder, s string) int {
	width := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[0]]
	if width > 0 {
		if len(s) <= width {
			failAt(l.line, "a string holds a broken escape")
		}
		v := rune(0)
		for _, h := range []byte(s[1 : 1+width]) {
			d := strings.IndexByte("0123456789abcdef", h|0x20)
			if d < 0 || v > unicode.MaxRune {
				failAt(l.line, "a string holds a broken escape")
			}
			v = v<<4 | rune(d)
		}
		b.WriteRune(v)
		return 1 + width
	}
	if e, ok := simpleEscapes[s[0]]; ok {
		b.WriteString(e)
		return 1
	}
	b.WriteByte('\\')
	b.WriteByte(s[0])
	return 1
}
