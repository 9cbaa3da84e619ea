package tensorfile

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

// TestConfigurationsOfRealModels reads what the config.json of published models
// say, in the form of transformers 4, where defaults of the class are left out.
func TestConfigurationsOfRealModels(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		want   engine.Config
	}{
		"Gemma 3 1B": {`{"architectures":["Gemma3ForCausalLM"],"attn_logit_softcapping":null,"final_logit_softcapping":null,"bos_token_id":2,"eos_token_id":[1,106],
			"head_dim":256,"hidden_activation":"gelu_pytorch_tanh","hidden_size":1152,"intermediate_size":6912,"max_position_embeddings":32768,"model_type":"gemma3_text",
			"num_attention_heads":4,"num_hidden_layers":26,"num_key_value_heads":1,"query_pre_attn_scalar":256,"rms_norm_eps":1e-06,"rope_local_base_freq":10000,
			"rope_scaling":null,"rope_theta":1000000,"sliding_window":512,"sliding_window_pattern":6,"vocab_size":262144}`,
			engine.Config{Family: "gemma3", Layers: 26, Hidden: 1152, Inter: 6912, Heads: 4, KVHeads: 1, HeadDim: 256, Vocab: 262144, MaxPositions: 32768,
				NormEps: 1e-6, RopeTheta: 1e6, Tied: true, BOS: 2, EOS: []int32{1, 106}, QKNorm: true, PostNorms: true, Activation: "gelu_tanh",
				EmbedScale: math.Sqrt(1152), QueryScale: 1.0 / 16, Window: 512, LocalTheta: 1e4, LayerKinds: strings.Repeat("lllllg", 4) + "ll"}},
		"Qwen2.5 0.5B": {`{"architectures":["Qwen2ForCausalLM"],"bos_token_id":151643,"eos_token_id":151645,"hidden_act":"silu","hidden_size":896,"intermediate_size":4864,
			"max_position_embeddings":32768,"max_window_layers":21,"model_type":"qwen2","num_attention_heads":14,"num_hidden_layers":24,"num_key_value_heads":2,
			"rms_norm_eps":1e-06,"rope_theta":1000000.0,"sliding_window":32768,"tie_word_embeddings":true,"use_sliding_window":false,"vocab_size":151936}`,
			engine.Config{Family: "qwen2", Layers: 24, Hidden: 896, Inter: 4864, Heads: 14, KVHeads: 2, HeadDim: 64, Vocab: 151936, MaxPositions: 32768,
				NormEps: 1e-6, RopeTheta: 1e6, Tied: true, BOS: 151643, EOS: []int32{151645}, Biases: []string{"q_proj", "k_proj", "v_proj"}}},
		"Qwen3 0.6B": {`{"architectures":["Qwen3ForCausalLM"],"attention_bias":false,"bos_token_id":151643,"eos_token_id":151645,"head_dim":128,"hidden_act":"silu",
			"hidden_size":1024,"intermediate_size":3072,"max_position_embeddings":40960,"max_window_layers":28,"model_type":"qwen3","num_attention_heads":16,
			"num_hidden_layers":28,"num_key_value_heads":8,"rms_norm_eps":1e-06,"rope_scaling":null,"rope_theta":1000000,"sliding_window":null,
			"tie_word_embeddings":true,"use_sliding_window":false,"vocab_size":151936}`,
			engine.Config{Family: "qwen3", Layers: 28, Hidden: 1024, Inter: 3072, Heads: 16, KVHeads: 8, HeadDim: 128, Vocab: 151936, MaxPositions: 40960,
				NormEps: 1e-6, RopeTheta: 1e6, Tied: true, BOS: 151643, EOS: []int32{151645}, QKNorm: true}},
		"Mistral 7B v0.1": {`{"architectures":["MistralForCausalLM"],"bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":4096,"intermediate_size":14336,
			"max_position_embeddings":32768,"model_type":"mistral","num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":8,"rms_norm_eps":1e-05,
			"rope_theta":10000.0,"sliding_window":4096,"tie_word_embeddings":false,"vocab_size":32000}`,
			engine.Config{Family: "mistral", Layers: 32, Hidden: 4096, Inter: 14336, Heads: 32, KVHeads: 8, HeadDim: 128, Vocab: 32000, MaxPositions: 32768,
				NormEps: 1e-5, RopeTheta: 1e4, BOS: 1, EOS: []int32{2}, Window: 4096, LayerKinds: strings.Repeat("l", 32)}},
		"Mistral 7B v0.3": {`{"architectures":["MistralForCausalLM"],"bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":4096,"intermediate_size":14336,
			"max_position_embeddings":32768,"model_type":"mistral","num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":8,"rms_norm_eps":1e-05,
			"rope_theta":1000000.0,"sliding_window":null,"tie_word_embeddings":false,"vocab_size":32768}`,
			engine.Config{Family: "mistral", Layers: 32, Hidden: 4096, Inter: 14336, Heads: 32, KVHeads: 8, HeadDim: 128, Vocab: 32768, MaxPositions: 32768,
				NormEps: 1e-5, RopeTheta: 1e6, BOS: 1, EOS: []int32{2}}},
		"SmolLM3 3B": {`{"architectures":["SmolLM3ForCausalLM"],"attention_bias":false,"bos_token_id":128000,"eos_token_id":128012,"hidden_act":"silu","hidden_size":2048,
			"intermediate_size":11008,"max_position_embeddings":65536,"mlp_bias":false,"model_type":"smollm3","no_rope_layer_interval":4,"num_attention_heads":16,
			"num_hidden_layers":36,"num_key_value_heads":4,"rms_norm_eps":1e-06,"rope_scaling":null,"rope_theta":5000000.0,"sliding_window":null,
			"use_sliding_window":false,"vocab_size":128256}`,
			engine.Config{Family: "smollm3", Layers: 36, Hidden: 2048, Inter: 11008, Heads: 16, KVHeads: 4, HeadDim: 128, Vocab: 128256, MaxPositions: 65536,
				NormEps: 1e-6, RopeTheta: 5e6, Tied: true, BOS: 128000, EOS: []int32{128012}, LayerKinds: strings.Repeat("gggn", 9)}},
	} {
		var h hfConfig
		if err := json.Unmarshal([]byte(c.config), &h); err != nil {
			t.Fatal(err)
		}
		got, err := h.read()
		if err == nil {
			err = checkConfig(&got, "config.json")
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got, c.want)
		}
	}
}

