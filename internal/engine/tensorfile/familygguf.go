package tensorfile

import (
	"encoding/json"
	"math"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
)

// metadata reads GGUF keys and remembers the first that is missing or of the
// wrong type.
type metadata struct {
	g       *GGUF
	arch    string // general.architecture
	missing string
}

func (m *metadata) integer(key string, fallback int) int {
	switch v := m.g.Meta[key].(type) {
	case uint64:
		return int(min(v, math.MaxInt32))
	case int64:
		return int(max(min(v, math.MaxInt32), -1))
	case nil:
		if fallback >= 0 {
			return fallback
		}
	}
	m.miss(key)
	return 0
}

func (m *metadata) number(key string, fallback float64) float64 {
	switch v := m.g.Meta[key].(type) {
	case float64:
		return v
	case nil:
		if fallback >= 0 {
			return fallback
		}
	}
	m.miss(key)
	return 0
}

func (m *metadata) text(key string) string {
	s, _ := m.g.Meta[key].(string)
	return s
}

// key is a key of the file's architecture.
func (m *metadata) key(name string) string { return m.arch + "." + name }

func (m *metadata) miss(key string) {
	if m.missing == "" {
		m.missing = key
	}
}

func openGGUF(object string, b []byte) (*checkpoint, error) {
	g, err := ReadGGUF(b)
	if err != nil {
		return nil, inObject(err, object)
	}
	m := &metadata{g: g}
	m.arch = m.text("general.architecture")
	f := familyWhere(func(f *Family) []string { return f.GGUF }, m.arch)
	if f == nil {
		return nil, unsupported(object, m.arch)
	}
	tensors := map[string]*GGUFTensor{}
	for i := range g.Tensors {
		t := &g.Tensors[i]
		if _, twice := tensors[t.Name]; twice {
			return nil, problem("duplicate-tensor", object, t.Name, "the file names this tensor twice")
		}
		tensors[t.Name] = t
	}
	c := &checkpoint{object: object, template: m.text("tokenizer.chat_template")}
	if err := c.configGGUF(m, f, tensors); err != nil {
		return nil, inObject(err, object)
	}
	if err := checkConfig(&c.config, object); err != nil {
		return nil, err
	}
	for name := range tensors {
		if strings.HasSuffix(name, ".bias") && !slices.ContainsFunc(c.config.Biases, func(t string) bool { return strings.HasSuffix(name, "."+ggufParts[t]+".bias") }) {
			return nil, problem("unsupported-bias", object, name, "this bias is not part of the family %s", f.Name)
		}
	}
	if c.tokenizer, err = ggufTokenizer(m, &c.config); err != nil {
		return nil, inObject(err, object)
	}
	c.weight = func(name string) (weight, bool) { return ggufWeight(&c.config, f, tensors, name) }
	return c, nil
}

