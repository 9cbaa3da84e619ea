// Package tiny writes a small random Llama model as a Hugging Face directory:
// real files for tests that need a model but not a clever one.
package tiny

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// Shape is the size of a tiny model.
type Shape struct{ Layers, Hidden, Inter, Heads, KVHeads int }

// Default trains an update in milliseconds.
var Default = Shape{Layers: 2, Hidden: 64, Inter: 128, Heads: 4, KVHeads: 2}

// chatML is the template of the demo model's family.
const chatML = `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}`

var specials = []string{"<|endoftext|>", "<|im_start|>", "<|im_end|>"}

// Write makes dir with config.json, tokenizer.json, tokenizer_config.json and
// model.safetensors. The same seed gives the same bytes.
func Write(dir string, s Shape, seed uint64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	vocab := len(specials) + 256
	files := map[string]any{
		"config.json": map[string]any{
			"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "torch_dtype": "float32",
			"hidden_size": s.Hidden, "intermediate_size": s.Inter, "num_hidden_layers": s.Layers, "num_attention_heads": s.Heads,
			"num_key_value_heads": s.KVHeads, "vocab_size": vocab, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
			"tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 2, "attention_bias": false, "mlp_bias": false,
		},
		"tokenizer.json": tokenizer(),
		"tokenizer_config.json": map[string]any{
			"bos_token": specials[0], "eos_token": specials[2], "chat_template": chatML, "tokenizer_class": "PreTrainedTokenizerFast",
			"clean_up_tokenization_spaces": false,
		},
	}
	for name, v := range files {
		b, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "model.safetensors"), weights(s, vocab, seed), 0o644)
}

// tokenizer is a byte-level BPE without merges: one token per byte.
func tokenizer() map[string]any {
	vocab := map[string]int{}
	added := []map[string]any{}
	for i, t := range specials {
		vocab[t] = i
		added = append(added, map[string]any{"id": i, "content": t, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
	}
	for b, r := range byteRunes() {
		vocab[string(r)] = len(specials) + b
	}
	level := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
	return map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added, "normalizer": nil, "pre_tokenizer": level,
		"post_processor": nil, "decoder": level,
		"model": map[string]any{
			"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
			"fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": []string{},
		},
	}
}

// byteRunes maps each byte to the visible character that byte-level BPE writes for it.
func byteRunes() [256]rune {
	var out [256]rune
	next := rune(256)
	for b := range 256 {
		switch {
		case b >= '!' && b <= '~', b >= 0xA1 && b <= 0xAC, b >= 0xAE:
			out[b] = rune(b)
		default:
			out[b] = next
			next++
		}
	}
	return out
}

// weights is a safetensors file of normal values.
func weights(s Shape, vocab int, seed uint64) []byte {
	type tensor struct {
		name  string
		shape []int
	}
	headDim := s.Hidden / s.Heads
	list := []tensor{{"model.embed_tokens.weight", []int{vocab, s.Hidden}}, {"model.norm.weight", []int{s.Hidden}}}
	for l := range s.Layers {
		p := fmt.Sprintf("model.layers.%d.", l)
		list = append(list,
			tensor{p + "input_layernorm.weight", []int{s.Hidden}}, tensor{p + "post_attention_layernorm.weight", []int{s.Hidden}},
			tensor{p + "self_attn.q_proj.weight", []int{s.Hidden, s.Hidden}}, tensor{p + "self_attn.k_proj.weight", []int{s.KVHeads * headDim, s.Hidden}},
			tensor{p + "self_attn.v_proj.weight", []int{s.KVHeads * headDim, s.Hidden}}, tensor{p + "self_attn.o_proj.weight", []int{s.Hidden, s.Hidden}},
			tensor{p + "mlp.gate_proj.weight", []int{s.Inter, s.Hidden}}, tensor{p + "mlp.up_proj.weight", []int{s.Inter, s.Hidden}},
			tensor{p + "mlp.down_proj.weight", []int{s.Hidden, s.Inter}})
	}
	rng := rand.New(rand.NewPCG(seed, 7))
	header, data := map[string]any{"__metadata__": map[string]string{"format": "pt"}}, []byte{}
	for _, t := range list {
		n := 1
		for _, d := range t.shape {
			n *= d
		}
		begin := len(data)
		for range n {
			v := float32(rng.NormFloat64() * 0.08)
			if len(t.shape) == 1 {
				v = 1 + v
			}
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		header[t.name] = map[string]any{"dtype": "F32", "shape": t.shape, "data_offsets": []int{begin, len(data)}}
	}
	h, _ := json.Marshal(header)
	for len(h)%8 != 0 {
		h = append(h, ' ')
	}
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(h)))
	return append(append(out, h...), data...)
}
