package token

import (
	"bytes"
	"container/heap"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"
)

// bpe merges bytes, or characters, into tokens.
type bpe struct {
	ids          map[string]int32 // token bytes -> id; of a byte-level model only where merges are ignored
	bytes        [256]int32       // id of each single byte, -1 = none
	characters   bool             // the symbols are characters; bytes is what they fall back to
	unknown      int32            // token of what has none, -1 = it is left out
	fuseUnknown  bool             // one for a run of unknown characters
	merges       map[uint64]merge // left<<32 | right
	ignoreMerges bool

	mu    sync.RWMutex
	cache map[string][]int32 // short words
}

type merge struct{ rank, id int32 }

const (
	maxVocab    = 1 << 22
	cacheWords  = 1 << 16
	cachedBytes = 48
	heapFrom    = 40 // symbols from which the heap beats scanning
)

// bpeModel is the model of a tokenizer.json.
type bpeModel struct {
	Type         string           `json:"type"`
	Vocab        map[string]int32 `json:"vocab"`
	Merges       mergeList        `json:"merges"`
	Dropout      *float64         `json:"dropout"`
	Prefix       *string          `json:"continuing_subword_prefix"`
	Suffix       *string          `json:"end_of_word_suffix"`
	UNK          *string          `json:"unk_token"`
	FuseUNK      bool             `json:"fuse_unk"`
	ByteFallback bool             `json:"byte_fallback"`
	IgnoreMerges bool             `json:"ignore_merges"`
}

// mergeList reads ["a b", …] or [["a", "b"], …].
type mergeList [][2]string

func (m *mergeList) UnmarshalJSON(b []byte) error {
	const space = " \t\r\n"
	inner := bytes.TrimLeft(bytes.TrimPrefix(bytes.TrimLeft(b, space), []byte("[")), space)
	if bytes.HasPrefix(inner, []byte("[")) {
		return json.Unmarshal(b, (*[][2]string)(m))
	}
	var lines []string
	if err := json.Unmarshal(b, &lines); err != nil {
		return err
	}
	*m = make(mergeList, len(lines))
	for i, line := range lines {
		(*m)[i][0], (*m)[i][1], _ = strings.Cut(line, " ")
	}
	return nil
}

// bytesOf maps the byte alphabet's runes to bytes: printable Latin-1 stands for
// itself, the rest is moved to U+0100 onwards in order; -1 = not of the alphabet.
var bytesOf = func() (m [512]int16) {
	for i := range m {
		m[i] = -1
	}
	moved := rune(256)
	for b := range int16(256) {
		if r := rune(b); r >= '!' && r <= '~' || r >= 0xa1 && r <= 0xac || r >= 0xae {
			m[r] = b
		} else {
			m[moved] = b
			moved++
		}
	}
	return m
}()

// byteOf is the byte that a rune of the byte alphabet stands for.
func byteOf(r rune) (b byte, ok bool) {
	if r < 0 || int(r) >= len(bytesOf) || bytesOf[r] < 0 {
		return 0, false
	}
	return byte(bytesOf[r]), true
}

// tokenBytes decodes a vocabulary entry. One with a rune outside the byte
// alphabet stands for its own text.
func tokenBytes(s string) string {
	var buffer [64]byte
	out := buffer[:0]
	for _, r := range s {
		b, ok := byteOf(r)
		if !ok {
			return s
		}
		out = append(out, b)
	}
	return string(out)
}

func newBPE(m *bpeModel, byteLevel bool) (*bpe, error) {
	switch {
	case m.Type != "BPE" && m.Type != "":
		return nil, problem("unsupported-tokenizer", "model", "type %.40q is not supported; supported is BPE", m.Type)
	case m.Dropout != nil && *m.Dropout != 0, m.Prefix != nil && *m.Prefix != "", m.Suffix != nil && *m.Suffix != "", m.ByteFallback && byteLevel:
		return nil, problem("unsupported-tokenizer", "model", "dropout, subword prefixes, word suffixes and byte fallback behind a byte-level alphabet are not supported")
	case len(m.Vocab) == 0 || len(m.Vocab) > maxVocab || len(m.Merges) > maxVocab:
		return nil, problem("bad-tokenizer", "model", "has %d tokens and %d merges", len(m.Vocab), len(m.Merges))
	}
	b := &bpe{ids: map[string]int32{}, merges: make(map[uint64]merge, len(m.Merges)),
		ignoreMerges: m.IgnoreMerges, characters: !byteLevel, unknown: -1, fuseUnknown: m.FuseUNK, cache: map[string][]int32{}}
	if b.characters || b.ignoreMerges {
		b.ids = make(map[string]int32, len(m.Vocab))
	}
	for i := range b.bytes {
		b.bytes[i] = -1
	}
	for text, id := range m.Vocab {
		if id < 0 || id > maxVocab {
			return nil, problem("bad-tokenizer", "model", "has the token id %d", id)
		}
		if b.characters {
			b.ids[text] = id
			if c, ok := byteToken(text); ok && m.ByteFallback && text == fmt.Sprintf("<0x%02X>", c) {
				b.bytes[c] = id
			}
			continue
		}
		if b.ignoreMerges {
			b.ids[tokenBytes(text)] = id
		}
		if r, n := utf8.DecodeRuneInString(text); n == len(text) {
			if c, ok := byteOf(r); ok {
				b.bytes[c] = id
			}
		}
	}
	if m.UNK != nil && b.characters {
		id, ok := m.Vocab[*m.UNK]
		if !ok {
			return nil, problem("bad-tokenizer", "model", "the unknown token is not in the vocabulary")
		}
		b.unknown = id
	}
	var both []byte
	for rank, pair := range m.Merges {
		left, okl := m.Vocab[pair[0]]
		right, okr := m.Vocab[pair[1]]
		both = append(append(both[:0], pair[0]...), pair[1]...)
		id, ok := m.Vocab[string(both)]
		if !okl || !okr || !ok {
			return nil, problem("bad-tokenizer", "model", "merge %d joins tokens that the vocabulary lacks", rank)
		}
		b.merges[uint64(left)<<32|uint64(right)] = merge{int32(rank), id}
	}
	return b, nil
}

