package tensorfile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
)

func openHuggingFace(s *Source) (*checkpoint, error) {
	const object = "config.json"
	var h hfConfig
	if err := json.Unmarshal(s.files[object], &h); err != nil {
		return nil, problem("bad-config", object, "", "is not valid JSON of a model configuration")
	}
	config, err := h.read()
	if err != nil {
		return nil, err
	}
	if len(s.withSuffix(".safetensors")) == 0 {
		if err := s.pickle(); err != nil {
			return nil, err
		}
		return nil, problem("missing-file", "model.safetensors", "", "the source has no safetensors file")
	}
	c := &checkpoint{config: config, object: "model.safetensors"}
	if err := c.readTokenizer(s, h); err != nil {
		return nil, err
	}
	if err := checkConfig(&c.config, object); err != nil {
		return nil, err
	}
	tensors, err := s.safetensors()
	if err != nil {
		return nil, err
	}
	return c, c.bindHuggingFace(tensors)
}

// safetensors merges the shards, checked against the index when there is one.
func (s *Source) safetensors() (map[string]Tensor, error) {
	files := s.withSuffix(".safetensors")
	if index, ok := s.files["model.safetensors.index.json"]; ok {
		var x struct {
			Map map[string]string `json:"weight_map"`
		}
		if json.Unmarshal(index, &x) != nil || len(x.Map) == 0 {
			return nil, problem("bad-index", "model.safetensors.index.json", "", "has no weight_map")
		}
		seen := map[string]bool{}
		for _, file := range x.Map {
			seen[file] = true
		}
		files = files[:0]
		for file := range seen {
			if s.files[file] == nil {
				return nil, problem("missing-file", file, "", "the index names this shard, the source does not have it")
			}
			files = append(files, file)
		}
		slices.Sort(files)
	} else if s.files["model.safetensors"] != nil {
		files = []string{"model.safetensors"}
	}
	all := map[string]Tensor{}
	for _, file := range files {
		tensors, _, err := ReadSafetensors(s.files[file])
		if err != nil {
			return nil, inObject(err, file)
		}
		for _, t := range tensors {
			if _, twice := all[t.Name]; twice {
				return nil, problem("duplicate-tensor", file, t.Name, "another shard has this tensor too")
			}
			all[t.Name] = t
		}
	}
	return all, nil
}

func inObject(err error, object string) error {
	if p, ok := err.(*engine.Problem); ok && p.Object == "" {
		p.Object = object
	}
	return err
}

func (c *checkpoint) bindHuggingFace(tensors map[string]Tensor) error {
	for name, t := range tensors {
		if strings.HasSuffix(name, ".bias") && !c.hasBias(name) {
			return problem("unsupported-bias", c.object, name, "this bias is not part of the family %s", c.config.Family)
		}
		if strings.HasSuffix(name, ".weight") && floatDecoders[t.DType] == nil {
			return problem("unsupported-dtype", c.object, name, "dtype %s is not supported; supported are F32, F16 and BF16", t.DType)
		}
	}
	if _, head := tensors["lm_head.weight"]; !head && !c.config.Tied {
		return problem("missing-tensor", c.object, "lm_head.weight", "the configuration is untied, the model has no output head")
	}
	c.weight = func(name string) (weight, bool) {
		stored := hfName(&c.config, name)
		t, ok := tensors[stored]
		if !ok {
			return weight{stored: stored}, false
		}
		width := t.Shape
		k := t.Len()
		if len(width) > 1 {
			k = width[len(width)-1]
		}
		decode, size := floatDecoders[t.DType], dtypeSize[t.DType]
		row := func(dst []float32, i int) { decode(dst, t.Data[i*k*size:]) }
		if c.config.Family == "gemma3" && strings.HasSuffix(name, "norm") {
			row = func(dst []float32, _ int) { // stored is the factor less one
				decode(dst, t.Data)
				for j := range dst {
					dst[j]++
				}
			}
		}
		w := weight{stored: stored, shape: t.Shape, row: row}
		if half, ok := halfTypes[t.DType]; ok {
			w.coding, w.codes = half.coding, func(r *codedRow, i int) { r.read(&half, t.Data[i*k*size:]) }
		}
		return w, true
	}
	return nil
}

