package engine

// Config is the architecture of a decoder-only transformer of the Llama
// family, as read from config.json or from GGUF metadata.
type Config struct {
	Family       string       `json:"family"` // "llama"
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
