package rows

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf8"
)

// scanner walks over one line of JSON, checking all of it once: syntax, UTF-8,
// depth and duplicate keys. It builds no tree; what a row needs is cut out as
// ranges of the line's bytes.
type scanner struct {
	b     []byte
	at    int
	line  int64
	depth int
	// sample and key say where the scanner is, for problems.
	sample int
	// keys holds the keys of the open objects, one stack for all levels.
	keys [][]byte
}

// fail panics with a *engine.Problem; ParseGroup and Validator recover it.
func (s *scanner) fail(rule, key, format string, args ...any) {
	panic(problem(s.line, s.sample, rule, key, format, args...))
}

func (s *scanner) syntax(what string) {
	s.fail(RuleJSON, "", "invalid JSON at byte %d of the line: %s", s.at+1, what)
}

func (s *scanner) space() {
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// peek skips white space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.at < len(s.b) {
		return s.b[s.at]
	}
	return 0
}

func (s *scanner) want(c byte) {
	if s.peek() != c {
		if s.at >= len(s.b) {
			s.syntax("the line ends too early")
		}
		s.syntax("expected " + strconv.QuoteRune(rune(c)))
	}
	s.at++
}

// object calls field for each key, in order; field must consume the value.
func (s *scanner) object(field func(key []byte)) {
	s.want('{')
	s.enter()
	first := len(s.keys)
	if s.peek() == '}' {
		s.at++
		s.depth--
		return
	}
	for {
		if s.peek() != '"' {
			s.want('"')
		}
		key := s.key()
		for _, k := range s.keys[first:] {
			if bytes.Equal(k, key) {
				s.fail(RuleDuplicateKey, shown(key), "the key stands twice in one object")
			}
		}
		if len(s.keys)-first >= 1024 {
			s.fail(RuleJSON, "", "an object has more than 1024 keys")
		}
		s.keys = append(s.keys, key)
		s.want(':')
		field(key)
		if s.peek() == ',' {
			s.at++
			continue
		}
		s.want('}')
		break
	}
	s.keys = s.keys[:first]
	s.depth--
}

// array calls item for each element; item must consume it.
func (s *scanner) array(item func(i int)) {
	s.want('[')
	s.enter()
	if s.peek() == ']' {
		s.at++
		s.depth--
		return
	}
	for i := 0; ; i++ {
		item(i)
		if s.peek() == ',' {
			s.at++
			continue
		}
		s.want(']')
		break
	}
	s.depth--
}

func (s *scanner) enter() {
	if s.depth++; s.depth > MaxDepth {
		s.fail(RuleTooDeep, "", "JSON nested deeper than %d", MaxDepth)
	}
}

// shown cuts a key for a message.
func shown(key []byte) string {
	if len(key) > 64 {
		key = key[:64]
	}
	return string(bytes.ToValidUTF8(key, nil))
}

// key reads a string and decodes it; only escaped ones are copied.
func (s *scanner) key() []byte {
	raw := s.str()
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	return unquote(raw)
}