func (c *checkpoint) configGGUF(m *metadata, f *Family, tensors map[string]*GGUFTensor) error {
	hidden, heads := m.integer(m.key("embedding_length"), -1), m.integer(m.key("attention.head_count"), -1)
	width := hidden / max(heads, 1)
	if f.headDim > 0 {
		width = f.headDim
	}
	c.config = engine.Config{
		Family: f.Name, Layers: m.integer(m.key("block_count"), -1), Hidden: hidden,
		Inter: m.integer(m.key("feed_forward_length"), -1), Heads: heads,
		KVHeads: m.integer(m.key("attention.head_count_kv"), heads), HeadDim: m.integer(m.key("attention.key_length"), width),
		MaxPositions: m.integer(m.key("context_length"), f.maxPositions), NormEps: m.number(m.key("attention.layer_norm_rms_epsilon"), -1),
		RopeTheta: m.number(m.key("rope.freq_base"), f.theta), BOS: int32(m.integer("tokenizer.ggml.bos_token_id", math.MaxInt32)),
	}
	c.config.NormEps, c.config.RopeTheta = shortest(c.config.NormEps), shortest(c.config.RopeTheta)
	if m.missing != "" {
		return problem("bad-config", "", m.missing, "is missing or of the wrong type")
	}
	if c.config.BOS == math.MaxInt32 {
		c.config.BOS = -1
	}
	for _, key := range []string{"eos", "eot", "eom"} {
		if id := m.integer("tokenizer.ggml."+key+"_token_id", math.MaxInt32); id != math.MaxInt32 {
			c.config.EOS = append(c.config.EOS, int32(id))
		}
	}
	if n := m.integer(m.key("expert_count"), 0); n > 0 {
		return unsupported("", m.arch+" with experts (Moe)")
	}
	for _, key := range []string{"final_logit_softcapping", "attn_logit_softcapping"} {
		if m.number(m.key(key), 0) != 0 {
			return problem("unsupported-softcap", "", m.key(key), "soft caps are not supported")
		}
	}
	if v := m.integer(m.key("attention.value_length"), c.config.HeadDim); v != c.config.HeadDim {
		return problem("bad-config", "", m.key("attention.value_length"), "is %d where the key length is %d", v, c.config.HeadDim)
	}
	if d := m.integer(m.key("rope.dimension_count"), c.config.HeadDim); d != c.config.HeadDim {
		return problem("unsupported-rope", "", m.key("rope.dimension_count"), "rotates %d of %d dimensions; partial rotary embeddings are not supported", d, c.config.HeadDim)
	}
	if t := tensors["token_embd.weight"]; t != nil && len(t.Shape) == 2 {
		c.config.Vocab = t.Shape[0]
	} else {
		return problem("missing-tensor", "", "token_embd.weight", "the model has no embedding matrix")
	}
	c.config.Tied = tensors["output.weight"] == nil
	if c.config.Layers > 1<<20 {
		return problem("bad-config", "", "number of layers", "is %d", c.config.Layers)
	}
	if err := c.variationsGGUF(m, tensors); err != nil {
		return err
	}
	return c.ropeGGUF(m, tensors["rope_freqs.weight"])
}

// variationsGGUF sets what the family adds to Llama's block. What the files do
// not say stands in llama.cpp's source.
func (c *checkpoint) variationsGGUF(m *metadata, tensors map[string]*GGUFTensor) error {
	cfg := &c.config
	window := m.integer(m.key("attention.sliding_window"), 0)
	switch cfg.Family {
	case "llama": // Mistral's files are of this architecture
		if window > 0 {
			windowed(cfg, window, nil)
		}
	case "qwen2":
		for _, target := range []string{"q_proj", "k_proj", "v_proj"} {
			if tensors["blk.0."+ggufParts[target]+".bias"] != nil {
				cfg.Biases = append(cfg.Biases, target)
			}
		}
	case "qwen3":
		cfg.QKNorm = true
	case "gemma3":
		cfg.QKNorm, cfg.PostNorms, cfg.Activation = true, true, engine.ActivationGELU
		cfg.EmbedScale, cfg.QueryScale = math.Sqrt(float64(cfg.Hidden)), 1/math.Sqrt(float64(cfg.HeadDim))
		if cfg.Layers == gemma27B {
			cfg.QueryScale = 1 / math.Sqrt(float64(cfg.Hidden)/float64(max(cfg.Heads, 1)))
		}
		cfg.LocalTheta = shortest(m.number(m.key("rope.freq_base_swa"), 10000))
		every := max(m.integer(m.key("attention.sliding_window_pattern"), 6), 1)
		windowed(cfg, window, func(l int) bool { return (l+1)%every != 0 })
	case "smollm3":
		kinds := []byte(strings.Repeat(string(rune(engine.KindGlobal)), max(cfg.Layers, 0)))
		for l := 3; l < len(kinds); l += 4 {
			kinds[l] = engine.KindUnrotated
		}
		cfg.LayerKinds = string(kinds)
	}
	if m.missing != "" {
		return problem("bad-config", "", m.missing, "is missing or of the wrong type")
	}
	return nil
}

// gemma27B is the number of layers by which the one Gemma 3 whose scores are
// scaled by another width than the head's is told apart.
const gemma27B = 62

// shortest turns a value that was stored as float32 into the decimal that was
// meant: 9.999999747378752e-06 is 1e-05.
func shortest(v float64) float64 {
	f := float32(v)
	if float64(f) != v {
		return v
	}
	b, _ := json.Marshal(f)
	_ = json.Unmarshal(b, &v)
	return v
}

