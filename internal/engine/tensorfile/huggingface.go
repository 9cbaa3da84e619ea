package tensorfile

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
)

// hfConfig is what a Llama-family config.json says.
type hfConfig struct {
	Architectures     []string `json:"architectures"`
	ModelType         string   `json:"model_type"`
	HiddenSize        int      `json:"hidden_size"`
	IntermediateSize  int      `json:"intermediate_size"`
	Layers            int      `json:"num_hidden_layers"`
	Heads             int      `json:"num_attention_heads"`
	KVHeads           *int     `json:"num_key_value_heads"`
	HeadDim           *int     `json:"head_dim"`
	Vocab             int      `json:"vocab_size"`
	MaxPositions      *int     `json:"max_position_embeddings"`
	NormEps           *float64 `json:"rms_norm_eps"`
	RopeTheta         *float64 `json:"rope_theta"`
	RopeScaling       *hfRope  `json:"rope_scaling"`
	RopeParameters    *hfRope  `json:"rope_parameters"` // transformers 5
	Tied              bool     `json:"tie_word_embeddings"`
	AttentionBias     bool     `json:"attention_bias"`
	MLPBias           bool     `json:"mlp_bias"`
	HiddenAct         string   `json:"hidden_act"`
	PretrainingTP     int      `json:"pretraining_tp"`
	PartialRotary     *float64 `json:"partial_rotary_factor"`
	BOS               tokenIDs `json:"bos_token_id"`
	EOS               tokenIDs `json:"eos_token_id"`
	QuantizationModel any      `json:"quantization_config"`
}

type hfRope struct {
	RopeType string   `json:"rope_type"`
	Type     string   `json:"type"`
	Theta    *float64 `json:"rope_theta"`
	Factor   float64  `json:"factor"`
	Low      float64  `json:"low_freq_factor"`
	High     float64  `json:"high_freq_factor"`
	Original int      `json:"original_max_position_embeddings"`
}

// tokenIDs reads an id, a list of ids or null.
type tokenIDs []int32

func (t *tokenIDs) UnmarshalJSON(b []byte) error {
	var one *int32
	if json.Unmarshal(b, &one) == nil {
		if one != nil {
			*t = tokenIDs{*one}
		}
		return nil
	}
	return json.Unmarshal(b, (*[]int32)(t))
}

// SupportedArchitectures are the values of config.json's architectures and of
// GGUF's general.architecture that can be imported.
var SupportedArchitectures = []string{"LlamaForCausalLM", "llama (GGUF)"}

func unsupported(object, got string) error {
	return problem("unsupported-architecture", object, "", "architecture %.60q is not supported; supported are %s", got, strings.Join(SupportedArchitectures, ", "))
}

