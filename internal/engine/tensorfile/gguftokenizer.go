package tensorfile

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
)

// Token types of tokenizer.ggml.token_type.
const (
	ggufNormal      = 1
	ggufControl     = 3
	ggufUserDefined = 4
)

// Split patterns of pre-tokenisers, as their tokenizer.json files have them.
const (
	splitLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	splitQwen2  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

type object = map[string]any

// byteLevel is the ByteLevel pre-tokeniser, with GPT-2's pattern or without.
func byteLevel(regex bool) object {
	return object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex}
}

func splitThen(pattern string) object {
	return object{"type": "Sequence", "pretokenizers": []object{
		{"type": "Split", "pattern": object{"Regex": pattern}, "behavior": "Isolated", "invert": false}, byteLevel(false)}}
}

// ggufPre maps tokenizer.ggml.pre to a pre-tokeniser, and says whether whole
// words in the vocabulary skip the merges.
var ggufPre = map[string]struct {
	pre          object
	ignoreMerges bool
	nfc          bool
}{
	"gpt-2":     {pre: byteLevel(true)},
	"default":   {pre: byteLevel(true)},
	"smollm":    {pre: object{"type": "Sequence", "pretokenizers": []object{{"type": "Digits", "individual_digits": true}, byteLevel(true)}}},
	"llama-bpe": {pre: splitThen(splitLlama3), ignoreMerges: true},
	"smaug-bpe": {pre: splitThen(splitLlama3)}, // SmolLM3
	"qwen2":     {pre: splitThen(splitQwen2), nfc: true},
}

// ggufTokenizer rebuilds a tokenizer.json from the file's metadata.
func ggufTokenizer(m *metadata, c *engine.Config) ([]byte, error) {
	kind := m.text("tokenizer.ggml.model")
	if kind == "" {
		return nil, problem("missing-tokenizer", "", "tokenizer.ggml.model", "the file carries no tokeniser")
	}
	if kind == "llama" {
		return piecesGGUF(m, c)
	}
	if kind != "gpt2" {
		return nil, problem("unsupported-tokenizer", "", "tokenizer.ggml.model", "%.40q is not supported; supported are gpt2 (byte-level BPE) and llama (SentencePiece BPE)", kind)
	}
	name := m.text("tokenizer.ggml.pre")
	pre, ok := ggufPre[name]
	if !ok {
		known := []string{}
		for k := range ggufPre {
			known = append(known, k)
		}
		slices.Sort(known)
		return nil, problem("unsupported-tokenizer", "", "tokenizer.ggml.pre", "pre-tokeniser %.40q is not supported; supported are %s", name, strings.Join(known, ", "))
	}
	tokens, _ := m.g.Meta["tokenizer.ggml.tokens"].([]string)
	merges, _ := m.g.Meta["tokenizer.ggml.merges"].([]string)
	types, _ := m.g.Meta["tokenizer.ggml.token_type"].([]int64)
	if len(tokens) == 0 || len(merges) == 0 {
		return nil, problem("missing-tokenizer", "", "tokenizer.ggml.tokens", "the file carries no vocabulary or no merges")
	}
	if len(tokens) > c.Vocab || len(types) != 0 && len(types) != len(tokens) {
		return nil, problem("bad-tokenizer", "", "tokenizer.ggml.tokens", "%d tokens with %d types for an embedding of %d rows", len(tokens), len(types), c.Vocab)
	}
	t := object{
		"version": "1.0", "truncation": nil, "padding": nil, "normalizer": nil, "pre_tokenizer": pre.pre,
		"decoder": object{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
	}
	if pre.nfc {
		t["normalizer"] = object{"type": "NFC"}
	}
	t["added_tokens"], t["model"] = ggufVocabulary(tokens, merges, types, pre.ignoreMerges)
	t["post_processor"] = ggufPostProcessor(m, specialText(m, tokens, "bos"), c.BOS)
	return packGGUF(m, c, tokens, t)
}

// specialText is the text of a special token, "" without one.
func specialText(m *metadata, tokens []string, key string) string {
	if id := m.integer("tokenizer.ggml."+key+"_token_id", 1<<30); id >= 0 && id < len(tokens) {
		return tokens[id]
	}
	return ""
}

func packGGUF(m *metadata, c *engine.Config, tokens []string, t object) ([]byte, error) {
	raw, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	return packTokenizer(TokenizerBlob{Tokenizer: raw, BOSToken: specialText(m, tokens, "bos"), EOSToken: specialText(m, tokens, "eos"),
		UNKToken: specialText(m, tokens, "unknown"), PADToken: specialText(m, tokens, "padding"), BOS: c.BOS, EOS: c.EOS, Vocab: c.Vocab})
}

func ggufVocabulary(tokens, merges []string, types []int64, ignoreMerges bool) (added []object, model object) {
	vocab := make(map[string]int, len(tokens))
	added = []object{}
	for id, text := range tokens {
		kind := int64(ggufNormal)
		if types != nil {
			kind = types[id]
		}
		if kind == ggufControl || kind == ggufUserDefined {
			added = append(added, object{"id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
				"normalized": false, "special": kind == ggufControl})
		}
		if _, twice := vocab[text]; !twice {
			vocab[text] = id
		}
	}
	return added, object{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
		"fuse_unk": false, "byte_fallback": false, "ignore_merges": ignoreMerges, "vocab": vocab, "merges": merges}
}

// ggufPostProcessor adds the beginning-of-sequence token where the file asks
// for it.
func ggufPostProcessor(m *metadata, bos string, id int32) object {
	plain := object{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}
	if add, _ := m.g.Meta["tokenizer.ggml.add_bos_token"].(bool); !add || bos == "" {
		return plain
	}
	return object{"type": "Sequence", "processors": []object{plain, beforeText(bos, id)}}
}

// beforeText puts a special token before a text.
func beforeText(text string, id int32) object {
	return object{
		"type":           "TemplateProcessing",
		"single":         []object{{"SpecialToken": object{"id": text, "type_id": 0}}, {"Sequence": object{"id": "A", "type_id": 0}}},
		"pair":           []object{},
		"special_tokens": object{text: object{"id": text, "ids": []int32{id}, "tokens": []string{text}}},
	}
}
