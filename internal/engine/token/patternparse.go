package token

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// runeSet is a set of runes: a bitmap for ASCII, a test for the rest.
type runeSet struct {
	ascii [2]uint64
	parts []func(rune) bool
	neg   bool
}

// match returns the length of the rune at pos if it is in the set, else 0.
func (s *runeSet) match(text string, pos int) int {
	if pos >= len(text) {
		return 0
	}
	if b := text[pos]; b < utf8.RuneSelf {
		return int(s.ascii[b>>6] >> (b & 63) & 1)
	}
	r, n := utf8.DecodeRuneInString(text[pos:])
	if s.has(r) {
		return n
	}
	return 0
}

func (s *runeSet) has(r rune) bool {
	return slices.ContainsFunc(s.parts, func(in func(rune) bool) bool { return in(r) }) != s.neg
}

func newSet(neg bool, parts ...func(rune) bool) *runeSet {
	s := &runeSet{parts: parts, neg: neg}
	for r := range rune(utf8.RuneSelf) {
		if s.has(r) {
			s.ascii[r>>6] |= 1 << (r & 63)
		}
	}
	return s
}

// parser reads the regular expressions of split patterns.
type patternParser struct {
	src   string
	at    int
	fold  bool
	depth int
	prog  []inst
}

// compilePattern compiles the syntax that split patterns use; anything else is
// an error that says where.
func compilePattern(src string) (*pattern, error) {
	p := &patternParser{src: src}
	if len(src) > 1<<16 {
		return nil, fmt.Errorf("a pattern of %d bytes", len(src))
	}
	if err := p.alternatives(); err != nil {
		return nil, fmt.Errorf("%w at byte %d", err, p.at)
	}
	if p.at < len(src) {
		return nil, fmt.Errorf("unbalanced ) at byte %d", p.at)
	}
	p.prog = append(p.prog, inst{op: opMatch})
	return &pattern{prog: p.prog}, nil
}

// alternatives parses a|b|c. Each alternative but the last gets a split before
// it and a jump to the end behind it.
func (p *patternParser) alternatives() error {
	if p.depth++; p.depth > 50 {
		return fmt.Errorf("groups nested too deep")
	}
	defer func() { p.depth-- }()
	var jumps []int
	for {
		start := len(p.prog)
		if err := p.sequence(); err != nil {
			return err
		}
		if p.at >= len(p.src) || p.src[p.at] != '|' {
			break
		}
		p.at++
		p.insert(start, inst{op: opSplit, x: start + 1})
		jumps = append(jumps, len(p.prog))
		p.prog = append(p.prog, inst{op: opJump})
		p.prog[start].y = len(p.prog)
	}
	for _, j := range jumps {
		p.prog[j].x = len(p.prog)
	}
	return nil
}

// insert makes room at i and moves the targets behind it.
func (p *patternParser) insert(i int, in inst) {
	for k := range p.prog[i:] {
		q := &p.prog[i+k]
		if q.op == opSplit || q.op == opJump || q.op == opLook {
			q.x++
			if q.op == opSplit {
				q.y++
			}
		}
	}
	p.prog = slices.Insert(p.prog, i, in)
}

func (p *patternParser) sequence() error {
	for p.at < len(p.src) && p.src[p.at] != '|' && p.src[p.at] != ')' {
		start := len(p.prog)
		if err := p.atom(); err != nil {
			return err
		}
		if err := p.quantifier(start); err != nil {
			return err
		}
	}
	return nil
}

func (p *patternParser) atom() error {
	switch c := p.src[p.at]; c {
	case '(':
		return p.group()
	case '[':
		set, err := p.class()
		if err == nil {
			p.prog = append(p.prog, inst{op: opSet, set: set})
		}
		return err
	case '.':
		p.at++
		p.prog = append(p.prog, inst{op: opSet, set: newSet(true, func(r rune) bool { return r == '\n' })})
		return nil
	case '^', '$', '*', '+', '?', '{', '}':
		return fmt.Errorf("unsupported %q", c)
	}
	in, err := p.single(false)
	if err == nil {
		p.prog = append(p.prog, inst{op: opSet, set: newSet(false, in)})
	}
	return err
}

