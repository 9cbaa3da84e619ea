package token

import (
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// splitter cuts pieces of text into smaller ones. Pieces are UTF-8, not yet in
// the byte alphabet.
type splitter func(pieces []string) []string

const splitGPT2 = `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// preTokenizer is a pre_tokenizer of tokenizer.json.
type preTokenizer struct {
	Type           string         `json:"type"`
	PreTokenizers  []preTokenizer `json:"pretokenizers"`
	AddPrefixSpace bool           `json:"add_prefix_space"`
	UseRegex       *bool          `json:"use_regex"`
	Individual     bool           `json:"individual_digits"`
	Pattern        textPattern    `json:"pattern"`
	Behavior       string         `json:"behavior"`
	Invert         bool           `json:"invert"`
}

// textPattern is {"Regex": …} or {"String": …}.
type textPattern struct {
	Regex  *string
	String *string
}

// build compiles a pre-tokeniser; byteLevel reports whether one of its parts
// maps bytes, which everything else here relies on.
func (p *preTokenizer) build() (split splitter, byteLevel bool, err error) {
	switch p.Type {
	case "Sequence":
		return p.sequence()
	case "ByteLevel":
		split, err = p.byteLevel()
		return split, true, err
	case "Digits":
		individual := p.Individual
		return func(pieces []string) []string { return splitRuns(pieces, unicode.IsNumber, individual) }, false, nil
	case "Split":
		split, err = p.split()
		return split, false, err
	}
	return nil, false, problem("unsupported-tokenizer", "pre_tokenizer", "type %.40q is not supported; supported are ByteLevel, Split, Digits and Sequence", p.Type)
}

func (p *preTokenizer) sequence() (splitter, bool, error) {
	var all []splitter
	byteLevel := false
	for i := range p.PreTokenizers {
		s, b, err := p.PreTokenizers[i].build()
		if err != nil {
			return nil, false, err
		}
		if byteLevel {
			return nil, false, problem("unsupported-tokenizer", "pre_tokenizer", "%.40q behind ByteLevel is not supported", p.PreTokenizers[i].Type)
		}
		all, byteLevel = append(all, s), b
	}
	return func(pieces []string) []string {
		for _, s := range all {
			pieces = s(pieces)
		}
		return pieces
	}, byteLevel, nil
}

func (p *preTokenizer) byteLevel() (splitter, error) {
	gpt2, err := compilePattern(splitGPT2)
	if err != nil {
		return nil, err
	}
	prefix, regex := p.AddPrefixSpace, p.UseRegex == nil || *p.UseRegex
	return func(pieces []string) []string {
		if prefix {
			for i, s := range pieces {
				if !strings.HasPrefix(s, " ") {
					pieces[i] = " " + s
				}
			}
		}
		if regex {
			return splitPattern(pieces, gpt2, false)
		}
		return pieces
	}, nil
}

func (p *preTokenizer) split() (splitter, error) {
	if p.Behavior != "Isolated" && p.Behavior != "Removed" {
		return nil, problem("unsupported-tokenizer", "pre_tokenizer", "split behaviour %.40q is not supported; supported are Isolated and Removed", p.Behavior)
	}
	source := ""
	switch {
	case p.Pattern.Regex != nil:
		source = *p.Pattern.Regex
	case p.Pattern.String != nil:
		source = quotePattern(*p.Pattern.String)
	}
	compiled, err := compilePattern(source)
	if err != nil || source == "" {
		return nil, problem("unsupported-tokenizer", "pre_tokenizer", "the split pattern is not supported: %v", err)
	}
	removed := p.Behavior == "Removed"
	if p.Invert && removed { // keep only the matches
		return func(pieces []string) []string {
			var out []string
			for _, s := range pieces {
				compiled.split(s, func(piece string, matched bool) {
					if matched {
						out = append(out, piece)
					}
				})
			}
			return out
		}, nil
	}
	return func(pieces []string) []string { return splitPattern(pieces, compiled, removed) }, nil
}

func quotePattern(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf && !unicode.IsLetter(r) && !unicode.IsDigit(r) && r > ' ' {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func splitPattern(pieces []string, p *pattern, removed bool) []string {
	out := make([]string, 0, len(pieces)+8)
	for _, s := range pieces {
		p.split(s, func(piece string, matched bool) {
			if !matched || !removed {
				out = append(out, piece)
			}
		})
	}
	return out
}

// splitRuns isolates runes that satisfy in, one by one or in runs.
func splitRuns(pieces []string, in func(rune) bool, individual bool) []string {
	out := make([]string, 0, len(pieces)+8)
	for _, s := range pieces {
		start, was := 0, false
		for i, r := range s {
			is := in(r)
			if i > start && (is != was || is && individual) {
				out, start = append(out, s[start:i]), i
			}
			was = is
		}
		if start < len(s) {
			out = append(out, s[start:])
		}
	}
	return out
}

// parsePreTokenizer reads the pre_tokenizer of a tokenizer.json.
func parsePreTokenizer(raw json.RawMessage) (splitter, error) {
	var p *preTokenizer
	if err := json.Unmarshal(raw, &p); err != nil || p == nil {
		return nil, problem("unsupported-tokenizer", "pre_tokenizer", "is missing or malformed; supported is byte-level BPE")
	}
	split, byteLevel, err := p.build()
	if err == nil && !byteLevel {
		return nil, problem("unsupported-tokenizer", "pre_tokenizer", "has no ByteLevel part; supported is byte-level BPE")
	}
	return split, err
}
