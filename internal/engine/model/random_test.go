package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

func TestMain(m *testing.M) {
	useBestLevel()
	os.Exit(m.Run())
}

// useBestLevel picks the first level that passes its self-test, as the engine does.
func useBestLevel() {
	for _, l := range kernel.Detect() {
		if err := kernel.SelfTest(l); err != nil {
			fmt.Fprintf(os.Stderr, "kernel level %v left out: %v\n", l, err)
			continue
		}
		kernel.Use(l)
		return
	}
	panic("no kernel level works")
}

func tinyConfig() engine.Config {
	return engine.Config{Family: "llama", Layers: 3, Hidden: 40, Inter: 72, Heads: 6, KVHeads: 2, HeadDim: 8, Vocab: 131,
		MaxPositions: 512, NormEps: 1e-5, RopeTheta: 10000, BOS: -1}
}

// familyConfigs are tiny configurations with what each family adds to Llama's
// block. The windows cut through prompts and branches of randomTrees.
func familyConfigs() map[string]engine.Config {
	all := map[string]engine.Config{"llama": tinyConfig()}
	vary := func(family string, change func(c *engine.Config)) {
		c := tinyConfig()
		c.Family = family
		change(&c)
		all[family] = c
	}
	vary("mistral", func(c *engine.Config) { c.Window, c.LayerKinds = 5, "lll" })
	vary("qwen2", func(c *engine.Config) { c.Biases = []string{"q_proj", "k_proj", "v_proj"} })
	vary("qwen3", func(c *engine.Config) { c.QKNorm = true })
	vary("smollm3", func(c *engine.Config) { c.Window, c.LayerKinds = 12, "gnw" })
	vary("gemma3", func(c *engine.Config) {
		c.QKNorm, c.PostNorms, c.Activation = true, true, engine.ActivationGELU
		c.EmbedScale, c.QueryScale, c.Window, c.LocalTheta, c.LayerKinds = 3, 0.2, 6, 500, "lgl"
	})
	return all
}

// randomModel has weights small enough that gradients are well behaved.
func randomModel(cfg engine.Config, seed uint64) *Model {
	r := rand.New(rand.NewPCG(seed, 1))
	matrix := func(n, k int) *kernel.Packed {
		w := make([]float32, n*k)
		for i := range w {
			w[i] = float32(r.NormFloat64() / math.Sqrt(float64(k)))
		}
		p := &kernel.Packed{N: n, K: k, Data: make([]float32, kernel.PackedLen(n, k))}
		kernel.Pack(p.Data, w, n, k)
		return p
	}
	vector := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = 1 + float32(r.NormFloat64())/8
		}
		return v
	}
	m := &Model{Config: cfg, Embed: matrix(cfg.Vocab, cfg.Hidden), Head: matrix(cfg.Vocab, cfg.Hidden), Norm: vector(cfg.Hidden)}
	for range cfg.Layers {
		layer := Layer{AttnNorm: vector(cfg.Hidden), MLPNorm: vector(cfg.Hidden)}
		if cfg.QKNorm {
			layer.QNorm, layer.KNorm = vector(cfg.HeadDim), vector(cfg.HeadDim)
		}
		if cfg.PostNorms {
			layer.AttnPost, layer.MLPPost = vector(cfg.Hidden), vector(cfg.Hidden)
		}
		for t, name := range engine.Targets {
			layer.Linear[t] = matrix(cfg.Linear(name))
			if slices.Contains(cfg.Biases, name) {
				layer.Bias[t] = vector(layer.Linear[t].N)
			}
		}
		m.Layers = append(m.Layers, layer)
	}
	return m
}

// randomAdapter has A and B non-zero, so that every gradient is.
func randomAdapter(t testing.TB, cfg *engine.Config, rank int, targets []string, seed uint64) *Adapter {
	t.Helper()
	a, err := NewAdapter(cfg, rank, float64(2*rank), targets, int64(seed))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 2))
	for l := range a.Layers {
		for _, b := range a.Layers[l].B {
			for i := range b {
				b[i] = float32(r.NormFloat64() / 8)
			}
		}
	}
	return a
}

// randomTrees makes groups whose samples differ in length; the first branch of
// the second tree has no scored token.
func randomTrees(vocab int, seed uint64) []*Tree {
	r := rand.New(rand.NewPCG(seed, 3))
	ids := func(n int) []int32 {
		s := make([]int32, n)
		for i := range s {
			s[i] = int32(r.IntN(vocab))
		}
		return s
	}
	scored := func(n, from int) []bool {
		s := make([]bool, n)
		for i := from; i < n; i++ {
			s[i] = i%4 != 2 || i == n-1
		}
		return s
	}
	return []*Tree{
		{Prompt: ids(17), Branches: []Branch{{ids(9), scored(9, 0)}, {ids(1), scored(1, 0)}, {ids(14), scored(14, 3)}}},
		{Prompt: ids(3), Branches: []Branch{{}, {ids(21), scored(21, 0)}}},
		{Prompt: nil, Branches: []Branch{{ids(6), scored(6, 1)}, {ids(5), scored(5, 2)}}},
	}
}

// tokenWeight is a loss that couples nothing: sum of weight * lp with weights
// that depend on place only.
func tokenWeight(tree, branch, i int) float64 {
	return math.Sin(float64(1 + 31*tree + 7*branch + i))
}
