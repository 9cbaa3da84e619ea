package tensorfile

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// tinyModel is a Hugging Face directory of one small layer.
func tinyModel() map[string][]byte {
	c := engine.Config{Family: "llama", Layers: 1, Hidden: 4, Inter: 6, Heads: 2, KVHeads: 1, HeadDim: 2, Vocab: 5, Tied: true}
	var tensors []Tensor
	for _, e := range tensorPlan(&c) {
		shape := []int{e.K}
		if e.N > 0 {
			shape = []int{e.N, e.K}
		}
		values := make([]float32, max(e.N, 1)*e.K)
		for i := range values {
			values[i] = float32(i%11)/7 - 0.6
		}
		tensors = append(tensors, F32(hfName(&c, e.Name), shape, values))
	}
	var weights bytes.Buffer
	if err := WriteSafetensors(&weights, tensors, map[string]string{"format": "pt"}); err != nil {
		panic(err)
	}
	return map[string][]byte{
		"model.safetensors": weights.Bytes(),
		"tokenizer.json":    []byte(`{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}`),
		"config.json": []byte(`{"architectures":["LlamaForCausalLM"],"hidden_size":4,"intermediate_size":6,"num_hidden_layers":1,` +
			`"num_attention_heads":2,"num_key_value_heads":1,"vocab_size":5,"tie_word_embeddings":true}`),
	}
}

// modelFor is tinyModel with the tensors that config asks for, where they are few.
func modelFor(config []byte) map[string][]byte {
	files := tinyModel()
	var h hfConfig
	if json.Unmarshal(config, &h) != nil {
		return files
	}
	c, err := h.read()
	if err != nil || checkConfig(&c, "") != nil || c.Layers > 4 || c.Hidden > 64 || c.Inter > 64 || c.Heads > 8 || c.HeadDim > 64 || c.Vocab > 64 {
		return files
	}
	var tensors []Tensor
	for _, e := range tensorPlan(&c) {
		shape := []int{e.K}
		if e.N > 0 {
			shape = []int{e.N, e.K}
		}
		tensors = append(tensors, F32(hfName(&c, e.Name), shape, make([]float32, max(e.N, 1)*e.K)))
	}
	var weights bytes.Buffer
	if WriteSafetensors(&weights, tensors, nil) == nil {
		files["model.safetensors"] = weights.Bytes()
	}
	return files
}

func tinyPrepared(t testing.TB) []byte { return preparedOf(t, tinyModel()) }

// tinyCoded is tinyPrepared of a model in bfloat16.
func tinyCoded(t testing.TB) []byte {
	files := tinyModel()
	tensors, _, err := ReadSafetensors(files["model.safetensors"])
	if err != nil {
		t.Fatal(err)
	}
	for i := range tensors {
		x := &tensors[i]
		var halves []byte
		for at := 0; at < len(x.Data); at += 4 {
			halves = append(halves, x.Data[at+2:at+4]...)
		}
		x.DType, x.Data = "BF16", halves
	}
	var weights bytes.Buffer
	if err := WriteSafetensors(&weights, tensors, nil); err != nil {
		t.Fatal(err)
	}
	files["model.safetensors"] = weights.Bytes()
	return preparedOf(t, files)
}