// encode appends the ids of one word.
func (b *bpe) encode(out []int32, word string) []int32 {
	if len(word) > cachedBytes {
		return b.merge(out, word)
	}
	b.mu.RLock()
	ids, ok := b.cache[word]
	b.mu.RUnlock()
	if ok {
		return append(out, ids...)
	}
	start := len(out)
	out = b.merge(out, word)
	b.mu.Lock()
	if len(b.cache) >= cacheWords {
		clear(b.cache)
	}
	b.cache[strings.Clone(word)] = append([]int32(nil), out[start:]...)
	b.mu.Unlock()
	return out
}

func (b *bpe) merge(out []int32, word string) []int32 {
	if b.ignoreMerges {
		if id, ok := b.ids[word]; ok {
			return append(out, id)
		}
	}
	start := len(out)
	out = b.symbols(out, word)
	symbols := out[start:]
	if len(symbols) >= heapFrom {
		return append(out[:start], b.mergeHeap(symbols)...)
	}
	for len(symbols) > 1 {
		best, at := merge{rank: 1 << 30}, -1
		for i := range len(symbols) - 1 {
			if m, ok := b.merges[uint64(symbols[i])<<32|uint64(symbols[i+1])]; ok && m.rank < best.rank {
				best, at = m, i
			}
		}
		if at < 0 {
			break
		}
		symbols[at] = best.id
		symbols = append(symbols[:at+1], symbols[at+2:]...)
	}
	return out[:start+len(symbols)]
}

// candidate is a possible merge of the symbol at left with its successor.
type candidate struct {
	rank, left, id int32
	l, r           int32 // the ids it was found with
}

type candidates []candidate

func (c candidates) Len() int { return len(c) }
func (c candidates) Less(i, j int) bool {
	return c[i].rank < c[j].rank || c[i].rank == c[j].rank && c[i].left < c[j].left
}
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *candidates) Push(x any)   { *c = append(*c, x.(candidate)) }
func (c *candidates) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// mergeHeap merges long words in n log n: symbols are a linked list, outdated
// candidates are recognised by their ids and dropped.
func (b *bpe) mergeHeap(symbols []int32) []int32 {
	n := len(symbols)
	ids := append([]int32(nil), symbols...)
	next, prev := make([]int32, n), make([]int32, n)
	for i := range n {
		next[i], prev[i] = int32(i+1), int32(i-1)
	}
	queue := make(candidates, 0, n)
	offer := func(left int32, push bool) {
		if left < 0 || next[left] >= int32(n) {
			return
		}
		l, r := ids[left], ids[next[left]]
		if m, ok := b.merges[uint64(l)<<32|uint64(r)]; ok {
			c := candidate{m.rank, left, m.id, l, r}
			if push {
				heap.Push(&queue, c)
			} else {
				queue = append(queue, c)
			}
		}
	}
	for i := range n {
		offer(int32(i), false)
	}
	heap.Init(&queue)
	for len(queue) > 0 {
		c := heap.Pop(&queue).(candidate)
		r := next[c.left]
		if ids[c.left] != c.l || r >= int32(n) || ids[r] != c.r {
			continue
		}
		ids[c.left], ids[r] = c.id, -1
		if next[c.left] = next[r]; next[r] < int32(n) {
			prev[next[r]] = c.left
		}
		offer(prev[c.left], true)
		offer(c.left, true)
	}
	out := ids[:0]
	for i := int32(0); i < int32(n); {
		at := i
		i = next[i]
		out = append(out, ids[at])
	}
	return out
}