// hasBias says that a stored bias belongs to the family.
func (c *checkpoint) hasBias(stored string) bool {
	return slices.ContainsFunc(c.config.Biases, func(target string) bool { return strings.HasSuffix(stored, "."+target+".bias") })
}

// readTokenizer collects tokenizer.json, special tokens and the chat template.
func (c *checkpoint) readTokenizer(s *Source, h hfConfig) error {
	raw, ok := s.files["tokenizer.json"]
	if !ok {
		return problem("missing-tokenizer", "tokenizer.json", "", "the model has no tokenizer.json; save it with a fast tokenizer")
	}
	if !json.Valid(raw) {
		return problem("bad-tokenizer", "tokenizer.json", "", "is not valid JSON")
	}
	var g struct {
		EOS tokenIDs `json:"eos_token_id"`
	}
	if b, ok := s.files["generation_config.json"]; ok && json.Unmarshal(b, &g) != nil {
		return problem("bad-config", "generation_config.json", "", "is not valid JSON")
	}
	var t struct {
		BOS      tokenText       `json:"bos_token"`
		EOS      tokenText       `json:"eos_token"`
		UNK      tokenText       `json:"unk_token"`
		PAD      tokenText       `json:"pad_token"`
		Template json.RawMessage `json:"chat_template"`
	}
	if b, ok := s.files["tokenizer_config.json"]; ok && json.Unmarshal(b, &t) != nil {
		return problem("bad-config", "tokenizer_config.json", "", "is not valid JSON of a tokeniser configuration")
	}
	c.template = defaultTemplate(t.Template)
	if b, ok := s.files["chat_template.jinja"]; ok {
		c.template = string(b)
	} else if b, ok := s.files["chat_template.json"]; ok && c.template == "" {
		var x struct {
			Template json.RawMessage `json:"chat_template"`
		}
		if json.Unmarshal(b, &x) == nil {
			c.template = defaultTemplate(x.Template)
		}
	}
	for _, id := range g.EOS {
		if !slices.Contains(c.config.EOS, id) {
			c.config.EOS = append(c.config.EOS, id)
		}
	}
	ids := specialIDs(raw)
	if id, ok := ids[string(t.EOS)]; ok && !slices.Contains(c.config.EOS, id) {
		c.config.EOS = append(c.config.EOS, id)
	}
	if id, ok := ids[string(t.BOS)]; ok && c.config.BOS < 0 {
		c.config.BOS = id
	}
	var err error
	c.tokenizer, err = packTokenizer(TokenizerBlob{Tokenizer: raw, BOSToken: string(t.BOS), EOSToken: string(t.EOS),
		UNKToken: string(t.UNK), PADToken: string(t.PAD), BOS: c.config.BOS, EOS: c.config.EOS, Vocab: c.config.Vocab})
	return err
}

// tokenText reads "…" or {"content": "…"} or null.
type tokenText string

func (t *tokenText) UnmarshalJSON(b []byte) error {
	var object struct {
		Content string `json:"content"`
	}
	if json.Unmarshal(b, (*string)(t)) == nil {
		return nil
	}
	err := json.Unmarshal(b, &object)
	*t = tokenText(object.Content)
	return err
}

// defaultTemplate reads a template string or a list of named templates.
func defaultTemplate(raw json.RawMessage) string {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return one
	}
	var named []struct{ Name, Template string }
	if json.Unmarshal(raw, &named) == nil {
		for _, n := range named {
			if n.Name == "default" {
				return n.Template
			}
		}
	}
	return ""
}

// specialIDs maps the added tokens of a tokenizer.json to their ids.
func specialIDs(raw []byte) map[string]int32 {
	var t struct {
		Added []struct {
			ID      int32  `json:"id"`
			Content string `json:"content"`
		} `json:"added_tokens"`
	}
	ids := map[string]int32{}
	if json.Unmarshal(raw, &t) == nil {
		for _, a := range t.Added {
			ids[a.Content] = a.ID
		}
	}
	return ids
}

// packTokenizer embeds tokenizer.json into the blob as a JSON value.
func packTokenizer(b TokenizerBlob) ([]byte, error) {
	head, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("tokenizer blob: %w", err)
	}
	out := append(head[:len(head)-1], `,"tokenizer":`...)
	return append(append(out, b.Tokenizer...), '}'), nil
}
