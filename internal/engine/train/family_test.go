package train

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/firekeep/firekeep/internal/engine/rows"
	"github.com/firekeep/firekeep/internal/engine/tensorfile"
)

// families are the small models of oracle.py, each of a real configuration
// class, with the architecture of its GGUF form.
var families = []struct{ name, family, gguf string }{
	{"llama2", "llama", "llama"}, {"smollm2", "llama", "llama"}, {"mistral", "mistral", ""}, {"mistral-full", "mistral", "llama"},
	{"qwen2", "qwen2", "qwen2"}, {"qwen2-window", "qwen2", ""}, {"qwen3", "qwen3", "qwen3"},
	{"smollm3", "smollm3", "smollm3"}, {"smollm3-window", "smollm3", ""}, {"gemma3", "gemma3", "gemma3"},
}

func TestEveryFamilyIsCompared(t *testing.T) {
	for _, f := range tensorfile.Families {
		compared := map[bool]bool{}
		for _, s := range families {
			if s.family == f.Name {
				compared[false] = true
			}
			if slices.Contains(f.GGUF, s.gguf) {
				compared[true] = true
			}
		}
		if !compared[false] || len(f.GGUF) > 0 && !compared[true] {
			t.Errorf("family %s is imported but compared with nothing, or its GGUF form is", f.Name)
		}
	}
}

func familySubject(t testing.TB, name string) subject {
	path := fixture(t, name, func(p string) { ask(t, nil, "make_family", map[string]any{"family": name, "out": p}) })
	return withAdapter(t, name+"-adapter", path, 4, 0.08)
}

// TestFamiliesAgreeWithTransformers imports what transformers saved of every
// family: logits of base and adapter, every LoRA gradient of a packed forest,
// and PEFT's logits with an adapter that we wrote.
func TestFamiliesAgreeWithTransformers(t *testing.T) {
	for _, f := range families {
		if testing.Short() && slices.Contains([]string{"smollm2", "mistral-full", "qwen2-window", "smollm3-window"}, f.name) {
			continue // one of each family
		}
		t.Run(f.name, func(t *testing.T) {
			s, r := familySubject(t, f.name), rand.New(rand.NewPCG(2, 7))
			testLogits(t, s, 150)
			testGradients(t, s, []*rows.Encoded{randomGroup(r, 512, 3, 40, 30), randomGroup(r, 512, 2, 5, 12)})
			testWriting(t, s)
			if got := s.model.Config.Family; got != f.family {
				t.Errorf("read as family %s", got)
			}
		})
	}
}

// testWriting: what we write, PEFT computes with as we do.
func testWriting(t *testing.T, s subject) {
	a := s.readAdapter(t)
	for _, p := range a.Params() { // no longer PEFT's own values
		for i := range p {
			p[i] *= 1 + float32(i%7)/8
		}
	}
	dir := t.TempDir()
	writeAdapter(t, dir, a)
	ids := randomIDs(rand.New(rand.NewPCG(5, 5)), 512, 40)
	if d := relative(ourLogits(t, s.model, a, ids), peerLogits(t, s.path, dir, ids)); !(d < 1e-3) {
		t.Errorf("PEFT's logits with our adapter differ by %.2g", d)
	}
}

// TestFamiliesInGGUF imports every family's GGUF form: the logits are those of
// the directory it was made from, and, where transformers reads GGUF of that
// architecture, those that it computes.
func TestFamiliesInGGUF(t *testing.T) {
	for _, f := range families {
		if f.gguf == "" {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			s := familySubject(t, f.name)
			path := fixture(t, f.name+".gguf", func(p string) { ask(t, nil, "make_gguf", map[string]any{"model": s.path, "arch": f.gguf, "out": p}) })
			m := imported(t, path)
			ids := randomIDs(rand.New(rand.NewPCG(6, 6)), 512, 90)
			got := ourLogits(t, m, nil, ids)
			want := peerLogits(t, s.path, "", ids)
			if f.name == "gemma3" { // its files do not hold the scale of scores: it is that of the head's width
				m.Config.QueryScale = s.model.Config.QueryScale
				got = ourLogits(t, m, nil, ids)
			}
			if d := relative(got, want); !(d < 1e-3) {
				t.Errorf("logits differ from those of the directory by %.2g", d)
			}
			if f.gguf == "smollm3" || f.gguf == "gemma3" { // transformers reads none of the first, and not the scaling of the second
				return
			}
			if d := relative(got, peerLogits(t, path, "", ids)); !(d < 1e-3) {
				t.Errorf("logits differ from transformers' reading of the file by %.2g", d)
			}
		})
	}
}
