package model

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/tensorfile"
)

// tensorPrefix stands before every tensor name of a PEFT adapter; without it
// PEFT loads nothing and only warns.
const tensorPrefix = "base_model.model."

// peftConfig is adapter_config.json as we write it, in the order of PEFT's
// documentation of LoraConfig.
type peftConfig struct {
	PeftType      string         `json:"peft_type"`
	TaskType      string         `json:"task_type"`
	BaseName      string         `json:"base_model_name_or_path"`
	R             int            `json:"r"`
	Alpha         float64        `json:"lora_alpha"`
	Dropout       float64        `json:"lora_dropout"`
	Targets       []string       `json:"target_modules"`
	Bias          string         `json:"bias"`
	FanInFanOut   bool           `json:"fan_in_fan_out"`
	InferenceMode bool           `json:"inference_mode"`
	InitWeights   bool           `json:"init_lora_weights"`
	ModulesToSave *struct{}      `json:"modules_to_save"`
	RankPattern   map[string]int `json:"rank_pattern"`
	AlphaPattern  map[string]int `json:"alpha_pattern"`
	UseRSLoRA     bool           `json:"use_rslora"`
	UseDoRA       bool           `json:"use_dora"`
	Version       string         `json:"peft_version"`
}

// WritePEFT writes the adapter as adapter_config.json and
// adapter_model.safetensors. The same adapter gives the same bytes.
func (a *Adapter) WritePEFT(config, tensors io.Writer, baseName string) error {
	c := peftConfig{PeftType: "LORA", TaskType: "CAUSAL_LM", BaseName: baseName, R: a.Rank, Alpha: a.Alpha,
		Targets: a.Targets, Bias: "none", InferenceMode: true, InitWeights: true,
		RankPattern: map[string]int{}, AlphaPattern: map[string]int{}, Version: "0.21.0"}
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if _, err := config.Write(append(b, '\n')); err != nil {
		return err
	}
	var list []tensorfile.Tensor
	for l := range a.Layers {
		for t := range engine.Targets {
			A, B := a.Layers[l].A[t], a.Layers[l].B[t]
			if A == nil {
				continue
			}
			name := tensorPrefix + module(l, t)
			list = append(list,
				tensorfile.F32(name+".lora_A.weight", []int{a.Rank, len(A) / a.Rank}, A),
				tensorfile.F32(name+".lora_B.weight", []int{len(B) / a.Rank, a.Rank}, B))
		}
	}
	return tensorfile.WriteSafetensors(tensors, list, map[string]string{"format": "pt"})
}

// module is the name of a linear layer in transformers: "model.layers.0.self_attn.q_proj".
func module(layer, target int) string {
	part := "self_attn"
	if target >= targetGate {
		part = "mlp"
	}
	return fmt.Sprintf("model.layers.%d.%s.%s", layer, part, engine.Targets[target])
}

// PEFTConfig is what adapter_config.json says about an adapter's shape.
type PEFTConfig struct {
	Rank    int
	Alpha   float64
	Targets []string // in the order of engine.Targets
}

// foreignConfig lists what of adapter_config.json changes the arithmetic.
type foreignConfig struct {
	PeftType *string         `json:"peft_type"`
	R        *int            `json:"r"`
	Alpha    *float64        `json:"lora_alpha"`
	Targets  json.RawMessage `json:"target_modules"`

	Bias            string          `json:"bias"`
	FanInFanOut     bool            `json:"fan_in_fan_out"`
	UseRSLoRA       bool            `json:"use_rslora"`
	UseDoRA         bool            `json:"use_dora"`
	ModulesToSave   json.RawMessage `json:"modules_to_save"`
	RankPattern     map[string]any  `json:"rank_pattern"`
	AlphaPattern    map[string]any  `json:"alpha_pattern"`
	LayersTransform json.RawMessage `json:"layers_to_transform"`
	TargetParams    json.RawMessage `json:"target_parameters"`
}

