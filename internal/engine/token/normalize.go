package token

import (
	"encoding/json"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// normalizer is a normalizer of tokenizer.json.
type normalizer struct {
	Type        string       `json:"type"`
	Normalizers []normalizer `json:"normalizers"`
	Prepend     string       `json:"prepend"`
	Pattern     textPattern  `json:"pattern"`
	Content     string       `json:"content"`
	Left        bool         `json:"strip_left"`
	Right       bool         `json:"strip_right"`
}

// parseNormalizer compiles a normalizer, and the form of it for a text that goes
// on behind another: without what Prepend puts before a text. null gives nil.
func parseNormalizer(raw json.RawMessage) (whole, inside func(string) string, err error) {
	var n *normalizer
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &n); err != nil {
			return nil, nil, problem("bad-tokenizer", "normalizer", "is malformed")
		}
	}
	if n == nil {
		return nil, nil, nil
	}
	if whole, err = n.build(true); err != nil {
		return nil, nil, err
	}
	inside, err = n.build(false)
	return whole, inside, err
}

func (n *normalizer) build(prepend bool) (func(string) string, error) {
	switch n.Type {
	case "NFC":
		return norm.NFC.String, nil
	case "NFD":
		return norm.NFD.String, nil
	case "NFKC":
		return norm.NFKC.String, nil
	case "NFKD":
		return norm.NFKD.String, nil
	case "Lowercase":
		return func(s string) string { return strings.ToLower(s) }, nil
	case "Strip":
		return n.strip, nil
	case "Prepend":
		return func(s string) string {
			if s == "" || !prepend {
				return s
			}
			return n.Prepend + s
		}, nil
	case "Replace":
		if n.Pattern.String != nil && *n.Pattern.String != "" {
			return func(s string) string { return strings.ReplaceAll(s, *n.Pattern.String, n.Content) }, nil
		}
	case "Sequence":
		return n.sequence(prepend)
	}
	return nil, problem("unsupported-tokenizer", "normalizer", "%.40q is not supported; supported are NFC, NFD, NFKC, NFKD, Lowercase, Strip, Prepend, Replace of a string and Sequence", n.Type)
}

func (n *normalizer) strip(s string) string {
	if n.Left {
		s = strings.TrimLeftFunc(s, unicode.IsSpace)
	}
	if n.Right {
		s = strings.TrimRightFunc(s, unicode.IsSpace)
	}
	return s
}

func (n *normalizer) sequence(prepend bool) (func(string) string, error) {
	var all []func(string) string
	for i := range n.Normalizers {
		f, err := n.Normalizers[i].build(prepend)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return func(s string) string {
		for _, f := range all {
			s = f(s)
		}
		return s
	}, nil
}
