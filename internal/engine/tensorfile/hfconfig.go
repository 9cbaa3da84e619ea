package tensorfile

import (
	"encoding/json"
	"math"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
)

// hfConfig is what a config.json says, of all families.
type hfConfig struct {
	Architectures     []string        `json:"architectures"`
	ModelType         string          `json:"model_type"`
	HiddenSize        int             `json:"hidden_size"`
	IntermediateSize  int             `json:"intermediate_size"`
	Layers            int             `json:"num_hidden_layers"`
	Heads             int             `json:"num_attention_heads"`
	KVHeads           *int            `json:"num_key_value_heads"`
	HeadDim           *int            `json:"head_dim"`
	Vocab             int             `json:"vocab_size"`
	MaxPositions      *int            `json:"max_position_embeddings"`
	NormEps           *float64        `json:"rms_norm_eps"`
	RopeTheta         *float64        `json:"rope_theta"`
	RopeScaling       *hfRope         `json:"rope_scaling"`
	RopeParameters    json.RawMessage `json:"rope_parameters"` // transformers 5: hfRope, or one per kind of layer
	Tied              *bool           `json:"tie_word_embeddings"`
	AttentionBias     bool            `json:"attention_bias"`
	MLPBias           bool            `json:"mlp_bias"`
	HiddenAct         string          `json:"hidden_act"`
	HiddenActivation  string          `json:"hidden_activation"` // Gemma
	PartialRotary     *float64        `json:"partial_rotary_factor"`
	BOS               tokenIDs        `json:"bos_token_id"`
	EOS               tokenIDs        `json:"eos_token_id"`
	QuantizationModel any             `json:"quantization_config"`

	// Windows and rotations by layer.
	SlidingWindow    json.RawMessage `json:"sliding_window"`     // absent is the class's default, null is none
	UseSlidingWindow bool            `json:"use_sliding_window"` // Qwen, SmolLM3
	MaxWindowLayers  *int            `json:"max_window_layers"`  // Qwen: those from here on are windowed
	SlidingPattern   *int            `json:"sliding_window_pattern"`
	LayerTypes       []string        `json:"layer_types"`
	LocalTheta       *float64        `json:"rope_local_base_freq"` // Gemma, before transformers 5
	Rotated          []int           `json:"no_rope_layers"`       // SmolLM3: 0 marks a layer without rotation
	UnrotatedEvery   *int            `json:"no_rope_layer_interval"`

	// Scales, and what no family here may have.
	QueryScalar   *float64 `json:"query_pre_attn_scalar"`
	FinalSoftcap  *float64 `json:"final_logit_softcapping"`
	ScoreSoftcap  *float64 `json:"attn_logit_softcapping"`
	Bidirectional *bool    `json:"use_bidirectional_attention"`
	Vision        any      `json:"vision_config"`
	Experts       *int     `json:"num_experts"`
	LocalExperts  *int     `json:"num_local_experts"`
}

type hfRope struct {
	RopeType string   `json:"rope_type"`
	Type     string   `json:"type"`
	Theta    *float64 `json:"rope_theta"`
	Factor   float64  `json:"factor"`
	Low      float64  `json:"low_freq_factor"`
	High     float64  `json:"high_freq_factor"`
	Original int      `json:"original_max_position_embeddings"`
	Partial  *float64 `json:"partial_rotary_factor"`
}

const configFile = "config.json"

// read turns config.json into a configuration, or says what is not supported.
func (h *hfConfig) read() (engine.Config, error) {
	f, err := h.family()
	if err != nil {
		return engine.Config{}, err
	}
	if err := h.refuse(f); err != nil {
		return engine.Config{}, err
	}
	c := engine.Config{
		Family: f.Name, Layers: h.Layers, Hidden: h.HiddenSize, Inter: h.IntermediateSize, Heads: h.Heads,
		KVHeads: orElse(h.KVHeads, h.Heads), Vocab: h.Vocab, MaxPositions: orElse(h.MaxPositions, f.maxPositions),
		NormEps: orElse(h.NormEps, 1e-6), Tied: orElse(h.Tied, f.tied), BOS: -1, EOS: h.EOS,
	}
	if h.KVHeads == nil && f.kvHeads > 0 {
		c.KVHeads = f.kvHeads
	}
	c.HeadDim = h.HiddenSize / max(h.Heads, 1)
	if f.headDim > 0 {
		c.HeadDim = f.headDim
	}
	c.HeadDim = orElse(h.HeadDim, c.HeadDim)
	if len(h.BOS) > 0 {
		c.BOS = h.BOS[0]
	}
	if c.Layers < 0 || c.Layers > 1<<20 {
		return c, problem("bad-config", configFile, "number of layers", "is %d", c.Layers)
	}
	if err := h.rotations(&c, f); err != nil {
		return c, err
	}
	return c, h.variations(&c, f)
}

