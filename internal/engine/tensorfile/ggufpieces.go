package tensorfile

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/firekeep/firekeep/internal/engine"
)

// More token types of tokenizer.ggml.token_type.
const (
	ggufUnknown = 2
	ggufByte    = 6
)

// pieceMark stands for a space in the tokens of SentencePiece.
const pieceMark = "\u2581"

// maxPiece bounds the bytes of one token: merges are found by cutting it
// everywhere.
const maxPiece = 1024

// piecesGGUF rebuilds a tokenizer.json from a SentencePiece BPE vocabulary,
// whose tokens have scores instead of merges: two neighbours merge when the
// vocabulary has them joined, the best score first.
func piecesGGUF(m *metadata, c *engine.Config) ([]byte, error) {
	tokens, _ := m.g.Meta["tokenizer.ggml.tokens"].([]string)
	scores, _ := m.g.Meta["tokenizer.ggml.scores"].([]float64)
	types, _ := m.g.Meta["tokenizer.ggml.token_type"].([]int64)
	if len(tokens) == 0 || len(scores) == 0 || len(types) == 0 {
		return nil, problem("missing-tokenizer", "", "tokenizer.ggml.tokens", "the file carries no vocabulary, no scores or no token types")
	}
	if len(tokens) > c.Vocab || len(types) != len(tokens) || len(scores) != len(tokens) {
		return nil, problem("bad-tokenizer", "", "tokenizer.ggml.tokens", "%d tokens with %d types and %d scores for an embedding of %d rows", len(tokens), len(types), len(scores), c.Vocab)
	}
	tokens = slices.Clone(tokens)
	vocab, added, unknown, fallback := make(map[string]int, len(tokens)), []object{}, any(nil), 0
	for id, text := range tokens {
		if len(text) > maxPiece {
			return nil, problem("bad-tokenizer", "", "tokenizer.ggml.tokens", "token %d has %d bytes, at most %d are accepted", id, len(text), maxPiece)
		}
		if types[id] == ggufUserDefined && strings.Trim(text, " ") == "" { // llama.cpp's files spell these out
			text = strings.ReplaceAll(text, " ", pieceMark)
			tokens[id] = text
		}
		switch types[id] {
		case ggufControl, ggufUnknown, ggufUserDefined:
			added = append(added, object{"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
				"normalized": false, "special": types[id] != ggufUserDefined})
			if types[id] == ggufUnknown {
				unknown = text
			}
		case ggufByte:
			fallback++
		}
		if _, twice := vocab[text]; !twice {
			vocab[text] = id
		}
	}
	if unknown == nil && fallback < 256 {
		return nil, problem("bad-tokenizer", "", "tokenizer.ggml.token_type", "the vocabulary has neither an unknown token nor all 256 bytes")
	}
	prefix := flag(m, "tokenizer.ggml.add_space_prefix", true)
	normalizers := []object{{"type": "Replace", "pattern": object{"String": " "}, "content": pieceMark}}
	decoders := []object{{"type": "Replace", "pattern": object{"String": pieceMark}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}}
	if prefix {
		normalizers = append([]object{{"type": "Prepend", "prepend": pieceMark}}, normalizers...)
		decoders = append(decoders, object{"type": "Strip", "content": " ", "start": 1, "stop": 0})
	}
	t := object{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added, "pre_tokenizer": nil, "post_processor": nil,
		"normalizer": object{"type": "Sequence", "normalizers": normalizers}, "decoder": object{"type": "Sequence", "decoders": decoders},
		"model": object{"type": "BPE", "dropout": nil, "unk_token": unknown, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": true, "byte_fallback": fallback > 0, "ignore_merges": false, "vocab": vocab, "merges": mergesOf(tokens, scores, types, vocab)},
	}
	if bos := specialText(m, tokens, "bos"); bos != "" && flag(m, "tokenizer.ggml.add_bos_token", true) {
		t["post_processor"] = beforeText(bos, c.BOS)
	}
	return packGGUF(m, c, tokens, t)
}

func flag(m *metadata, key string, fallback bool) bool {
	if v, ok := m.g.Meta[key].(bool); ok {
		return v
	}
	return fallback
}

// mergesOf lists the merges that a vocabulary of scores means, in the order of
// the conversion that made the tokenizer.json files of these families: by score,
// then the longer left and the longer right half first, then as found.
func mergesOf(tokens []string, scores []float64, types []int64, vocab map[string]int) [][2]string {
	type cut struct {
		left, right int // ids
		whole       int
		ln, rn      int // characters
	}
	part := func(s string) (int, bool) {
		id, ok := vocab[s]
		return id, ok && (types[id] == ggufNormal || types[id] == ggufUserDefined)
	}
	var all []cut
	for id, text := range tokens {
		if types[id] != ggufNormal && types[id] != ggufUserDefined || vocab[text] != id {
			continue
		}
		from, chars := len(all), utf8.RuneCountInString(text)
		n := 0
		for at := range text {
			if at > 0 {
				if l, ok := part(text[:at]); ok {
					if r, ok := part(text[at:]); ok {
						all = append(all, cut{l, r, id, n, chars - n})
					}
				}
			}
			n++
		}
		slices.SortStableFunc(all[from:], func(a, b cut) int {
			if a.left != b.left {
				return a.left - b.left
			}
			return a.right - b.right
		})
	}
	slices.SortStableFunc(all, func(a, b cut) int {
		switch {
		case scores[a.whole] != scores[b.whole]:
			if scores[a.whole] > scores[b.whole] {
				return -1
			}
			return 1
		case a.ln != b.ln:
			return b.ln - a.ln
		}
		return b.rn - a.rn
	})
	merges := make([][2]string, len(all))
	for i, c := range all {
		merges[i] = [2]string{tokens[c.left], tokens[c.right]}
	}
	return merges
}