// group parses (?: ), (?i: ), (?! ), (?= ) and ( ).
func (p *patternParser) group() error {
	rest := p.src[p.at:]
	fold := p.fold
	defer func() { p.fold = fold }()
	look := -1
	switch {
	case strings.HasPrefix(rest, "(?:"):
		p.at += 3
	case strings.HasPrefix(rest, "(?i:"):
		p.at, p.fold = p.at+4, true
	case strings.HasPrefix(rest, "(?!"), strings.HasPrefix(rest, "(?="):
		look = len(p.prog)
		p.prog = append(p.prog, inst{op: opLook, neg: rest[2] == '!'})
		p.at += 3
	case strings.HasPrefix(rest, "(?"):
		return fmt.Errorf("unsupported group")
	default:
		p.at++
	}
	if err := p.alternatives(); err != nil {
		return err
	}
	if p.at >= len(p.src) {
		return fmt.Errorf("missing )")
	}
	p.at++
	if look >= 0 {
		p.prog = append(p.prog, inst{op: opMatch})
		p.prog[look].x = len(p.prog)
	}
	return nil
}

// quantifier repeats the program from start on.
func (p *patternParser) quantifier(start int) error {
	if p.at >= len(p.src) {
		return nil
	}
	least, most := 1, 1
	switch p.src[p.at] {
	case '?':
		least, most = 0, 1
	case '*':
		least, most = 0, -1
	case '+':
		least, most = 1, -1
	case '{':
		var err error
		if least, most, err = p.counts(); err != nil {
			return err
		}
	default:
		return nil
	}
	p.at++
	if p.at < len(p.src) && strings.IndexByte("?+*", p.src[p.at]) >= 0 {
		return fmt.Errorf("unsupported lazy, possessive or double quantifier")
	}
	body := p.prog[start:]
	if len(body) == 1 && body[0].op == opSet {
		body[0] = inst{op: opRepeat, set: body[0].set, min: least, max: most}
		return nil
	}
	for _, in := range body {
		if in.op == opRepeat && in.max != in.min && most != 1 {
			return fmt.Errorf("unsupported repetition inside a repetition")
		}
	}
	if least != 0 || most != 1 {
		return fmt.Errorf("unsupported repetition of a group")
	}
	p.insert(start, inst{op: opSplit, x: start + 1})
	p.prog[start].y = len(p.prog)
	return nil
}

// counts reads {n}, {n,} or {n,m} and stops at the brace.
func (p *patternParser) counts() (least, most int, err error) {
	end := strings.IndexByte(p.src[p.at:], '}')
	if end < 0 {
		return 0, 0, fmt.Errorf("missing }")
	}
	lo, hi, ranged := strings.Cut(p.src[p.at+1:p.at+end], ",")
	least, err = strconv.Atoi(lo)
	most = least
	if ranged && err == nil {
		if most = -1; hi != "" {
			most, err = strconv.Atoi(hi)
		}
	}
	if err != nil || least < 0 || least > 1000 || most > 1000 {
		return 0, 0, fmt.Errorf("unsupported repetition count")
	}
	p.at += end
	return least, most, nil
}

// class parses [...] with ranges, escapes and negation.
func (p *patternParser) class() (*runeSet, error) {
	p.at++
	neg := p.at < len(p.src) && p.src[p.at] == '^'
	if neg {
		p.at++
	}
	var parts []func(rune) bool
	for first := true; ; first = false {
		if p.at >= len(p.src) {
			return nil, fmt.Errorf("missing ]")
		}
		if p.src[p.at] == ']' && !first {
			p.at++
			return newSet(neg, parts...), nil
		}
		if p.src[p.at] == '[' || strings.HasPrefix(p.src[p.at:], "&&") {
			return nil, fmt.Errorf("unsupported set operation")
		}
		in, err := p.single(true)
		if err != nil {
			return nil, err
		}
		parts = append(parts, in)
	}
}

