package tensorfile

import (
	"encoding/json"
	"math"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
)

// metadata reads GGUF keys and remembers the first that is missing or of the
// wrong type.
type metadata struct {
	g       *GGUF
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
	if arch := m.text("general.architecture"); arch != "llama" {
		return nil, unsupported(object, arch)
	}
	tensors := map[string]*GGUFTensor{}
	for i := range g.Tensors {
		t := &g.Tensors[i]
		if _, twice := tensors[t.Name]; twice {
			return nil, problem("duplicate-tensor", object, t.Name, "the file names this tensor twice")
		}
		if strings.HasSuffix(t.Name, ".bias") {
			return nil, problem("unsupported-bias", object, t.Name, "linear layers with a bias are not supported")
		}
		tensors[t.Name] = t
	}
	c := &checkpoint{object: object, template: m.text("tokenizer.chat_template")}
	if err := c.configGGUF(m, tensors); err != nil {
		return nil, inObject(err, object)
	}
	if err := checkConfig(&c.config, object); err != nil {
		return nil, err
	}
	if c.tokenizer, err = ggufTokenizer(m, &c.config); err != nil {
		return nil, inObject(err, object)
	}
	c.weight = func(name string) (weight, bool) { return ggufWeight(&c.config, tensors, name) }
	return c, nil
}

func (c *checkpoint) configGGUF(m *metadata, tensors map[string]*GGUFTensor) error {
	hidden, heads := m.integer("llama.embedding_length", -1), m.integer("llama.attention.head_count", -1)
	c.config = engine.Config{
		Family: "llama", Layers: m.integer("llama.block_count", -1), Hidden: hidden,
		Inter: m.integer("llama.feed_forward_length", -1), Heads: heads,
		KVHeads: m.integer("llama.attention.head_count_kv", heads), HeadDim: m.integer("llama.attention.key_length", hidden/max(heads, 1)),
		MaxPositions: m.integer("llama.context_length", 2048), NormEps: m.number("llama.attention.layer_norm_rms_epsilon", -1),
		RopeTheta: m.number("llama.rope.freq_base", 10000), BOS: int32(m.integer("tokenizer.ggml.bos_token_id", math.MaxInt32)),
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
	if n := m.integer("llama.expert_count", 0); n > 0 {
		return unsupported("", "llama with experts")
	}
	if v := m.integer("llama.attention.value_length", c.config.HeadDim); v != c.config.HeadDim {
		return problem("bad-config", "", "llama.attention.value_length", "is %d where the key length is %d", v, c.config.HeadDim)
	}
	if d := m.integer("llama.rope.dimension_count", c.config.HeadDim); d != c.config.HeadDim {
		return problem("unsupported-rope", "", "llama.rope.dimension_count", "rotates %d of %d dimensions; partial rotary embeddings are not supported", d, c.config.HeadDim)
	}
	if t := tensors["token_embd.weight"]; t != nil && len(t.Shape) == 2 {
		c.config.Vocab = t.Shape[0]
	} else {
		return problem("missing-tensor", "", "token_embd.weight", "the model has no embedding matrix")
	}
	c.config.Tied = tensors["output.weight"] == nil
	return c.ropeGGUF(m, tensors["rope_freqs.weight"])
}

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
	switch kind := m.text("llama.rope.scaling.type"); kind {
	case "", "none":
	case "linear":
		c.config.RopeScaling = &engine.RopeScaling{Type: "linear", Factor: m.number("llama.rope.scaling.factor", 1)}
	default:
		return problem("unsupported-rope", "", "llama.rope.scaling.type", "%.40q is not supported; supported are llama3 and linear", kind)
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

var ggufLinear = map[string]string{
	"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
	"gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
	"attn_norm": "attn_norm", "mlp_norm": "ffn_norm",
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
	return "blk." + parts[1] + "." + ggufLinear[parts[2]] + ".weight"
}

// ggufWeight reads rows in the order of Hugging Face. The llama architecture
// stores q and k with the two halves of each head interleaved: stored row
// 2i+j of a head is row j*half+i.
func ggufWeight(c *engine.Config, tensors map[string]*GGUFTensor, name string) (weight, bool) {
	stored := ggufName(name)
	t := tensors[stored]
	if t == nil {
		return weight{stored: stored}, false
	}
	k := 1
	if len(t.Shape) > 0 {
		k = t.Shape[len(t.Shape)-1]
	}
	row := func(dst []float32, i int) { t.Float32(dst, i*k) }
	if strings.HasSuffix(name, ".q_proj") || strings.HasSuffix(name, ".k_proj") {
		plain, half := row, c.HeadDim/2
		row = func(dst []float32, i int) {
			head, r := i/c.HeadDim, i%c.HeadDim
			plain(dst, head*c.HeadDim+r%half*2+r/half)
		}
	}
	return weight{stored: stored, shape: t.Shape, row: row}, true
}
