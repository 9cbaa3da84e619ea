package tensorfile

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// Family is one family of models: how its files are recognised, and what its
// configuration class fills in where config.json is silent. docs/models.md is
// generated from this table.
type Family struct {
	Name          string // engine.Config.Family
	Models        string // what people know it by
	Architectures []string
	ModelTypes    []string // config.json's model_type, used where it names no architecture
	GGUF          []string // general.architecture
	Block         string   // what its blocks add to Llama's
	Tokenizer     string   // how its tokenisers work

	// Defaults of the configuration class.
	kvHeads, headDim, maxPositions int // 0 = heads, hidden/heads
	window                         int
	theta                          float64
	tied                           bool
	// rotated says that the GGUF files hold q and k with the two halves of each
	// head interleaved, as ggml's first rotation wanted them.
	rotated bool
}

// Families lists what can be imported.
var Families = []Family{
	{Name: "llama", Models: "Llama 2, Llama 3, SmolLM2", Architectures: []string{"LlamaForCausalLM"}, ModelTypes: []string{"llama"},
		GGUF: []string{"llama"}, maxPositions: 2048, theta: 10000, rotated: true,
		Block:     "nothing",
		Tokenizer: "byte-level BPE (Llama 3, SmolLM2); BPE over characters with byte fallback (Llama 2)"},
	{Name: "mistral", Models: "Mistral", Architectures: []string{"MistralForCausalLM"}, ModelTypes: []string{"mistral"},
		kvHeads: 8, maxPositions: 4096 * 32, window: 4096, theta: 10000,
		Block:     "sliding window (optional), heads of any width",
		Tokenizer: "BPE over characters with byte fallback"},
	{Name: "qwen2", Models: "Qwen2, Qwen2.5", Architectures: []string{"Qwen2ForCausalLM"}, ModelTypes: []string{"qwen2"},
		GGUF: []string{"qwen2"}, kvHeads: 32, maxPositions: 32768, window: 4096, theta: 10000,
		Block:     "biases of q, k and v; windowed layers (optional)",
		Tokenizer: "byte-level BPE"},
	{Name: "qwen3", Models: "Qwen3", Architectures: []string{"Qwen3ForCausalLM"}, ModelTypes: []string{"qwen3"},
		GGUF: []string{"qwen3"}, kvHeads: 32, headDim: 128, maxPositions: 32768, window: 4096, theta: 10000,
		Block:     "norms of the heads of q and k; heads of any width; windowed layers (optional)",
		Tokenizer: "byte-level BPE"},
	{Name: "gemma3", Models: "Gemma 3 (text)", Architectures: []string{"Gemma3ForCausalLM"}, ModelTypes: []string{"gemma3_text"},
		GGUF: []string{"gemma3"}, kvHeads: 4, headDim: 256, maxPositions: 131072, window: 4096, theta: 1e6, tied: true,
		Block:     "norms (1+w) before and behind attention and MLP, norms of heads, GELU, scaled embedding and scores, windowed layers with a rotation of their own",
		Tokenizer: "BPE over characters with byte fallback"},
	{Name: "smollm3", Models: "SmolLM3", Architectures: []string{"SmolLM3ForCausalLM"}, ModelTypes: []string{"smollm3"},
		GGUF: []string{"smollm3"}, kvHeads: 4, maxPositions: 32768, theta: 2e6, tied: true, rotated: true,
		Block:     "layers without rotation; windowed layers (optional)",
		Tokenizer: "byte-level BPE"},
}

// GGUFTypes names the storage types of GGUF that can be read.
func GGUFTypes() []string {
	var names []string
	for _, number := range slices.Sorted(maps.Keys(ggmlTypes)) {
		names = append(names, ggmlTypes[number].name)
	}
	return names
}

// BitsInMemory says how many bits prepared weights have for each weight of a storage type.
func BitsInMemory() []string {
	var list []string
	for _, number := range slices.Sorted(maps.Keys(ggmlTypes)) {
		b := ggmlTypes[number]
		list = append(list, fmt.Sprintf("`%s` %d", b.name, b.coding.CodedLen(kernel.Panel, 256)*32/(kernel.Panel*256)))
	}
	return list
}

// familyWhere finds the family that one of its names, chosen by names, gives.
func familyWhere(names func(*Family) []string, name string) *Family {
	for i := range Families {
		if slices.Contains(names(&Families[i]), name) {
			return &Families[i]
		}
	}
	return nil
}