// TestRefusedConfigurations: what would be computed otherwise is named.
func TestRefusedConfigurations(t *testing.T) {
	tiny := string(tinyModel()["config.json"])
	gemma := strings.Replace(tiny, "Llama", "Gemma3", 1)
	for _, c := range []struct{ config, rule, names string }{
		{strings.Replace(tiny, "Llama", "Gemma2", 1), "unsupported-architecture", "Gemma2ForCausalLM"},
		{strings.Replace(tiny, "LlamaForCausalLM", "Gemma3ForConditionalGeneration", 1), "unsupported-architecture", "images"},
		{strings.Replace(tiny, "Llama", "Mixtral", 1), "unsupported-architecture", "experts"},
		{strings.Replace(tiny, "Llama", "Qwen3Moe", 1), "unsupported-architecture", "experts"},
		{with(tiny, `"num_local_experts":8`), "unsupported-architecture", "num_experts"},
		{with(gemma, `"vision_config":{}`), "unsupported-architecture", "vision_config"},
		{with(gemma, `"final_logit_softcapping":30.0`), "unsupported-softcap", "final_logit_softcapping"},
		{with(gemma, `"attn_logit_softcapping":50.0`), "unsupported-softcap", "attn_logit_softcapping"},
		{with(gemma, `"use_bidirectional_attention":true`), "unsupported-attention", "causal"},
		{with(gemma, `"hidden_activation":"relu"`), "unsupported-activation", "relu"},
		{with(gemma, `"layer_types":["chunked_attention"]`), "unsupported-attention", "chunked_attention"},
		{with(gemma, `"layer_types":["full_attention","full_attention"]`), "bad-config", "layer_types"},
		{with(gemma, `"rope_parameters":{"full_attention":{},"sliding_attention":{"rope_type":"linear","factor":2}}`), "unsupported-rope", "windowed"},
		{with(gemma, `"sliding_window":"wide"`), "bad-config", "sliding_window"},
		{with(tiny, `"rope_scaling":{"rope_type":"longrope"}`), "unsupported-rope", "longrope"},
		{with(tiny, `"rope_scaling":{"type":"dynamic","factor":2}`), "unsupported-rope", "dynamic"},
		{with(tiny, `"partial_rotary_factor":0.5`), "unsupported-rope", "partial"},
		{with(strings.Replace(tiny, "Llama", "Qwen3", 1), `"attention_bias":true`), "unsupported-bias", "attention_bias"},
	} {
		files := tinyModel()
		files["config.json"] = []byte(c.config)
		_, _, err := prepare(t, files)
		if p, ok := err.(*engine.Problem); !ok || p.Rule != c.rule || !strings.Contains(p.Error(), c.names) {
			t.Errorf("%s: %v; want rule %s naming %q", c.config, err, c.rule, c.names)
		}
	}
}

// with adds a field to a JSON object.
func with(object, field string) string { return object[:len(object)-1] + "," + field + "}" }

// TestGemmaOfGGUF: what the files leave to the reader.
func TestGemmaOfGGUF(t *testing.T) {
	meta := map[string]any{"gemma3.embedding_length": uint64(5376), "gemma3.attention.head_count": uint64(32), "gemma3.attention.head_count_kv": uint64(16),
		"gemma3.attention.key_length": uint64(128), "gemma3.feed_forward_length": uint64(21504), "gemma3.attention.layer_norm_rms_epsilon": 1e-6,
		"gemma3.rope.freq_base": 1e6, "gemma3.attention.sliding_window": uint64(1024), "gemma3.rope.scaling.type": "linear", "gemma3.rope.scaling.factor": 8.0}
	for layers, scale := range map[int]float64{62: 1 / math.Sqrt(168), 34: 1 / math.Sqrt(128)} {
		meta["gemma3.block_count"] = uint64(layers)
		c := &checkpoint{}
		m := &metadata{g: &GGUF{Meta: meta}, arch: "gemma3"}
		f := familyWhere(func(f *Family) []string { return f.GGUF }, "gemma3")
		if err := c.configGGUF(m, f, map[string]*GGUFTensor{"token_embd.weight": {Shape: []int{262144, 5376}}}); err != nil {
			t.Fatal(err)
		}
		if err := checkConfig(&c.config, ""); err != nil {
			t.Fatal(err)
		}
		k := c.config
		if k.QueryScale != scale || k.EmbedScale != math.Sqrt(5376) || k.LocalTheta != 1e4 || k.Window != 1024 || !strings.HasPrefix(k.LayerKinds, "lllllgl") ||
			len(k.LayerKinds) != layers || k.RopeScaling == nil || k.RopeScaling.Factor != 8 || !k.QKNorm || !k.PostNorms || k.Activation != engine.ActivationGELU {
			t.Errorf("%d layers: %+v", layers, k)
		}
	}
}