func preparedOf(t testing.TB, files map[string][]byte) []byte {
	var src Source
	for name, b := range files {
		if err := src.Add(context.Background(), name, int64(len(b)), bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if _, err := Prepare(context.Background(), &src, &out, Options{Name: "tiny"}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func isProblem(t *testing.T, err error) {
	t.Helper()
	var p *engine.Problem
	if err != nil && !errors.As(err, &p) {
		t.Fatalf("%T: %v", err, err)
	}
}

func FuzzSafetensors(f *testing.F) {
	f.Add(tinyModel()["model.safetensors"])
	for _, b := range claims() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tensors, meta, err := ReadSafetensors(b)
		isProblem(t, err)
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := WriteSafetensors(&out, tensors, meta); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if again, _, err := ReadSafetensors(out.Bytes()); err != nil || len(again) != len(tensors) {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}

func FuzzGGUF(f *testing.F) {
	for _, b := range claims() {
		f.Add(b)
	}
	f.Add(append([]byte("GGUF\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x14\x00\x00\x00\x00\x00\x00\x00general.architecture\x08\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00llama"), make([]byte, 64)...))
	for _, arch := range []string{"llama", "gemma3", "qwen2", "smollm3"} {
		f.Add(piecesFile(arch))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := ReadGGUF(b)
		isProblem(t, err)
		if err == nil {
			for _, x := range g.Tensors {
				x.Float32(make([]float32, x.block.elements), 0)
			}
		}
		_, err = openGGUF("x.gguf", b)
		isProblem(t, err)
	})
}

func FuzzPrepared(f *testing.F) {
	f.Add(tinyPrepared(f))
	f.Add(tinyCoded(f))
	for _, b := range claims() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := OpenPrepared(aligned(b))
		isProblem(t, err)
		if err != nil {
			return
		}
		c := p.Config()
		for _, e := range tensorPlan(&c) {
			if e.N == 0 {
				_, err = p.Vector(e.Name)
			} else {
				var w *kernel.Packed
				if w, err = p.Packed(e.Name); err == nil && w.K <= 1<<12 {
					w.Row(make([]float32, w.K), w.N-1)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add(tinyModel()["config.json"], tinyModel()["tokenizer.json"])
	f.Add([]byte(`{"architectures":["LlamaForCausalLM"],"rope_parameters":{"rope_type":"llama3"},"eos_token_id":[1,2]}`), []byte(`{"added_tokens":[{"id":1,"content":"</s>"}]}`))
	for _, more := range []string{`"model_type":"gemma3_text"`, `"model_type":"smollm3","no_rope_layers":[0]`, `"model_type":"mistral","sliding_window":3,"head_dim":4`,
		`"model_type":"qwen2","use_sliding_window":true,"max_window_layers":0`, `"model_type":"qwen3","layer_types":["sliding_attention"]`} {
		f.Add([]byte(with(strings.Replace(string(tinyModel()["config.json"]), `"architectures":["LlamaForCausalLM"],`, "", 1), more)), tinyModel()["tokenizer.json"])
	}
	f.Fuzz(func(t *testing.T, config, tokenizer []byte) {
		files := modelFor(config)
		files["config.json"], files["tokenizer.json"] = config, tokenizer
		var src Source
		for name, b := range files {
			if err := src.Add(context.Background(), name, -1, bytes.NewReader(b)); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		_, err := Prepare(context.Background(), &src, &out, Options{})
		isProblem(t, err)
		if err == nil {
			p, err := OpenPrepared(aligned(out.Bytes()))
			if err != nil || !json.Valid(p.Tokenizer()) {
				t.Fatalf("what Prepare wrote does not open: %v", err)
			}
		}
	})
}

// piecesFile is a GGUF file of one small layer with a SentencePiece vocabulary.
func piecesFile(arch string) []byte {
	le := binary.LittleEndian
	str := func(b []byte, s string) []byte { return append(le.AppendUint64(b, uint64(len(s))), s...) }
	keys, tensors := uint64(0), uint64(0)
	var meta, infos []byte
	number := func(key string, n uint32) {
		meta, keys = le.AppendUint32(le.AppendUint32(str(meta, key), 4), n), keys+1
	}
	text := func(key, s string) { meta, keys = str(le.AppendUint32(str(meta, key), 8), s), keys+1 }
	array := func(key string, kind uint32, n int) {
		meta, keys = le.AppendUint64(le.AppendUint32(le.AppendUint32(str(meta, key), 9), kind), uint64(n)), keys+1
	}
	text("general.architecture", arch)
	for key, n := range map[string]uint32{"embedding_length": 4, "attention.head_count": 2, "attention.key_length": 2, "attention.value_length": 2,
		"block_count": 1, "feed_forward_length": 4, "attention.sliding_window": 3} {
		number(arch+"."+key, n)
	}
	meta, keys = le.AppendUint32(le.AppendUint32(str(meta, arch+".attention.layer_norm_rms_epsilon"), 6), math.Float32bits(1e-5)), keys+1
	text("tokenizer.ggml.model", "llama")
	tokens := []string{"<unk>", "<s>", "a", "b", "ab", "\u2581", "\u2581ab", "  "}
	array("tokenizer.ggml.tokens", 8, len(tokens))
	for _, s := range tokens {
		meta = str(meta, s)
	}
	array("tokenizer.ggml.scores", 6, len(tokens))
	for i := range tokens {
		meta = le.AppendUint32(meta, math.Float32bits(-float32(i)))
	}
	array("tokenizer.ggml.token_type", 5, len(tokens))
	for _, kind := range []uint32{2, 3, 1, 1, 1, 1, 1, 4} {
		meta = le.AppendUint32(meta, kind)
	}
	number("tokenizer.ggml.bos_token_id", 1)
	tensor := func(name string, offset uint64, shape ...uint64) {
		infos, tensors = le.AppendUint32(str(infos, name), uint32(len(shape))), tensors+1
		for _, d := range shape {
			infos = le.AppendUint64(infos, d)
		}
		infos = le.AppendUint64(le.AppendUint32(infos, 0), offset)
	}
	tensor("token_embd.weight", 0, 4, 8)
	for _, part := range ggufParts { // all share the same zeros
		if strings.HasSuffix(part, "norm") {
			tensor("blk.0."+part+".weight", 0, 4)
		} else {
			tensor("blk.0."+part+".weight", 0, 4, 4)
		}
	}
	head := append(le.AppendUint64(le.AppendUint64(append([]byte("GGUF"), 3, 0, 0, 0), tensors), keys), append(meta, infos...)...)
	return append(head, make([]byte, 256)...)
}

func TestPiecesFileOpens(t *testing.T) {
	for _, arch := range []string{"llama", "gemma3", "qwen2", "smollm3"} {
		if _, err := openGGUF("x.gguf", piecesFile(arch)); err != nil {
			t.Errorf("%s: the seed of the fuzz target does not open: %v", arch, err)
		}
	}
}
