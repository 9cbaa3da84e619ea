package model

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

func TestNewAdapterIsUniformAndSeeded(t *testing.T) {
	cfg := tinyConfig()
	a, err := NewAdapter(&cfg, 8, 16, []string{"down_proj", "q_proj"}, 7)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := NewAdapter(&cfg, 8, 16, engine.Targets, 7)
	other, _ := NewAdapter(&cfg, 8, 16, engine.Targets, 8)
	if !slices.Equal(a.Targets, []string{"q_proj", "down_proj"}) {
		t.Errorf("targets %v", a.Targets)
	}
	for l := range a.Layers {
		for _, target := range []int{targetQ, targetDown} {
			A, B := a.Layers[l].A[target], a.Layers[l].B[target]
			if !slices.Equal(A, again.Layers[l].A[target]) {
				t.Error("the values of a target depend on which others are adapted")
			}
			if slices.Equal(A, other.Layers[l].A[target]) {
				t.Error("the seed changes nothing")
			}
			_, in := cfg.Linear(engine.Targets[target])
			bound, sum, top := 1/math.Sqrt(float64(in)), 0.0, 0.0
			for _, x := range A {
				sum += float64(x)
				top = max(top, math.Abs(float64(x)))
			}
			if top > bound || top < 0.95*bound || math.Abs(sum/float64(len(A))) > bound/5 {
				t.Errorf("layer %d: largest %.4f, mean %.4f, bound %.4f", l, top, sum/float64(len(A)), bound)
			}
			if slices.ContainsFunc(B, func(x float32) bool { return x != 0 }) {
				t.Error("B is not zero")
			}
		}
	}
}

func TestSplitMix64(t *testing.T) {
	state := uint64(1234567)
	for _, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423} {
		if got := engine.SplitMix64(&state); got != want {
			t.Errorf("%d instead of %d", got, want)
		}
	}
}

func TestPEFTRoundTrip(t *testing.T) {
	cfg := tinyConfig()
	for _, targets := range [][]string{engine.Targets, {"v_proj", "gate_proj"}} {
		a := randomAdapter(t, &cfg, 4, targets, 3)
		var config, tensors, again bytes.Buffer
		if err := a.WritePEFT(&config, &tensors, "base"); err != nil {
			t.Fatal(err)
		}
		b, err := ReadPEFT(&cfg, config.Bytes(), tensors.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(a.data, b.data) || a.Rank != b.Rank || a.Alpha != b.Alpha || !slices.Equal(a.Targets, b.Targets) {
			t.Error("the adapter changed")
		}
		if err := b.WritePEFT(&bytes.Buffer{}, &again, "base"); err != nil || !bytes.Equal(again.Bytes(), tensors.Bytes()) {
			t.Error("the bytes changed", err)
		}
	}
}

func TestReadPEFTNamesTheField(t *testing.T) {
	cfg := tinyConfig()
	a := randomAdapter(t, &cfg, 4, engine.Targets, 3)
	var config, tensors bytes.Buffer
	if err := a.WritePEFT(&config, &tensors, "base"); err != nil {
		t.Fatal(err)
	}
	with := func(key string, value any) []byte {
		var m map[string]any
		if err := json.Unmarshal(config.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		if m[key] = value; value == nil {
			delete(m, key)
		}
		b, _ := json.Marshal(m)
		return b
	}
	nan := randomAdapter(t, &cfg, 4, engine.Targets, 3)
	nan.Layers[1].A[targetUp][2] = float32(math.NaN())
	var nanTensors bytes.Buffer
	if err := nan.WritePEFT(&bytes.Buffer{}, &nanTensors, "base"); err != nil {
		t.Fatal(err)
	}
	renamed := bytes.ReplaceAll(tensors.Bytes(), []byte("base_model.model.model.layers.1.mlp.up"), []byte("base_model.model.model.layers.9.mlp.up"))
	unprefixed := bytes.ReplaceAll(tensors.Bytes(), []byte("base_model.model.model"), []byte("mase_model.model.model"))
	for _, c := range []struct {
		key             string
		config, tensors []byte
	}{
		{"peft_type", with("peft_type", nil), tensors.Bytes()},
		{"peft_type", with("peft_type", "IA3"), tensors.Bytes()},
		{"r", with("r", nil), tensors.Bytes()},
		{"r", with("r", 1<<40), tensors.Bytes()},
		{"lora_alpha", with("lora_alpha", nil), tensors.Bytes()},
		{"lora_alpha", with("lora_alpha", -1), tensors.Bytes()},
		{"target_modules", with("target_modules", nil), tensors.Bytes()},
		{"target_modules", with("target_modules", []string{"q_proj", "lm_head"}), tensors.Bytes()},
		{"use_rslora", with("use_rslora", true), tensors.Bytes()},
		{"use_dora", with("use_dora", true), tensors.Bytes()},
		{"modules_to_save", with("modules_to_save", []string{"lm_head"}), tensors.Bytes()},
		{"rank_pattern", with("rank_pattern", map[string]int{"q_proj": 2}), tensors.Bytes()},
		{"bias", with("bias", "all"), tensors.Bytes()},
		{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", with("r", 8), tensors.Bytes()},
		{"base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight", with("target_modules", []string{"q_proj"}), tensors.Bytes()},
		{"base_model.model.model.layers.9.mlp.up_proj.lora_A.weight", config.Bytes(), renamed},
		{"mase_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", config.Bytes(), unprefixed},
		{"base_model.model.model.layers.1.mlp.up_proj.lora_A.weight", config.Bytes(), nanTensors.Bytes()},
	} {
		_, err := ReadPEFT(&cfg, c.config, c.tensors)
		p, ok := err.(*engine.Problem)
		if !ok || p.Key != c.key {
			t.Errorf("%s: got %v", c.key, err)
		}
	}
	if _, err := ReadPEFT(&cfg, []byte("[]"), nil); err == nil || !strings.Contains(err.Error(), "adapter_config.json") {
		t.Error(err)
	}
}

func FuzzReadPEFT(f *testing.F) {
	cfg := tinyConfig()
	cfg.Layers, cfg.Hidden, cfg.Inter, cfg.Heads, cfg.KVHeads, cfg.HeadDim = 1, 4, 4, 1, 1, 4
	a, err := NewAdapter(&cfg, 1, 2, []string{"q_proj"}, 1)
	if err != nil {
		f.Fatal(err)
	}
	var config, tensors bytes.Buffer
	if err := a.WritePEFT(&config, &tensors, "base"); err != nil {
		f.Fatal(err)
	}
	f.Add(config.Bytes(), tensors.Bytes())
	f.Add([]byte(`{"peft_type":"LORA","r":1,"lora_alpha":2,"target_modules":"all-linear"}`), tensors.Bytes())
	f.Add(config.Bytes(), []byte("\x08\x00\x00\x00\x00\x00\x00\x00{\"a\":{}}"))
	f.Fuzz(func(t *testing.T, config, tensors []byte) {
		a, err := ReadPEFT(&cfg, config, tensors)
		if err != nil {
			return
		}
		var c, s bytes.Buffer
		if err := a.WritePEFT(&c, &s, ""); err != nil {
			t.Fatal(err)
		}
		b, err := ReadPEFT(&cfg, c.Bytes(), s.Bytes())
		if err != nil || !slices.Equal(a.data, b.data) {
			t.Fatal("an accepted adapter does not survive writing", err)
		}
	})
}