// ReadPEFTConfig reads adapter_config.json. What is missing is an error here,
// because PEFT would fill it in silently (lora_alpha 8, q and v only), and so is
// every option that changes the arithmetic.
func ReadPEFTConfig(config []byte) (*PEFTConfig, error) {
	var c foreignConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, adapterProblem("adapter_config.json", "", "is not the JSON object that PEFT writes")
	}
	switch {
	case c.PeftType == nil || *c.PeftType != "LORA":
		return nil, adapterProblem("adapter_config.json", "peft_type", `must be "LORA"`)
	case c.R == nil || *c.R < 1 || *c.R > maxRank:
		return nil, adapterProblem("adapter_config.json", "r", "must be a rank between 1 and 1024")
	case c.Alpha == nil || !(*c.Alpha > 0) || math.IsInf(*c.Alpha, 0):
		return nil, adapterProblem("adapter_config.json", "lora_alpha", "must be a positive number")
	case c.Bias != "" && c.Bias != "none":
		return nil, adapterProblem("adapter_config.json", "bias", `must be "none"`)
	}
	for _, option := range []struct {
		name string
		on   bool
	}{
		{"fan_in_fan_out", c.FanInFanOut}, {"use_rslora", c.UseRSLoRA}, {"use_dora", c.UseDoRA},
		{"modules_to_save", isSet(c.ModulesToSave)}, {"rank_pattern", len(c.RankPattern) > 0}, {"alpha_pattern", len(c.AlphaPattern) > 0},
		{"layers_to_transform", isSet(c.LayersTransform)}, {"target_parameters", isSet(c.TargetParams)},
	} {
		if option.on {
			return nil, adapterProblem("adapter_config.json", option.name, "is not supported; plain LoRA with one rank and alpha is")
		}
	}
	targets, err := readTargets(c.Targets)
	if err != nil {
		return nil, err
	}
	return &PEFTConfig{Rank: *c.R, Alpha: *c.Alpha, Targets: targets}, nil
}

func isSet(v json.RawMessage) bool {
	s := string(v)
	return s != "" && s != "null" && s != "[]"
}

// readTargets reads target_modules: a list of suffixes, or "all-linear".
func readTargets(raw json.RawMessage) ([]string, error) {
	var all string
	if json.Unmarshal(raw, &all) == nil && all == "all-linear" {
		return slices.Clone(engine.Targets), nil
	}
	var names []string
	if err := json.Unmarshal(raw, &names); err != nil {
		return nil, adapterProblem("adapter_config.json", "target_modules", "must list the adapted linear layers by their names")
	}
	set, err := targetSet(names)
	if err != nil {
		return nil, err
	}
	names = names[:0]
	for t, on := range set {
		if on {
			names = append(names, engine.Targets[t])
		}
	}
	return names, nil
}

// ReadPEFT reads an adapter for a model of the given configuration. Rank,
// targets and every tensor's name and shape must agree with each other and with
// the model; all values must be finite.
func ReadPEFT(cfg *engine.Config, config, safetensors []byte) (*Adapter, error) {
	c, err := ReadPEFTConfig(config)
	if err != nil {
		return nil, err
	}
	tensors, _, err := tensorfile.ReadSafetensors(safetensors)
	if err != nil {
		return nil, err
	}
	a, err := newShape(cfg, c.Rank, c.Alpha, c.Targets)
	if err != nil {
		return nil, err
	}
	places := map[string]place{}
	for l := range a.Layers {
		for t := range engine.Targets {
			if A, B := a.Layers[l].A[t], a.Layers[l].B[t]; A != nil {
				name := tensorPrefix + module(l, t)
				places[name+".lora_A.weight"] = place{A, []int{a.Rank, len(A) / a.Rank}}
				places[name+".lora_B.weight"] = place{B, []int{len(B) / a.Rank, a.Rank}}
			}
		}
	}
	for i := range tensors {
		p, ok := places[tensors[i].Name]
		if !ok {
			return nil, adapterProblem(adapterFile, tensors[i].Name, strangerMessage(tensors[i].Name))
		}
		if err := p.fill(&tensors[i]); err != nil {
			return nil, err
		}
		delete(places, tensors[i].Name)
	}
	for _, name := range a.Names() { // in order, so that the first gap is named
		name = tensorPrefix + name + ".weight"
		if _, missing := places[name]; missing {
			return nil, adapterProblem(adapterFile, name, "is missing")
		}
	}
	return a, nil
}

const adapterFile = "adapter_model.safetensors"

// place is where a tensor's values go.
type place struct {
	values []float32
	shape  []int
}

func (p place) fill(t *tensorfile.Tensor) error {
	if !slices.Equal(t.Shape, p.shape) {
		return adapterProblem(adapterFile, t.Name, fmt.Sprintf("has shape %v where rank and model need %v", t.Shape, p.shape))
	}
	values, err := t.Float32()
	if err != nil {
		return err
	}
	for _, v := range values {
		if v != v || math.IsInf(float64(v), 0) {
			return adapterProblem(adapterFile, t.Name, "holds a value that is not finite")
		}
	}
	copy(p.values, values)
	return nil
}

// strangerMessage explains a tensor that has no place.
func strangerMessage(name string) string {
	if !strings.HasPrefix(name, tensorPrefix) {
		return "does not begin with " + tensorPrefix + " as PEFT's tensors do"
	}
	return "is not a LoRA tensor of target_modules and this model"
}

func adapterProblem(object, key, message string) error {
	if len(key) > 200 {
		key = key[:200]
	}
	return &engine.Problem{Rule: "bad-adapter", Object: object, Key: key, Message: message}
}