// family finds the family that the configuration names.
func (h *hfConfig) family() (*Family, error) {
	arch := h.ModelType
	f := familyWhere(func(f *Family) []string { return f.ModelTypes }, arch)
	if len(h.Architectures) > 0 {
		arch = h.Architectures[0]
		f = familyWhere(func(f *Family) []string { return f.Architectures }, arch)
	}
	if f == nil {
		return nil, unsupported(configFile, arch)
	}
	return f, nil
}

// refuse names what this engine would silently compute otherwise.
func (h *hfConfig) refuse(f *Family) error {
	act, want := orElse(nonEmpty(h.HiddenAct), "silu"), "silu"
	if f.Name == "gemma3" {
		act, want = orElse(nonEmpty(h.HiddenActivation), "gelu_pytorch_tanh"), "gelu_pytorch_tanh"
	}
	refused := func(rule, key, why string) error { return problem(rule, configFile, key, "%s", why) }
	set := func(v *float64) bool { return v != nil && *v != 0 }
	switch {
	case h.AttentionBias:
		return refused("unsupported-bias", "attention_bias", "linear layers with a bias are supported in Qwen2 only")
	case h.MLPBias:
		return refused("unsupported-bias", "mlp_bias", "linear layers with a bias are supported in Qwen2 only")
	case act != want:
		return problem("unsupported-activation", configFile, "hidden_act", "%.40q is not supported; supported is %s", act, want)
	case h.QuantizationModel != nil:
		return refused("unsupported-dtype", "quantization_config", "quantised safetensors are not supported; import the unquantised model or a GGUF file")
	case h.PartialRotary != nil && *h.PartialRotary != 1:
		return refused("unsupported-rope", "partial_rotary_factor", "partial rotary embeddings are not supported")
	case set(h.FinalSoftcap):
		return refused("unsupported-softcap", "final_logit_softcapping", "soft caps of logits are not supported")
	case set(h.ScoreSoftcap):
		return refused("unsupported-softcap", "attn_logit_softcapping", "soft caps of attention scores are not supported")
	case orElse(h.Bidirectional, false):
		return refused("unsupported-attention", "use_bidirectional_attention", "only causal attention is supported")
	case h.Vision != nil:
		return refused("unsupported-architecture", "vision_config", "parts for images are not supported; the text model alone is")
	case orElse(h.Experts, 0) > 0 || orElse(h.LocalExperts, 0) > 0:
		return refused("unsupported-architecture", "num_experts", "a mixture of experts is not supported")
	}
	return nil
}

// rotations reads the RoPE bases and scaling, in the forms of transformers 4 and 5.
func (h *hfConfig) rotations(c *engine.Config, f *Family) error {
	rope, local := h.RopeScaling, (*hfRope)(nil)
	if rope == nil && len(h.RopeParameters) > 0 {
		var byKind struct {
			Full  *hfRope `json:"full_attention"`
			Local *hfRope `json:"sliding_attention"`
		}
		if json.Unmarshal(h.RopeParameters, &rope) != nil || json.Unmarshal(h.RopeParameters, &byKind) != nil {
			return problem("bad-config", configFile, "rope_parameters", "is malformed")
		}
		if byKind.Full != nil {
			rope, local = byKind.Full, byKind.Local
		}
	}
	c.RopeTheta = f.theta
	if rope != nil && rope.Theta != nil {
		c.RopeTheta = *rope.Theta
	}
	c.RopeTheta = orElse(h.RopeTheta, c.RopeTheta)
	if f.Name == "gemma3" {
		c.LocalTheta = orElse(h.LocalTheta, 10000)
		if local != nil {
			c.LocalTheta = orElse(local.Theta, c.LocalTheta)
		}
	}
	if local != nil {
		if s, err := local.scaling(c.MaxPositions); err != nil || s != nil {
			return problem("unsupported-rope", configFile, "rope_parameters", "scaling of windowed layers is not supported")
		}
	}
	var err error
	c.RopeScaling, err = rope.scaling(c.MaxPositions)
	return err
}

// variations sets what the family adds to Llama's block.
func (h *hfConfig) variations(c *engine.Config, f *Family) error {
	window, err := h.window(f.window)
	if err != nil {
		return err
	}
	var local func(layer int) bool
	switch c.Family {
	case "llama":
		return nil
	case "mistral":
		if window > 0 {
			windowed(c, window, nil)
		}
		return nil
	case "qwen2", "qwen3":
		if c.Family == "qwen2" {
			c.Biases = []string{"q_proj", "k_proj", "v_proj"}
		}
		c.QKNorm = c.Family == "qwen3"
		from := orElse(h.MaxWindowLayers, 28)
		local = func(l int) bool { return h.UseSlidingWindow && window > 0 && l >= from }
	case "gemma3":
		c.QKNorm, c.PostNorms, c.Activation = true, true, engine.ActivationGELU
		c.EmbedScale = math.Sqrt(float64(c.Hidden))
		c.QueryScale = 1 / math.Sqrt(orElse(h.QueryScalar, 256))
		every := max(orElse(h.SlidingPattern, 6), 1)
		local = func(l int) bool { return (l+1)%every != 0 }
	case "smollm3":
		local = func(int) bool { return false }
		if h.UseSlidingWindow && window > 0 {
			local = func(l int) bool { return !h.rotated(l) }
		}
	}
	if err := h.layerTypes(c, &local); err != nil {
		return err
	}
	windowed(c, window, local)
	if c.Family == "smollm3" {
		return h.unrotated(c)
	}
	return nil
}

