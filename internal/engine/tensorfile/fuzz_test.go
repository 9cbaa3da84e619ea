package tensorfile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
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
		tensors = append(tensors, F32(hfName(&c, e.Name), shape, make([]float32, max(e.N, 1)*e.K)))
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

func tinyPrepared(t testing.TB) []byte {
	var src Source
	for name, b := range tinyModel() {
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
				_, err = p.Packed(e.Name)
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
	f.Fuzz(func(t *testing.T, config, tokenizer []byte) {
		files := tinyModel()
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