// plain marks the bytes of a string that need no look: ASCII but quote,
// backslash and controls.
var plain = func() (t [256]bool) {
	for c := 0x20; c < 0x80; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// str checks a string and returns it with its quotes.
func (s *scanner) str() []byte {
	start := s.at
	b := s.b
	i := s.at + 1
	for {
		for i < len(b) && plain[b[i]] {
			i++
		}
		if i >= len(b) {
			s.at = len(b)
			s.syntax("a string is not closed")
		}
		switch c := b[i]; {
		case c == '"':
			s.at = i + 1
			return b[start:s.at]
		case c == '\\':
			s.at = i
			i += s.escape(b[i:])
		case c < 0x20:
			s.at = i
			s.syntax("a control character in a string")
		default:
			_, n := utf8.DecodeRune(b[i:])
			if n == 1 {
				s.fail(RuleUTF8, "", "byte %d of the line is not UTF-8", i+1)
			}
			i += n
		}
	}
}

// escape checks one escape and returns its length.
func (s *scanner) escape(b []byte) int {
	if len(b) > 1 && bytes.IndexByte([]byte(`"\/bfnrt`), b[1]) >= 0 {
		return 2
	}
	if _, ok := hex4(b); ok {
		return 6
	}
	s.syntax("a broken escape")
	return 0
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[1] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(string(b[2:6]), 16, 32)
	return rune(v), err == nil && b[2] != '+' && b[2] != '-' && b[2] != '_'
}

// skip checks any value and returns its bytes.
func (s *scanner) skip() []byte {
	c := s.peek()
	start := s.at
	switch {
	case c == '{':
		s.object(func([]byte) { s.skip() })
	case c == '[':
		s.array(func(int) { s.skip() })
	case c == '"':
		s.str()
	case c == '-' || c >= '0' && c <= '9':
		s.num()
	default:
		s.word()
	}
	return s.b[start:s.at]
}

// word reads true, false or null. NaN and Infinity, which some writers emit,
// get a rule of their own.
func (s *scanner) word() {
	rest := s.b[s.at:]
	for _, w := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(rest, []byte(w)) {
			s.at += len(w)
			return
		}
	}
	if nonFinite(rest) {
		s.fail(RuleNotFinite, s.lastKey(), "NaN and Infinity are not JSON; write a finite number")
	}
	if len(rest) == 0 {
		s.syntax("the line ends too early")
	}
	s.syntax("expected a value")
}

func nonFinite(b []byte) bool {
	b = bytes.TrimPrefix(b, []byte("-"))
	for _, w := range []string{"NaN", "nan", "Infinity", "inf"} {
		if bytes.HasPrefix(b, []byte(w)) {
			return true
		}
	}
	return false
}

func (s *scanner) lastKey() string {
	if len(s.keys) == 0 {
		return ""
	}
	return shown(s.keys[len(s.keys)-1])
}

// num checks a number and returns its bytes.
func (s *scanner) num() []byte {
	b, start, i := s.b, s.at, s.at
	digits := func() bool {
		from := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > from
	}
	if b[i] == '-' {
		if nonFinite(b[i:]) {
			s.word()
		}
		i++
	}
	lead := i
	ok := digits() && (b[lead] != '0' || i == lead+1)
	if ok && i < len(b) && b[i] == '.' {
		i++
		ok = digits()
	}
	if ok && i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		ok = digits()
	}
	if !ok {
		s.syntax("a malformed number")
	}
	s.at = i
	return b[start:i]
}

// finite reads a value that must be a finite number.
func (s *scanner) finite(key string) float64 {
	switch c := s.peek(); {
	case nonFinite(s.b[s.at:]):
		s.fail(RuleNotFinite, key, "is not finite")
	case c == '-' || c >= '0' && c <= '9':
		f, err := strconv.ParseFloat(string(s.num()), 64)
		if err != nil || math.IsInf(f, 0) {
			s.fail(RuleNotFinite, key, "the number is out of range")
		}
		return f
	case c == '"':
		s.fail(RuleNotNumber, key, "is a string; rewards are numbers")
	case c == 't' || c == 'f':
		s.word()
		s.fail(RuleNotNumber, key, "is a boolean; rewards are numbers")
	case c == 'n' && bytes.HasPrefix(s.b[s.at:], []byte("null")):
		s.fail(RuleNotNumber, key, "is null; rewards are numbers")
	default:
		s.skip()
		s.fail(RuleNotNumber, key, "is no number")
	}
	return 0
}

// null consumes a null.
func (s *scanner) null() bool {
	if s.peek() == 'n' && bytes.HasPrefix(s.b[s.at:], []byte("null")) {
		s.at += 4
		return true
	}
	return false
}

// end checks that nothing follows.
func (s *scanner) end() {
	if s.peek(); s.at < len(s.b) {
		s.syntax("text behind the object")
	}
}