// window reads sliding_window: 0 is none.
func (h *hfConfig) window(fallback int) (n int, err error) {
	if len(h.SlidingWindow) == 0 {
		return fallback, nil
	}
	if json.Unmarshal(h.SlidingWindow, &n) != nil || n < 0 {
		return 0, problem("bad-config", configFile, "sliding_window", "must be a number of tokens or null")
	}
	return n, nil
}

// layerTypes lets an explicit list of the layers' attention win over rules.
func (h *hfConfig) layerTypes(c *engine.Config, local *func(int) bool) error {
	if len(h.LayerTypes) == 0 {
		return nil
	}
	if len(h.LayerTypes) != c.Layers {
		return problem("bad-config", configFile, "layer_types", "describes %d layers, the model has %d", len(h.LayerTypes), c.Layers)
	}
	for _, kind := range h.LayerTypes {
		if kind != "full_attention" && kind != "sliding_attention" {
			return problem("unsupported-attention", configFile, "layer_types", "%.40q is not supported; supported are full_attention and sliding_attention", kind)
		}
	}
	off := c.Family != "gemma3" && !h.UseSlidingWindow // the class drops the window then
	*local = func(l int) bool { return !off && h.LayerTypes[l] == "sliding_attention" }
	return nil
}

// rotated says whether a layer of SmolLM3 rotates.
func (h *hfConfig) rotated(layer int) bool {
	if len(h.Rotated) > 0 {
		return h.Rotated[min(layer, len(h.Rotated)-1)] != 0
	}
	return (layer+1)%max(orElse(h.UnrotatedEvery, 4), 1) != 0
}

// unrotated marks the layers of SmolLM3 that do not rotate.
func (h *hfConfig) unrotated(c *engine.Config) error {
	if n := len(h.Rotated); n > 0 && n < c.Layers {
		return problem("bad-config", configFile, "no_rope_layers", "describes %d layers, the model has %d", n, c.Layers)
	}
	kinds := []byte(c.LayerKinds)
	if len(kinds) == 0 {
		kinds = []byte(strings.Repeat(string(rune(engine.KindGlobal)), c.Layers))
	}
	for l := range kinds {
		if h.rotated(l) {
			continue
		}
		if kinds[l] == engine.KindLocal {
			kinds[l] = engine.KindLocalUnrotated
		} else {
			kinds[l] = engine.KindUnrotated
		}
	}
	if slices.ContainsFunc(kinds, func(k byte) bool { return k != engine.KindGlobal }) {
		c.LayerKinds = string(kinds)
	}
	return nil
}

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
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
	if r.Partial != nil && *r.Partial != 1 {
		return nil, problem("unsupported-rope", configFile, "partial_rotary_factor", "partial rotary embeddings are not supported")
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
	return nil, problem("unsupported-rope", configFile, "rope_scaling", "type %.40q is not supported; supported are llama3 and linear", kind)
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

// hfParts names the modules of a block, by prepared name.
var hfParts = map[string]string{
	"q_proj": "self_attn.q_proj", "k_proj": "self_attn.k_proj", "v_proj": "self_attn.v_proj", "o_proj": "self_attn.o_proj",
	"gate_proj": "mlp.gate_proj", "up_proj": "mlp.up_proj", "down_proj": "mlp.down_proj",
	"q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm",
	"attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm",
}

// hfPostNormParts is where families with norms behind attention and MLP differ.
var hfPostNormParts = map[string]string{
	"attn_post_norm": "post_attention_layernorm", "mlp_norm": "pre_feedforward_layernorm", "mlp_post_norm": "post_feedforward_layernorm",
}

// hfName translates a prepared tensor name.
func hfName(c *engine.Config, name string) string {
	switch name {
	case "embed":
		return "model.embed_tokens.weight"
	case "head":
		return "lm_head.weight"
	case "norm":
		return "model.norm.weight"
	}
	i, kind := strings.LastIndexByte(name, '.'), ".weight"
	part, bias := strings.CutSuffix(name[i+1:], "_bias")
	if bias {
		kind = ".bias"
	}
	module, ok := hfPostNormParts[part]
	if !ok || !c.PostNorms {
		module = hfParts[part]
	}
	return "model." + name[:i+1] + module + kind
}