// unsupported names what cannot be imported, and what can.
func unsupported(object, got string) error {
	var known []string
	for _, f := range Families {
		known = append(known, f.Architectures...)
	}
	for _, f := range Families {
		for _, name := range f.GGUF {
			known = append(known, name+" (GGUF)")
		}
	}
	why := "is not supported"
	for part, reason := range map[string]string{"ForConditionalGeneration": "has parts for images or sound, which are not supported; its text model alone is",
		"Moe": "routes between experts, which is not supported", "Mixtral": "routes between experts, which is not supported"} {
		if strings.Contains(got, part) {
			why = reason
		}
	}
	return problem("unsupported-architecture", object, "", "architecture %.60q %s; supported are %s", got, why, strings.Join(known, ", "))
}

// tensorPlan lists the prepared tensors of a configuration in file order, with
// the rows and width of each; rows 0 marks a vector.
func tensorPlan(c *engine.Config) []tableEntry {
	plan := []tableEntry{{Name: "embed", N: c.Vocab, K: c.Hidden}}
	if !c.Tied {
		plan = append(plan, tableEntry{Name: "head", N: c.Vocab, K: c.Hidden})
	}
	plan = append(plan, tableEntry{Name: "norm", K: c.Hidden})
	for i := range c.Layers {
		prefix := fmt.Sprintf("layers.%d.", i)
		vector := func(name string, width int) { plan = append(plan, tableEntry{Name: prefix + name, K: width}) }
		vector("attn_norm", c.Hidden)
		vector("mlp_norm", c.Hidden)
		if c.PostNorms {
			vector("attn_post_norm", c.Hidden)
			vector("mlp_post_norm", c.Hidden)
		}
		if c.QKNorm {
			vector("q_norm", c.HeadDim)
			vector("k_norm", c.HeadDim)
		}
		for _, target := range engine.Targets {
			out, in := c.Linear(target)
			plan = append(plan, tableEntry{Name: prefix + target, N: out, K: in})
			if slices.Contains(c.Biases, target) {
				vector(target+"_bias", out)
			}
		}
	}
	return plan
}

// checkVariations bounds what a family adds to Llama's block.
func checkVariations(c *engine.Config, object string) error {
	bad := func(key, format string, args ...any) error {
		return problem("bad-config", object, key, format, args...)
	}
	switch {
	case c.Activation != "" && c.Activation != engine.ActivationGELU:
		return problem("unsupported-activation", object, "activation", "%.40q is not supported", c.Activation)
	case !(c.EmbedScale >= 0 && c.EmbedScale < 1e9), !(c.QueryScale >= 0 && c.QueryScale < 1e9), !(c.LocalTheta >= 0 && c.LocalTheta < 1e15):
		return bad("", "a scale of the embedding (%g), of the scores (%g) or a local RoPE base (%g) is impossible", c.EmbedScale, c.QueryScale, c.LocalTheta)
	case c.LayerKinds != "" && len(c.LayerKinds) != c.Layers:
		return bad("layer_types", "%d layers are described, the model has %d", len(c.LayerKinds), c.Layers)
	case c.Window < 0 || c.Window > 1<<26:
		return bad("sliding_window", "is %d", c.Window)
	}
	for l := range c.LayerKinds {
		kind := c.LayerKinds[l]
		if !strings.ContainsRune(layerLetters, rune(kind)) {
			return bad("layer_types", "layer %d is of an unknown kind", l)
		}
		if (kind == engine.KindLocal || kind == engine.KindLocalUnrotated) && c.Window == 0 {
			return bad("sliding_window", "is missing, layer %d needs it", l)
		}
	}
	for i, name := range c.Biases {
		if !slices.Contains(engine.Targets, name) || slices.Contains(c.Biases[:i], name) {
			return bad("biases", "%.40q is no linear layer, or named twice", name)
		}
	}
	return nil
}

var layerLetters = string([]rune{engine.KindGlobal, engine.KindLocal, engine.KindUnrotated, engine.KindLocalUnrotated})

// windowed gives every layer the kind that local says, nil = all windowed.
func windowed(c *engine.Config, window int, local func(layer int) bool) {
	kinds, any := make([]byte, c.Layers), false
	for l := range kinds {
		kinds[l] = engine.KindGlobal
		if local == nil || local(l) {
			kinds[l], any = engine.KindLocal, true
		}
	}
	if any {
		c.Window, c.LayerKinds = window, string(kinds)
	}
}