// single parses one rune, one escape or, in a class, one range.
func (p *patternParser) single(class bool) (func(rune) bool, error) {
	lo, in, err := p.escape()
	if err != nil || in != nil {
		return in, err
	}
	hi := lo
	if class && p.at+1 < len(p.src) && p.src[p.at] == '-' && p.src[p.at+1] != ']' {
		p.at++
		if hi, in, err = p.escape(); err != nil || in != nil || hi < lo {
			return nil, fmt.Errorf("unsupported range")
		}
	}
	if p.fold {
		return func(r rune) bool {
			for f := unicode.SimpleFold(r); ; f = unicode.SimpleFold(f) {
				if f >= lo && f <= hi {
					return true
				}
				if f == r {
					return false
				}
			}
		}, nil
	}
	return func(r rune) bool { return r >= lo && r <= hi }, nil
}

// escape reads one rune or one class escape.
func (p *patternParser) escape() (rune, func(rune) bool, error) {
	r, n := utf8.DecodeRuneInString(p.src[p.at:])
	p.at += n
	if r != '\\' {
		return r, nil, nil
	}
	if p.at >= len(p.src) {
		return 0, nil, fmt.Errorf("trailing backslash")
	}
	c := p.src[p.at]
	p.at++
	switch c {
	case 'r':
		return '\r', nil, nil
	case 'n':
		return '\n', nil, nil
	case 't':
		return '\t', nil, nil
	case 's':
		return 0, unicode.IsSpace, nil
	case 'S':
		return 0, func(r rune) bool { return !unicode.IsSpace(r) }, nil
	case 'd':
		return 0, unicode.IsDigit, nil
	case 'w':
		return 0, isWord, nil
	case 'p', 'P':
		return p.property(c == 'P')
	case 'u', 'x':
		return p.codepoint()
	}
	if c >= utf8.RuneSelf || unicode.IsLetter(rune(c)) || unicode.IsDigit(rune(c)) {
		return 0, nil, fmt.Errorf("unsupported escape \\%c", c)
	}
	return rune(c), nil, nil
}

// codepoint reads the 4 digits of \uXXXX or the braces of \x{X}.
func (p *patternParser) codepoint() (rune, func(rune) bool, error) {
	digits := ""
	if rest := p.src[p.at:]; strings.HasPrefix(rest, "{") && strings.Contains(rest, "}") {
		digits = rest[1:strings.IndexByte(rest, '}')]
		p.at += len(digits) + 2
	} else if len(rest) >= 4 && p.src[p.at-1] == 'u' {
		digits = rest[:4]
		p.at += 4
	}
	v, err := strconv.ParseUint(digits, 16, 21)
	if err != nil {
		return 0, nil, fmt.Errorf("unsupported code point")
	}
	return rune(v), nil, nil
}

func (p *patternParser) property(neg bool) (rune, func(rune) bool, error) {
	rest := p.src[p.at:]
	end := strings.IndexByte(rest, '}')
	if !strings.HasPrefix(rest, "{") || end < 0 {
		return 0, nil, fmt.Errorf("unsupported property")
	}
	name := rest[1:end]
	if strings.HasPrefix(name, "^") {
		name, neg = name[1:], !neg
	}
	table := unicode.Categories[name]
	if table == nil {
		table = unicode.Scripts[name]
	}
	if table == nil {
		return 0, nil, fmt.Errorf("unknown property %.20q", name)
	}
	p.at += end + 1
	return 0, func(r rune) bool { return unicode.Is(table, r) != neg }, nil
}

// isWord is \w: letters, marks, decimal digits, connectors.
func isWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsMark(r) || unicode.Is(unicode.Nd, r) || unicode.Is(unicode.Pc, r) ||
		unicode.Is(unicode.Nl, r) || unicode.Is(unicode.Other_Alphabetic, r) || r == 0x200c || r == 0x200d
}