func openHuggingFace(s *Source) (*checkpoint, error) {
	const object = "config.json"
	var h hfConfig
	if err := json.Unmarshal(s.files[object], &h); err != nil {
		return nil, problem("bad-config", object, "", "is not valid JSON of a model configuration")
	}
	config, err := h.engineConfig()
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

func (h *hfConfig) engineConfig() (engine.Config, error) {
	const object = "config.json"
	arch := h.ModelType
	if len(h.Architectures) > 0 {
		arch = h.Architectures[0]
	}
	switch {
	case arch != "LlamaForCausalLM" && !(len(h.Architectures) == 0 && arch == "llama"):
		return engine.Config{}, unsupported(object, arch)
	case h.AttentionBias || h.MLPBias:
		return engine.Config{}, problem("unsupported-bias", object, "attention_bias", "linear layers with a bias are not supported")
	case h.HiddenAct != "" && h.HiddenAct != "silu":
		return engine.Config{}, problem("unsupported-activation", object, "hidden_act", "%.40q is not supported; supported is silu", h.HiddenAct)
	case h.QuantizationModel != nil:
		return engine.Config{}, problem("unsupported-dtype", object, "quantization_config", "quantised safetensors are not supported; import the unquantised model or a GGUF file")
	case h.PartialRotary != nil && *h.PartialRotary != 1:
		return engine.Config{}, problem("unsupported-rope", object, "partial_rotary_factor", "partial rotary embeddings are not supported")
	}
	c := engine.Config{
		Family: "llama", Layers: h.Layers, Hidden: h.HiddenSize, Inter: h.IntermediateSize, Heads: h.Heads,
		KVHeads: orElse(h.KVHeads, h.Heads), Vocab: h.Vocab, MaxPositions: orElse(h.MaxPositions, 2048),
		NormEps: orElse(h.NormEps, 1e-6), RopeTheta: orElse(h.RopeTheta, 10000), Tied: h.Tied, BOS: -1, EOS: h.EOS,
	}
	c.HeadDim = orElse(h.HeadDim, h.HiddenSize/max(h.Heads, 1))
	if len(h.BOS) > 0 {
		c.BOS = h.BOS[0]
	}
	rope := h.RopeScaling
	if rope == nil {
		rope = h.RopeParameters
	}
	if h.RopeTheta == nil && rope != nil && rope.Theta != nil {
		c.RopeTheta = *rope.Theta
	}
	var err error
	c.RopeScaling, err = rope.scaling(c.MaxPositions)
	return c, err
}

func orElse[T any](p *T, fallback T) T {
	if p != nil {
		return *p
	}
	return fallback
}

func (r *hfRope) scaling(maxPositions int) (*engine.RopeScaling, error) {
	if r == nil {
		return nil, nil
	}
	kind := r.RopeType
	if kind == "" {
		kind = r.Type
	}
	switch kind {
	case "", "default":
		return nil, nil
	case "linear":
		return &engine.RopeScaling{Type: "linear", Factor: r.Factor}, nil
	case "llama3":
		if r.Original == 0 {
			r.Original = maxPositions
		}
		return &engine.RopeScaling{Type: "llama3", Factor: r.Factor, LowFreqFactor: r.Low, HighFreqFactor: r.High, OriginalMaxPos: r.Original}, nil
	}
	return nil, problem("unsupported-rope", "config.json", "rope_scaling", "type %.40q is not supported; supported are llama3 and linear", kind)
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

var hfLinear = map[string]string{
	"q_proj": "self_attn.q_proj", "k_proj": "self_attn.k_proj", "v_proj": "self_attn.v_proj", "o_proj": "self_attn.o_proj",
	"gate_proj": "mlp.gate_proj", "up_proj": "mlp.up_proj", "down_proj": "mlp.down_proj",
	"attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm",
}

// hfName translates a prepared tensor name.
func hfName(name string) string {
	switch name {
	case "embed":
		return "model.embed_tokens.weight"
	case "head":
		return "lm_head.weight"
	case "norm":
		return "model.norm.weight"
	}
	i := strings.LastIndexByte(name, '.')
	return "model." + name[:i+1] + hfLinear[name[i+1:]] + ".weight"
}

func (c *checkpoint) bindHuggingFace(tensors map[string]Tensor) error {
	for name, t := range tensors {
		if strings.HasSuffix(name, ".bias") {
			return problem("unsupported-bias", c.object, name, "linear layers with a bias are not supported")
		}
		if strings.HasSuffix(name, ".weight") && floatDecoders[t.DType] == nil {
			return problem("unsupported-dtype", c.object, name, "dtype %s is not supported; supported are F32, F16 and BF16", t.DType)
		}
	}
	if _, head := tensors["lm_head.weight"]; !head && !c.config.Tied {
		return problem("missing-tensor", c.object, "lm_head.weight", "the configuration is untied, the model has no output head")
	}
	c.weight = func(name string) (weight, bool) {
		stored := hfName(name)
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
		return weight{stored: stored, shape: t.Shape, row: func(dst []float32, i int) { decode(dst, t.Data[i*k*size:]) }}, true
	}
	return nil
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
