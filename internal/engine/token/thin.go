package token

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// A tokenizer.json is a vocabulary and its merges, a hundred thousand short strings,
// with a page of settings around them. Every engine that starts reads one, so the two
// are read here in one pass, and encoding/json reads the rest. What is not of the
// plain form that everybody writes is left to encoding/json as a whole: it alone says
// what is valid, and both give the same tokeniser.

// thin is what a tokenizer.json is without its vocabulary and merges.
type thin struct {
	rest   []byte // the document with null in their places
	vocab  map[string]int32
	merges mergeList
}

// thinOut takes vocabulary and merges out of the JSON of a tokeniser or of the blob
// around one. It is nil where that is for encoding/json to do.
func thinOut(b []byte) *thin {
	if !utf8.Valid(b) { // encoding/json replaces what is no UTF-8
		return nil
	}
	c := &cut{s: string(b), out: &thin{rest: make([]byte, 0, 32<<10)}}
	if !c.object(c.outer) || c.space() != 0 || c.out.vocab == nil || c.out.merges == nil {
		return nil
	}
	c.out.rest = append(c.out.rest, c.s[c.copied:]...)
	return c.out
}

// cut is a position in a document.
type cut struct {
	s      string
	at     int
	copied int  // up to where out.rest has it
	found  bool // the blob's tokeniser, or the model of a plain one
	out    *thin
}

// aheadMerges and aheadVocab bound what is set aside before an entry is read: the
// size of a document says nothing about how much of it they are.
const (
	aheadMerges = 1 << 12
	aheadVocab  = 1 << 18
)

// space passes white space and returns the byte behind it, 0 at the end.
func (c *cut) space() byte {
	for c.at < len(c.s) {
		switch b := c.s[c.at]; b {
		case ' ', '\t', '\r', '\n':
			c.at++
		default:
			return b
		}
	}
	return 0
}

// is passes white space and b.
func (c *cut) is(b byte) bool {
	if c.space() != b {
		return false
	}
	c.at++
	return true
}

// list passes what lies between two brackets, calling item at each element.
func (c *cut) list(begin, end byte, item func() bool) bool {
	if !c.is(begin) {
		return false
	}
	if c.is(end) {
		return true
	}
	for item() {
		if !c.is(',') {
			return c.is(end)
		}
	}
	return false
}

// object passes an object, calling member behind the colon of each key.
func (c *cut) object(member func(key string) bool) bool {
	return c.list('{', '}', func() bool {
		key, ok := c.text()
		return ok && c.is(':') && member(key)
	})
}

// text reads a string.
func (c *cut) text() (string, bool) {
	if !c.is('"') {
		return "", false
	}
	start, escaped := c.at, false
	for ; c.at < len(c.s); c.at++ {
		switch b := c.s[c.at]; {
		case b == '"':
			c.at++
			if !escaped {
				return c.s[start : c.at-1], true
			}
			var s string
			err := json.Unmarshal([]byte(c.s[start-1:c.at]), &s)
			return s, err == nil
		case b == '\\':
			escaped = true
			c.at++
		case b < ' ':
			return "", false
		}
	}
	return "", false
}

// id reads a whole number as token ids are written.
func (c *cut) id() (int32, bool) {
	c.space()
	n, start := int32(0), c.at
	for ; c.at < len(c.s) && c.s[c.at]-'0' < 10 && n <= maxVocab; c.at++ {
		n = 10*n + int32(c.s[c.at]-'0')
	}
	digits := c.at - start
	if digits == 0 || digits > 1 && c.s[start] == '0' || n > maxVocab || c.at == len(c.s) {
		return 0, false
	}
	return n, strings.IndexByte(" \t\r\n,}", c.s[c.at]) >= 0
}

// pass passes a value that encoding/json will read.
func (c *cut) pass() bool {
	for depth := 0; ; {
		switch b := c.space(); b {
		case '{', '[':
			depth++
			c.at++
		case '}', ']':
			depth--
			c.at++
		case '"':
			if _, ok := c.text(); !ok {
				return false
			}
		case ',', ':':
			c.at++
		case 0:
			return false
		default:
			n := strings.IndexAny(c.s[c.at:], " \t\r\n,:{}[]\"")
			if n <= 0 {
				return false
			}
			c.at += n
		}
		if depth < 0 {
			return false
		}
		if depth == 0 {
			return true
		}
	}
}

// only enters the member called name and passes the others. encoding/json takes a
// key of other case too, and the last of several: such documents are left to it.
func (c *cut) only(key string, name string, seen *bool, enter func() bool) bool {
	switch {
	case key == name && !*seen:
		*seen = true
		return enter()
	case strings.EqualFold(key, name):
		return false
	}
	return c.pass()
}

// outer is a member of the document: the blob's, or the tokeniser's own. One of them
// is entered once. Of more, encoding/json takes one as a whole, so what was found in
// another must not be kept, and a document of nothing else would be begun again at each.
func (c *cut) outer(key string) bool {
	if !strings.EqualFold(key, "tokenizer") {
		return c.only(key, "model", &c.found, c.model)
	}
	return c.only(key, "tokenizer", &c.found, func() bool {
		model := false
		return c.object(func(key string) bool { return c.only(key, "model", &model, c.model) })
	})
}

func (c *cut) model() bool {
	vocab, merges := false, false
	return c.object(func(key string) bool {
		if strings.EqualFold(key, "merges") {
			return c.only(key, "merges", &merges, func() bool { return c.take(c.readMerges) })
		}
		return c.only(key, "vocab", &vocab, func() bool { return c.take(c.readVocab) })
	})
}

// take reads a value that the rest has null for.
func (c *cut) take(read func() bool) bool {
	c.out.rest = append(append(c.out.rest, c.s[c.copied:c.at]...), "null"...)
	ok := read()
	c.copied = c.at
	return ok
}

func (c *cut) readVocab() bool {
	c.out.vocab = make(map[string]int32, min(aheadVocab, len(c.s)/24))
	return c.object(func(token string) bool {
		id, ok := c.id()
		c.out.vocab[token] = id
		return ok
	})
}

// readMerges reads what mergeList reads, of one kind.
func (c *cut) readMerges() bool {
	c.out.merges = make(mergeList, 0, min(aheadMerges, len(c.s)/24))
	const space = " \t\r\n"
	begin := strings.TrimLeft(strings.TrimPrefix(strings.TrimLeft(c.s[c.at:], space), "["), space)
	pairs := strings.HasPrefix(begin, "[")
	return c.list('[', ']', func() bool {
		var m [2]string
		ok := true
		if pairs {
			n := 0
			ok = c.list('[', ']', func() bool {
				if n == len(m) {
					return false
				}
				m[n], ok = c.text()
				n++
				return ok
			}) && n == len(m)
		} else {
			var line string
			line, ok = c.text()
			m[0], m[1], _ = strings.Cut(line, " ")
		}
		c.out.merges = append(c.out.merges, m)
		return ok
	})
}
