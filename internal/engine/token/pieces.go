package token

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// Tokenisers in SentencePiece's manner: the symbols of BPE are characters,
// spaces are written as U+2581, and a character without a token of its own
// falls back to tokens of its bytes, "<0x00>" to "<0xFF>".

// pieceDecoder is the decoder of such a tokeniser: replace in every token, then
// bytes, then all joined and stripped.
type pieceDecoder struct {
	from, to string // replaced in every token; from "" = nothing
	bytes    bool   // byte tokens stand for their bytes
	strip    int    // leading spaces that the whole text loses
}

// decoderStep is a decoder of tokenizer.json.
type decoderStep struct {
	Type     string        `json:"type"`
	Decoders []decoderStep `json:"decoders"`
	Pattern  textPattern   `json:"pattern"`
	Content  string        `json:"content"`
	Start    int           `json:"start"`
	Stop     int           `json:"stop"`
}

// parseDecoder accepts the decoder that Decode is: ByteLevel for byte-level
// models (nil is returned), else Replace, ByteFallback, Fuse and Strip in this order.
func parseDecoder(raw json.RawMessage, byteLevel bool) (*pieceDecoder, error) {
	var d *decoderStep
	if len(raw) > 0 && json.Unmarshal(raw, &d) != nil {
		return nil, problem("bad-tokenizer", "decoder", "is malformed")
	}
	if byteLevel {
		if d == nil || d.Type == "ByteLevel" || d.Type == "Sequence" && len(d.Decoders) == 1 && d.Decoders[0].Type == "ByteLevel" {
			return nil, nil
		}
		return nil, problem("unsupported-tokenizer", "decoder", "%.40q is not supported behind byte-level BPE; supported is ByteLevel", d.Type)
	}
	if d == nil || d.Type != "Sequence" {
		return nil, problem("unsupported-tokenizer", "decoder", "BPE over characters needs a Sequence of Replace, ByteFallback, Fuse and Strip")
	}
	p, stage := &pieceDecoder{}, 0
	for _, s := range d.Decoders {
		at := map[string]int{"Replace": 1, "ByteFallback": 2, "Fuse": 3, "Strip": 4}[s.Type]
		if at <= stage || at == 4 && stage != 3 {
			return nil, problem("unsupported-tokenizer", "decoder", "%.40q is not supported at its place; supported are Replace, ByteFallback, Fuse and Strip in this order", s.Type)
		}
		stage = at
		switch s.Type {
		case "Replace":
			if s.Pattern.String == nil || *s.Pattern.String == "" {
				return nil, problem("unsupported-tokenizer", "decoder", "Replace of a pattern is not supported; Replace of a string is")
			}
			p.from, p.to = *s.Pattern.String, s.Content
		case "ByteFallback":
			p.bytes = true
		case "Strip":
			if s.Content != " " || s.Stop != 0 || s.Start < 0 {
				return nil, problem("unsupported-tokenizer", "decoder", "only Strip of leading spaces is supported")
			}
			p.strip = s.Start
		}
	}
	return p, nil
}

// text is what the token stands for, and whether that is a bare byte.
func (p *pieceDecoder) text(token string) (text string, bare bool) {
	if p.from != "" {
		token = strings.ReplaceAll(token, p.from, p.to)
	}
	if b, ok := byteToken(token); ok && p.bytes {
		return string([]byte{b}), true
	}
	return token, false
}

// byteToken reads "<0x0A>".
func byteToken(s string) (byte, bool) {
	if len(s) != 6 || s[:3] != "<0x" || s[5] != '>' {
		return 0, false
	}
	n := 0
	for _, c := range s[3:5] {
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | int(c-'0')
		case c >= 'A' && c <= 'F':
			n = n<<4 | int(c-'A'+10)
		case c >= 'a' && c <= 'f':
			n = n<<4 | int(c-'a'+10)
		default:
			return 0, false
		}
	}
	return byte(n), true
}

// byteRun is the text of a run of byte tokens: what it spells, or U+FFFD for
// every byte when that is no UTF-8, as Hugging Face's ByteFallback has it.
func byteRun(run []byte) string {
	if utf8.Valid(run) {
		return string(run)
	}
	return strings.Repeat("\uFFFD", len(run))
}

// symbols appends the first symbols of a word: tokens of its characters, tokens
// of the bytes of those without one, or the unknown token.
func (b *bpe) symbols(out []int32, word string) []int32 {
	if !b.characters {
		for i := range len(word) {
			if id := b.bytes[word[i]]; id >= 0 {
				out = append(out, id)
			}
		}
		return out
	}
	pending := false // an unknown token that is not written yet
	for i, r := range word {
		s := word[i : i+runeLen(word[i:], r)]
		if id, ok := b.ids[s]; ok {
			if pending {
				out, pending = append(out, b.unknown), false
			}
			out = append(out, id)
			continue
		}
		if b.hasBytes(s) {
			for j := range len(s) {
				out = append(out, b.bytes[s[j]])
			}
			continue
		}
		if b.unknown >= 0 {
			if pending && !b.fuseUnknown {
				out = append(out, b.unknown)
			}
			pending = true
		}
	}
	if pending {
		out = append(out, b.unknown)
	}
	return out
}

// runeLen is the number of bytes of the rune r at the start of s: one for a
// byte that is no UTF-8.
func runeLen(s string, r rune) int {
	if r == utf8.RuneError {
		_, n := utf8.DecodeRuneInString(s)
		return n
	}
	return utf8.RuneLen(r)
}

func (b *bpe) hasBytes(s string) bool {
	for i := range len(s) {
		if b.bytes[s[i]] < 0 {
			return false
		}
	}
	return true
}
