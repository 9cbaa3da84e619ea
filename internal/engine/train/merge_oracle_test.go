package train

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/tensorfile"
)

// TestMergeAgreesWithPEFT: weights that an adapter was merged into are those of
// PEFT's merge_and_unload, each value and the logits; what the adapter does not
// touch keeps its bits, and the matrices in bfloat16 are those of the new weights.
func TestMergeAgreesWithPEFT(t *testing.T) {
	for _, name := range []string{"llama2", "smollm2", "qwen2", "gemma3"} { // untied, tied, biases, norms of its own
		t.Run(name, func(t *testing.T) {
			s := familySubject(t, name)
			base, adapter := prepared(t, s.path), s.readAdapter(t)
			ours := merged(t, base, adapter, tensorfile.Options{Name: "merged", BFloat16: true})
			dir := filepath.Join(t.TempDir(), "merged")
			ask(t, nil, "merge", map[string]any{"model": s.path, "adapter": s.adapter, "out": dir})
			theirs := prepared(t, dir)
			compareMerged(t, ours, base, theirs)

			m, err := model.Open(ours)
			if err != nil {
				t.Fatal(err)
			}
			ids := randomIDs(rand.New(rand.NewPCG(1, 9)), m.Config.Vocab, 150)
			if d := relative(ourLogits(t, m, nil, ids), peerLogits(t, dir, "", ids)); !(d < 1e-3) {
				t.Errorf("logits differ from those of PEFT's merged model by %.2g", d)
			}
			if d := relative(ourLogits(t, m, nil, ids), ourLogits(t, s.model, adapter, ids)); !(d < 1e-3) {
				t.Errorf("logits differ from those of base and adapter by %.2g", d)
			}
		})
	}
}

func merged(t *testing.T, base *tensorfile.Prepared, a *model.Adapter, opt tensorfile.Options) *tensorfile.Prepared {
	t.Helper()
	var out bytes.Buffer
	info, err := tensorfile.Merge(context.Background(), base, "sha256:ab", a.Addend, &out, opt)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size != int64(out.Len()) || info.Source != "sha256:ab" || info.Config.Name != opt.Name || info.Parameters != base.Parameters() {
		t.Errorf("%+v", info)
	}
	p, err := tensorfile.OpenPrepared(aligned(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p.Tokenizer(), base.Tokenizer()) || p.ChatTemplate() != base.ChatTemplate() {
		t.Error("the tokeniser or the template changed")
	}
	return p
}

func compareMerged(t *testing.T, ours, base, theirs *tensorfile.Prepared) {
	t.Helper()
	matrix := func(p *tensorfile.Prepared, name string) []float32 {
		m, err := p.Packed(name)
		if err != nil {
			t.Fatal(err)
		}
		return m.Data
	}
	for _, name := range []string{"embed", "head"} {
		if !slices.Equal(matrix(ours, name), matrix(base, name)) {
			t.Errorf("%s changed", name)
		}
	}
	config := ours.Config()
	for l := range config.Layers {
		for _, target := range engine.Targets {
			name := fmt.Sprintf("layers.%d.%s", l, target)
			got, want := matrix(ours, name), matrix(theirs, name)
			if d := largestDifference(got, want); !(d < 1e-6) { // values are about 0.1: PEFT sums in float32
				t.Errorf("%s differs from PEFT's by %.2g", name, d)
			}
			if largestDifference(got, matrix(base, name)) < 1e-3 {
				t.Errorf("%s was not changed", name)
			}
			out, in := config.Linear(target)
			half := make([]uint16, kernel.BF16Len(out, in))
			kernel.PackBF16(half, got, out, in)
			if !slices.Equal(ours.BF16(name), half) {
				t.Errorf("%s in bfloat16 is not the merged matrix", name)
			}
		}
		norm := fmt.Sprintf("layers.%d.attn_norm", l)
		a, errA := ours.Vector(norm)
		b, errB := base.Vector(norm)
		if errA != nil || errB != nil || !slices.Equal(a, b) {
			t.Errorf("%s changed: %v %v", norm, errA, errB)
		}
	}
}

// TestMergeNothing: without an adapter the file is the base's, byte for byte, but
// for its name and source; weights that stop being finite are refused by name.
func TestMergeNothing(t *testing.T) {
	s := familySubject(t, "smollm2")
	base := prepared(t, s.path)
	var out, again bytes.Buffer
	nothing := func(string) func([]float32, int) { return nil }
	opt := tensorfile.Options{Name: "base"}
	if _, err := tensorfile.Merge(context.Background(), base, base.Source(), nothing, &out, opt); err != nil {
		t.Fatal(err)
	}
	var src tensorfile.Source
	files, _ := filepath.Glob(filepath.Join(s.path, "*"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := src.Add(context.Background(), filepath.Base(f), int64(len(b)), bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tensorfile.Prepare(context.Background(), &src, &again, opt); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), again.Bytes()) {
		t.Error("the bytes differ from those of the import")
	}
	a := s.readAdapter(t)
	for i := range a.Layers[1].B[2] {
		a.Layers[1].A[2][i%len(a.Layers[1].A[2])], a.Layers[1].B[2][i] = 3e38, 3e38
	}
	_, err := tensorfile.Merge(context.Background(), base, "", a.Addend, &out, opt)
	if p, ok := err.(*engine.Problem); !ok || p.Rule != "bad-values" || p.Key != "layers.1.v_proj" {
		t.Errorf("%v", err)
	}
}
