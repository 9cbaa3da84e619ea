package main

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/train"
)

// classes are architectures whose weights are made up on the spot: what a step
// costs does not depend on what they hold.
var classes = map[string]engine.Config{
	"1.7b": {Family: "llama", Layers: 24, Hidden: 2048, Inter: 8192, Heads: 32, KVHeads: 32, HeadDim: 64, Vocab: 49152},
	"tiny": {Family: "llama", Layers: 4, Hidden: 192, Inter: 512, Heads: 3, KVHeads: 1, HeadDim: 64, Vocab: 4096},
}

// randomModel makes a model of a class, tied, in this process's memory.
func randomModel(class string) (*model.Model, error) {
	cfg, ok := classes[class]
	if !ok {
		return nil, fmt.Errorf("unknown class %q", class)
	}
	cfg.MaxPositions, cfg.NormEps, cfg.RopeTheta, cfg.BOS, cfg.Tied = 2048, 1e-5, 10000, -1, true
	state := uint64(0x9e3779b97f4a7c15)
	matrix := func(n, k int) *kernel.Packed {
		w := &kernel.Packed{N: n, K: k, Data: make([]float32, kernel.PackedLen(n, k))}
		scale := float32(math.Sqrt(3/float64(k))) / (1 << 31)
		for i := range w.Data {
			state ^= state << 13
			state ^= state >> 7
			state ^= state << 17
			w.Data[i] = float32(int32(state>>32)) * scale
		}
		return w
	}
	ones := make([]float32, cfg.Hidden)
	for i := range ones {
		ones[i] = 1
	}
	m := &model.Model{Config: cfg, Embed: matrix(cfg.Vocab, cfg.Hidden), Norm: ones}
	m.Head = m.Embed
	for range cfg.Layers {
		layer := model.Layer{AttnNorm: ones, MLPNorm: ones}
		for t, name := range engine.Targets {
			layer.Linear[t] = matrix(cfg.Linear(name))
		}
		m.Layers = append(m.Layers, layer)
	}
	return m, nil
}

// scale measures a step of a class of models with random weights.
func scale(o *options) (map[string]any, error) {
	debug.SetGCPercent(50)
	m, err := randomModel(o.class)
	if err != nil {
		return nil, err
	}
	spec := engine.DefaultSpec("GRPO")
	spec.LoraRank, spec.LoraAlpha, spec.LearningRate = 16, 32, 1e-5
	spec.BatchSize = 1 << 30 // one update: later ones also compute the old policy
	t, err := train.New(kernel.NewPool(o.threads), m, spec, train.Options{BaseName: "bench", GroupsPerEpoch: int64(o.groups)})
	if err != nil {
		return nil, err
	}
	groups := synthetic(o, m.Config.Vocab)
	before, err := processorSeconds() // making the weights up is not the step
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	r, err := t.Run(context.Background(), feed(groups), quiet{})
	if err != nil {
		return nil, err
	}
	took := time.Since(begin).Seconds()
	cpu, err := processorSeconds()
	if err != nil {
		return nil, err
	}
	return map[string]any{"seconds": took, "cpu_seconds": cpu - before, "tokens": r.Tokens, "updates": r.Updates}, nil
}
