package engine

import "math"

// Config is the architecture of a decoder-only transformer whose blocks are
// Llama's or a variation of them, as read from config.json or from GGUF
// metadata. It is stored in prepared weights: a field that is absent there has
// its zero value, which must mean what Llama does.
type Config struct {
	Family       string       `json:"family"` // one of Families
	Layers       int          `json:"layers"`
	Hidden       int          `json:"hidden"`
	Inter        int          `json:"inter"` // width of the MLP
	Heads        int          `json:"heads"`
	KVHeads      int          `json:"kvHeads"`
	HeadDim      int          `json:"headDim"`
	Vocab        int          `json:"vocab"`
	MaxPositions int          `json:"maxPositions"`
	NormEps      float64      `json:"normEps"`
	RopeTheta    float64      `json:"ropeTheta"`
	RopeScaling  *RopeScaling `json:"ropeScaling,omitempty"`
	Tied         bool         `json:"tied"` // the output head is the embedding
	BOS          int32        `json:"bos"`  // -1 = none
	EOS          []int32      `json:"eos"`  // ids that end a turn

	// What the families add to Llama's block.
	Biases     []string `json:"biases,omitempty"`     // targets whose linear layers add a bias
	QKNorm     bool     `json:"qkNorm,omitempty"`     // RMS norm of every head of q and k, before the rotation
	PostNorms  bool     `json:"postNorms,omitempty"`  // RMS norms of what attention and MLP add to the stream
	Activation string   `json:"activation,omitempty"` // of the MLP's gate: "" = SiLU, or ActivationGELU
	EmbedScale float64  `json:"embedScale,omitempty"` // factor of embedded tokens, 0 = 1
	QueryScale float64  `json:"queryScale,omitempty"` // factor of attention scores, 0 = 1/sqrt(HeadDim)
	Window     int      `json:"window,omitempty"`     // keys that a query of a windowed layer sees, its own included
	LocalTheta float64  `json:"localTheta,omitempty"` // RoPE base of windowed layers, unscaled; 0 = as in the others
	LayerKinds string   `json:"layerKinds,omitempty"` // a letter of layerKinds per layer; "" = all Llama's

	// Name as in base_model_name_or_path of exported adapters.
	Name string `json:"name"`
}

// RopeScaling is the frequency scaling of Llama 3.
type RopeScaling struct {
	Type           string  `json:"type"` // "llama3" or "linear"
	Factor         float64 `json:"factor"`
	LowFreqFactor  float64 `json:"lowFreqFactor"`
	HighFreqFactor float64 `json:"highFreqFactor"`
	OriginalMaxPos int     `json:"originalMaxPositions"`
}

// Families are the values of Config.Family that this engine computes.
var Families = []string{"llama", "mistral", "qwen2", "qwen3", "gemma3", "smollm3"}

// ActivationGELU is GELU in its tanh approximation.
const ActivationGELU = "gelu_tanh"

// LayerKind is what differs between the layers of one model.
type LayerKind struct {
	Window int // keys that a query sees, its own included; 0 = all before it
	Rope   Rope
}

// Rope says how a layer rotates queries and keys.
type Rope int

const (
	RopeGlobal Rope = iota // by RopeTheta and RopeScaling
	RopeLocal              // by LocalTheta
	RopeNone               // not at all
)

// The letters of Config.LayerKinds.
const (
	KindGlobal         = 'g' // Llama's
	KindLocal          = 'l' // windowed, rotated by LocalTheta
	KindUnrotated      = 'n' // no rotation
	KindLocalUnrotated = 'w' // windowed, no rotation
)

// Kind is the kind of a layer.
func (c *Config) Kind(layer int) LayerKind {
	if layer >= len(c.LayerKinds) {
		return LayerKind{}
	}
	switch c.LayerKinds[layer] {
	case KindLocal:
		return LayerKind{Window: c.Window, Rope: RopeLocal}
	case KindUnrotated:
		return LayerKind{Rope: RopeNone}
	case KindLocalUnrotated:
		return LayerKind{Window: c.Window, Rope: RopeNone}
	}
	return LayerKind{}
}

// ScoreScale is the factor of attention scores.
func (c *Config) ScoreScale() float32 {
	if c.QueryScale != 0 {
		return float32(c.QueryScale)
	}
	return float32(1 / math.Sqrt(float64(c.HeadDim)))
}

// Linear names the linear layers of a Llama block in the order of Targets with
// their output and input widths.
func (c *Config) Linear(target string) (out, in int) {
	switch target {
	case "q_proj":
		return c.Heads * c.HeadDim, c.Hidden
	case "k_proj", "v_proj":
		return c.KVHeads * c.HeadDim, c.Hidden
	case "o_proj":
		return c.Hidden, c.Heads * c.HeadDim
	case "gate_proj", "up_proj":
		return c.Inter, c.Hidden
	case "down_proj":
		return c.Hidden, c.Inter
	}
	return 0, 0
}
