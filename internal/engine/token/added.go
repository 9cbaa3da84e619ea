package token

import (
	"unicode"
	"unicode/utf8"
)

// addedToken is an entry of added_tokens.
type addedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// trie finds added tokens in text: at each position the longest.
type trie struct {
	next   map[uint64]int32 // node<<8 | byte -> node; node 0 is the root
	tokens map[int32]*addedToken
	nodes  int32
	first  [256]bool
}

func (t *trie) add(content string, a *addedToken) {
	if content == "" {
		return
	}
	if t.next == nil {
		t.next, t.tokens = map[uint64]int32{}, map[int32]*addedToken{}
	}
	node := int32(0)
	for i := range len(content) {
		key := uint64(node)<<8 | uint64(content[i])
		if t.next[key] == 0 {
			t.nodes++
			t.next[key] = t.nodes
		}
		node = t.next[key]
	}
	t.first[content[0]] = true
	if t.tokens[node] == nil {
		t.tokens[node] = a
	}
}

// find returns the longest token at the start of s.
func (t *trie) find(s string) (found *addedToken, length int) {
	node := int32(0)
	for i := range len(s) {
		if node = t.next[uint64(node)<<8|uint64(s[i])]; node == 0 {
			break
		}
		if a := t.tokens[node]; a != nil {
			found, length = a, i+1
		}
	}
	return found, length
}

// cut splits text at added tokens: emit gets plain text (id -1) and tokens.
func (t *trie) cut(text string, emit func(piece string, id int32)) {
	from := 0 // end of what was emitted
	for i := 0; i < len(text); {
		if !t.first[text[i]] {
			i++
			continue
		}
		a, n := t.find(text[i:])
		if a == nil {
			i++
			continue
		}
		start, end := i, i+n
		i = end
		if a.SingleWord && !alone(text, start, end) {
			continue
		}
		if a.LStrip {
			start = max(len(trimSpaceRight(text[:start])), from)
		}
		if a.RStrip {
			end = len(text) - len(trimSpaceLeft(text[end:]))
			i = max(i, end)
		}
		if from < start {
			emit(text[from:start], -1)
		}
		emit(text[start:end], a.ID)
		from = end
	}
	if from < len(text) {
		emit(text[from:], -1)
	}
}

// alone says that no word character touches text[start:end].
func alone(text string, start, end int) bool {
	before, n := utf8.DecodeLastRuneInString(text[:start])
	after, m := utf8.DecodeRuneInString(text[end:])
	return (n == 0 || !isWord(before)) && (m == 0 || !isWord(after))
}

func trimSpaceRight(s string) string {
	for s != "" {
		r, n := utf8.DecodeLastRuneInString(s)
		if !unicode.IsSpace(r) {
			break
		}
		s = s[:len(s)-n]
	}
	return s
}

func trimSpaceLeft(s string) string {
	for s != "" {
		r, n := utf8.DecodeRuneInString(s)
		if !unicode.IsSpace(r) {
			break
		}
		s = s[n:]
	}
	return s
}
