package token

import (
	"unicode/utf8"
)

// lossy replaces each maximal part of an invalid sequence by U+FFFD, as
// Unicode recommends and Hugging Face does.
func lossy(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	out := make([]byte, 0, len(b)+8)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r != utf8.RuneError || n > 1 {
			out, b = append(out, b[:n]...), b[n:]
			continue
		}
		out = append(out, "\uFFFD"...)
		b = b[max(1, incomplete(b)):]
	}
	return string(out)
}

// incomplete is the length of the longest start of b that a rune of UTF-8
// could begin with but that is not a whole rune; 0 if b starts with none.
func incomplete(b []byte) int {
	need, lo, hi := 0, byte(0x80), byte(0xbf)
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		need = 1
	case c >= 0xe0 && c <= 0xef:
		need = 2
		if c == 0xe0 {
			lo = 0xa0
		} else if c == 0xed {
			hi = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		need = 3
		if c == 0xf0 {
			lo = 0x90
		} else if c == 0xf4 {
			hi = 0x8f
		}
	default:
		return 0
	}
	n := 1
	for n <= need && n < len(b) && b[n] >= lo && b[n] <= hi {
		n, lo, hi = n+1, 0x80, 0xbf
	}
	if n > need {
		return 0
	}
	return n
}

// Decoder decodes token by token and never emits part of a rune.
type Decoder struct {
	t           *Tokenizer
	skipSpecial bool
	held        []byte // bytes of an unfinished rune, or of a run of byte tokens
	strip       int    // leading spaces still to be dropped
}

// NewDecoder starts a stream.
func (t *Tokenizer) NewDecoder(skipSpecial bool) *Decoder {
	d := &Decoder{t: t, skipSpecial: skipSpecial}
	if t.pieces != nil {
		d.strip = t.pieces.strip
	}
	return d
}

// Continuing says that the text goes on behind another: it keeps the leading
// space that a whole text loses. It returns d.
func (d *Decoder) Continuing() *Decoder {
	d.strip = 0
	return d
}

// Push adds a token and returns the text that is now certain.
func (d *Decoder) Push(id int32) string {
	if d.t.pieces != nil {
		return d.pushPiece(id)
	}
	if len(d.held) == 0 { // mostly: nothing is copied
		if text := d.t.TokenBytes(id); utf8.ValidString(text) {
			if d.skipSpecial && d.t.IsSpecial(id) {
				return ""
			}
			return text
		}
	}
	if !(d.skipSpecial && d.t.IsSpecial(id)) {
		d.held = append(d.held, d.t.TokenBytes(id)...)
	}
	end := len(d.held)
	for back := 1; back <= 3 && back <= len(d.held); back++ {
		if n := incomplete(d.held[len(d.held)-back:]); n == back {
			end = len(d.held) - back
			break
		}
	}
	text := lossy(d.held[:end])
	d.held = append(d.held[:0], d.held[end:]...)
	return text
}

// Flush returns what is left: U+FFFD for an unfinished rune.
func (d *Decoder) Flush() string {
	if d.t.pieces != nil {
		return d.stripped(d.endRun())
	}
	text := lossy(d.held)
	d.held = d.held[:0]
	return text
}

// pushPiece is Push of a tokeniser over characters: what a run of byte tokens
// spells is certain when it ends.
func (d *Decoder) pushPiece(id int32) string {
	if !d.t.Known(id) || d.skipSpecial && d.t.IsSpecial(id) {
		return ""
	}
	if d.t.bare[id] {
		d.held = append(d.held, d.t.texts[id]...)
		return ""
	}
	return d.stripped(d.endRun() + d.t.texts[id])
}

func (d *Decoder) endRun() string {
	text := byteRun(d.held)
	d.held = d.held[:0]
	return text
}

// stripped drops the spaces with which the whole text begins.
func (d *Decoder) stripped(text string) string {
	for d.strip > 0 && text != "" {
		if text[0] != ' ' {
			d.strip = 0
			break
		}
		text = text[1:]
		d.strip--
	}
	return text
}