// ropeGGUF reads the frequency scaling. Llama 3's is stored as a tensor of
// divisors per frequency; its parameters are recovered from it.
func (c *checkpoint) ropeGGUF(m *metadata, freqs *GGUFTensor) error {
	switch kind := m.text(m.key("rope.scaling.type")); kind {
	case "", "none":
	case "linear":
		c.config.RopeScaling = &engine.RopeScaling{Type: "linear", Factor: m.number(m.key("rope.scaling.factor"), 1)}
	default:
		return problem("unsupported-rope", "", m.key("rope.scaling.type"), "%.40q is not supported; supported are llama3 and linear", kind)
	}
	if freqs == nil {
		return nil
	}
	if len(freqs.Shape) != 1 || freqs.Shape[0] != c.config.HeadDim/2 || freqs.Type != "F32" {
		return problem("wrong-shape", "", freqs.Name, "its shape is %v; the configuration requires [%d] of F32", freqs.Shape, c.config.HeadDim/2)
	}
	stored := make([]float32, freqs.Shape[0])
	freqs.Float32(stored, 0)
	for _, factor := range []float64{8, 32, 4, 16, 2, 64} {
		for _, original := range []int{8192, 4096, 16384, 32768, 2048} {
			r := &engine.RopeScaling{Type: "llama3", Factor: factor, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPos: original}
			if matchesRope(r, c.config.RopeTheta, stored) {
				c.config.RopeScaling = r
				return nil
			}
		}
	}
	return problem("unsupported-rope", "", freqs.Name, "its divisors are not those of Llama 3's scaling")
}

// matchesRope compares stored divisors with those of r, freq i = theta^(-2i/d).
func matchesRope(r *engine.RopeScaling, theta float64, stored []float32) bool {
	for i, got := range stored {
		wavelength := 2 * math.Pi * math.Pow(theta, float64(i)/float64(len(stored)))
		old := float64(r.OriginalMaxPos)
		want := 1.0
		switch {
		case wavelength > old/r.LowFreqFactor:
			want = r.Factor
		case wavelength > old/r.HighFreqFactor:
			smooth := (old/wavelength - r.LowFreqFactor) / (r.HighFreqFactor - r.LowFreqFactor)
			want = 1 / ((1-smooth)/r.Factor + smooth)
		}
		if math.Abs(float64(got)-want) > 1e-4*want {
			return false
		}
	}
	return true
}

// ggufParts names the parts of a block, by prepared name.
var ggufParts = map[string]string{
	"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
	"gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
	"q_norm": "attn_q_norm", "k_norm": "attn_k_norm", "attn_norm": "attn_norm", "mlp_norm": "ffn_norm",
	"attn_post_norm": "post_attention_norm", "mlp_post_norm": "post_ffw_norm",
}

func ggufName(name string) string {
	switch name {
	case "embed":
		return "token_embd.weight"
	case "head":
		return "output.weight"
	case "norm":
		return "output_norm.weight"
	}
	parts := strings.Split(name, ".")
	if part, bias := strings.CutSuffix(parts[2], "_bias"); bias {
		return "blk." + parts[1] + "." + ggufParts[part] + ".bias"
	}
	return "blk." + parts[1] + "." + ggufParts[parts[2]] + ".weight"
}

// ggufWeight reads rows in the order of Hugging Face. Families that are rotated
// store q and k with the two halves of each head interleaved: stored row 2i+j of
// a head is row j*half+i. Norms are stored as the factor that they apply.
func ggufWeight(c *engine.Config, f *Family, tensors map[string]*GGUFTensor, name string) (weight, bool) {
	stored := ggufName(name)
	t := tensors[stored]
	if t == nil {
		return weight{stored: stored}, false
	}
	k := 1
	if len(t.Shape) > 0 {
		k = t.Shape[len(t.Shape)-1]
	}
	place := func(i int) int { return i }
	if f.rotated && (strings.HasSuffix(name, ".q_proj") || strings.HasSuffix(name, ".k_proj")) {
		half := c.HeadDim / 2
		place = func(i int) int {
			head, r := i/c.HeadDim, i%c.HeadDim
			return head*c.HeadDim + r%half*2 + r/half
		}
	}
	row := func(dst []float32, i int) { t.Float32(dst, place(i)*k) }
	codes := func(r *codedRow, i int) { r.read(&t.block, t.Data[place(i)*k/t.block.elements*t.block.size:]) }
	return weight{stored: stored, shape: t.Shape, row: row, coding: t.block.coding, codes: codes}, true
}
