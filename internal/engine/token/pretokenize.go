package token

import (
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"
)

// splitter cuts pieces of text into smaller ones. Pieces are UTF-8, not yet in
// the byte alphabet.
type splitter func(pieces []string, at place) []string

// place says where the first piece stands.
type place int

const (
	begins  place = iota // at the beginning of the text
	section              // behind an added token
	inside               // behind other text, without a seam
)

const splitGPT2 = `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// preTokenizer is a pre_tokenizer of tokenizer.json.
type preTokenizer struct {
	Type           string         `json:"type"`
	PreTokenizers  []preTokenizer `json:"pretokenizers"`
	AddPrefixSpace *bool          `json:"add_prefix_space"`
	UseRegex       *bool          `json:"use_regex"`
	Individual     bool           `json:"individual_digits"`
	Pattern        textPattern    `json:"pattern"`
	Behavior       string         `json:"behavior"`
	Invert         bool           `json:"invert"`

	// Metaspace.
	Replacement string `json:"replacement"`
	Scheme      string `json:"prepend_scheme"`
	SplitWords  *bool  `json:"split"`
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
		return func(pieces []string, _ place) []string { return splitRuns(pieces, unicode.IsNumber, individual) }, false, nil
	case "Split":
		split, err = p.split()
		return split, false, err
	case "Metaspace":
		split, err = p.metaspace()
		return split, false, err
	}
	return nil, false, problem("unsupported-tokenizer", "pre_tokenizer", "type %.40q is not supported; supported are ByteLevel, Split, Digits, Metaspace and Sequence", p.Type)
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
	return func(pieces []string, at place) []string {
		for _, s := range all {
			pieces = s(pieces, at)
		}
		return pieces
	}, byteLevel, nil
}

func (p *preTokenizer) byteLevel() (splitter, error) {
	gpt2, err := compilePattern(splitGPT2)
	if err != nil {
		return nil, err
	}
	prefix, regex := p.AddPrefixSpace != nil && *p.AddPrefixSpace, p.UseRegex == nil || *p.UseRegex
	return func(pieces []string, at place) []string {
		if prefix {
			for i, s := range pieces {
				if !strings.HasPrefix(s, " ") && !(at == inside && i == 0) {
					pieces[i] = " " + s
				}
			}
		}
		if regex {
			return splitPattern(pieces, gpt2, isolated)
		}
		return pieces
	}, nil
}

func (p *preTokenizer) split() (splitter, error) {
	behave, ok := behaviours[p.Behavior]
	if !ok {
		return nil, problem("unsupported-tokenizer", "pre_tokenizer", "split behaviour %.40q is not supported; supported are Isolated, Removed, MergedWithPrevious and MergedWithNext", p.Behavior)
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
	if p.Invert && p.Behavior != "Isolated" && p.Behavior != "Removed" {
		return nil, problem("unsupported-tokenizer", "pre_tokenizer", "an inverted split with behaviour %.40q is not supported", p.Behavior)
	}
	if p.Invert && p.Behavior == "Removed" { // keep only the matches
		return func(pieces []string, _ place) []string {
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
	return func(pieces []string, _ place) []string { return splitPattern(pieces, compiled, behave) }, nil
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

// behaviour says what becomes of a match.
type behaviour int

const (
	isolated       behaviour = iota
	removed                  // it is dropped
	mergedPrevious           // it joins the piece before it, unless that ends with a match
	mergedNext               // it joins the piece behind it, unless that begins with a match
)

var behaviours = map[string]behaviour{"Isolated": isolated, "Removed": removed, "MergedWithPrevious": mergedPrevious, "MergedWithNext": mergedNext}

func splitPattern(pieces []string, p *pattern, b behaviour) []string {
	out := make([]string, 0, len(pieces)+8)
	for _, s := range pieces {
		start, at, was, any := 0, 0, false, false // of the last piece; where s is; whether it was a match; whether there is one
		p.split(s, func(piece string, matched bool) {
			end := at + len(piece)
			switch {
			case matched && b == removed:
			case any && (b == mergedPrevious && matched && !was || b == mergedNext && !matched && was):
				out[len(out)-1] = s[start:end]
			default:
				out, start, any = append(out, piece), at, true
			}
			at, was = end, matched
		})
	}
	return out
}

// metaspace writes spaces as the replacement, puts one before the text, and
// cuts before each.
func (p *preTokenizer) metaspace() (splitter, error) {
	mark, scheme := p.Replacement, p.Scheme
	if mark == "" {
		mark = "\u2581"
	}
	if scheme == "" {
		scheme = "always"
		if p.AddPrefixSpace != nil && !*p.AddPrefixSpace {
			scheme = "never"
		}
	}
	if scheme != "always" && scheme != "first" && scheme != "never" || utf8.RuneCountInString(mark) != 1 {
		return nil, problem("unsupported-tokenizer", "pre_tokenizer", "Metaspace with replacement %.10q and prepend_scheme %.20q is not supported", mark, scheme)
	}
	compiled, err := compilePattern(quotePattern(mark))
	if err != nil {
		return nil, problem("unsupported-tokenizer", "pre_tokenizer", "Metaspace's replacement is not supported: %v", err)
	}
	cut := p.SplitWords == nil || *p.SplitWords
	return func(pieces []string, at place) []string {
		out := make([]string, len(pieces))
		for i, s := range pieces {
			s = strings.ReplaceAll(s, " ", mark)
			if !strings.HasPrefix(s, mark) && (scheme == "always" || scheme == "first" && at == begins && i == 0) && !(at == inside && i == 0) {
				s = mark + s
			}
			out[i] = s
		}
		if cut {
			return splitPattern(out, compiled, mergedNext)
		}
		return out
	}, nil
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

// parsePreTokenizer reads the pre_tokenizer of a tokenizer.json; null leaves
// texts whole. byteLevel says that tokens are written in the byte alphabet.
func parsePreTokenizer(raw json.RawMessage) (split splitter, byteLevel bool, err error) {
	var p *preTokenizer
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &p); err != nil {
			return nil, false, problem("bad-tokenizer", "pre_tokenizer", "is malformed")
		}
	}
	if p == nil {
		return func(pieces []string, _ place) []string { return pieces }, false, nil
	}
	return p.build()
}
