package broker_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/tensorfile"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

// lora is an adapter in PEFT's form that changes every matrix of a model.
func lora(t *testing.T, c engine.Config, rank int) (config, tensors []byte) {
	t.Helper()
	a, err := model.NewAdapter(&c, rank, float64(2*rank), engine.Targets, 3)
	if err != nil {
		t.Fatal(err)
	}
	state := uint64(5)
	for _, p := range a.Params() {
		for i := range p {
			p[i] += float32(engine.SplitMix64(&state)>>40)/(1<<24)*0.02 - 0.01
		}
	}
	var out, blob bytes.Buffer
	if err := a.WritePEFT(&out, &blob, "base"); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), blob.Bytes()
}

// TestMerge: a child makes prepared weights of a base and a LoRA, the same from a
// mapping and from a stream, with bfloat16 where it is asked for.
func TestMerge(t *testing.T) {
	w, done := tinyWeights(t)
	config, tensors := lora(t, done.Config, 4)
	merged := func(stream, halves bool) (wire.ImportDone, *tensorfile.Prepared) {
		t.Helper()
		out, err := os.CreateTemp(t.TempDir(), "merged")
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		from := *w
		from.Stream = stream
		got, err := start(t, broker.Options{Name: "merge", Weights: &from}).Merge(t.Context(), wire.MergeTask{Name: "whole", BFloat16: halves}, config, tensors, out)
		if err != nil {
			t.Fatalf("%v (%v)", err, cause(err))
		}
		data, err := syscall.Mmap(int(out.Fd()), 0, int(got.Size), syscall.PROT_READ, syscall.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Munmap(data) })
		p, err := tensorfile.OpenPrepared(data)
		if err != nil {
			t.Fatal(err)
		}
		return got, p
	}
	plain, p := merged(false, false)
	if plain.Config.Name != "whole" || plain.Config.Layers != done.Config.Layers || plain.Parameters != done.Parameters || plain.HasChat != done.HasChat || plain.SHA256 == done.SHA256 || plain.Source == done.Source {
		t.Errorf("%+v\nof %+v", plain, done)
	}
	if p.BF16("layers.0.q_proj") != nil {
		t.Error("bfloat16 that nobody asked for")
	}
	if streamed, _ := merged(true, false); streamed.SHA256 != plain.SHA256 {
		t.Errorf("from a stream %s, from a mapping %s", streamed.SHA256, plain.SHA256)
	}
	if _, p := merged(false, true); p.BF16("layers.0.q_proj") == nil {
		t.Error("no bfloat16")
	}
}

// TestMergeOfFewBits: a base that lies in four bits for each weight becomes seven times
// as large where a LoRA changes it. That is no flood of the child's.
func TestMergeOfFewBits(t *testing.T) {
	w, done := demoWeights(t)
	config, tensors := lora(t, done.Config, 1)
	got, err := start(t, broker.Options{Name: "merge", Weights: w}).Merge(t.Context(), wire.MergeTask{Name: "whole", BFloat16: true}, config, tensors, io.Discard)
	if err != nil {
		t.Fatalf("%v (%v)", err, cause(err))
	}
	if got.Parameters != done.Parameters || got.Size < 4*w.Size {
		t.Errorf("%d parameters in %d bytes, the base has %d in %d", got.Parameters, got.Size, done.Parameters, w.Size)
	}
}

// TestMergeRefusals: a LoRA that the engine does not compute exactly is refused with the
// name of what it asks for, and one that does not fit with the name of the tensor.
func TestMergeRefusals(t *testing.T) {
	w, done := tinyWeights(t)
	config, tensors := lora(t, done.Config, 4)
	_, wide := lora(t, done.Config, 8)
	full := errors.New("no space left")
	with := func(old, new string) []byte {
		changed := strings.Replace(string(config), old, new, 1)
		if changed == string(config) {
			t.Fatalf("%q is not in %s", old, config)
		}
		return []byte(changed)
	}
	for name, c := range map[string]struct {
		config, tensors []byte
		key             string
	}{
		"rslora":       {with(`"use_rslora": false`, `"use_rslora": true`), tensors, "use_rslora"},
		"dora":         {with(`"use_dora": false`, `"use_dora": true`), tensors, "use_dora"},
		"ranks":        {with(`"rank_pattern": {}`, `"rank_pattern": {"q_proj": 8}`), tensors, "rank_pattern"},
		"another rank": {config, wide, "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"},
		"no tensors":   {config, []byte("none"), ""},
	} {
		_, err := start(t, broker.Options{Name: "merge", Weights: w}).Merge(t.Context(), wire.MergeTask{Name: "m"}, c.config, c.tensors, io.Discard)
		var p *engine.Problem
		if rft.KindOf(err) != rft.KindInvalidArgument || !errors.As(err, &p) || p.Key != c.key {
			t.Errorf("%s: %v %v", name, rft.KindOf(err), err)
		}
	}
	if _, err := start(t, broker.Options{Name: "merge", Weights: w}).Merge(t.Context(), wire.MergeTask{Name: "m"}, config, tensors, failing{full}); err != full {
		t.Errorf("a full disk: %v", err)
	}
}
