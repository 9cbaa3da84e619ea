package train

import (
	"bytes"
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/rows"
)

// randomModel is a small Llama made in Go: tests of the step's rules need no peer.
func randomModel() *model.Model {
	cfg := engine.Config{Family: "llama", Layers: 2, Hidden: 32, Inter: 48, Heads: 4, KVHeads: 2, HeadDim: 8, Vocab: 97,
		MaxPositions: 256, NormEps: 1e-5, RopeTheta: 10000, BOS: -1}
	r := rand.New(rand.NewPCG(6, 6))
	matrix := func(n, k int) *kernel.Packed {
		w := make([]float32, n*k)
		for i := range w {
			w[i] = float32(r.NormFloat64() / math.Sqrt(float64(k)))
		}
		p := &kernel.Packed{N: n, K: k, Data: make([]float32, kernel.PackedLen(n, k))}
		kernel.Pack(p.Data, w, n, k)
		return p
	}
	ones := func() []float32 {
		v := make([]float32, cfg.Hidden)
		for i := range v {
			v[i] = 1
		}
		return v
	}
	m := &model.Model{Config: cfg, Embed: matrix(cfg.Vocab, cfg.Hidden), Head: matrix(cfg.Vocab, cfg.Hidden), Norm: ones()}
	for range cfg.Layers {
		layer := model.Layer{AttnNorm: ones(), MLPNorm: ones()}
		for t, name := range engine.Targets {
			layer.Linear[t] = matrix(cfg.Linear(name))
		}
		m.Layers = append(m.Layers, layer)
	}
	return m
}

// smallSpec trains randomModel fast enough that a few updates change it.
func smallSpec(method string) engine.Spec {
	s := engine.DefaultSpec(method)
	s.LoraRank, s.LoraAlpha, s.LearningRate, s.MaxContextLength = 2, 4, 1e-2, 128
	return s
}

func someGroups(n, samples int) []*rows.Encoded {
	r := rand.New(rand.NewPCG(7, 7))
	var groups []*rows.Encoded
	for range n {
		groups = append(groups, randomGroup(r, 97, samples, 7, 8))
	}
	return groups
}

func newTrainer(t *testing.T, spec engine.Spec, o Options) *Trainer {
	t.Helper()
	trainer, err := New(kernel.NewPool(2), randomModel(), spec, o)
	if err != nil {
		t.Fatal(err)
	}
	return trainer
}

// run trains to the end and returns the trainer with what it reported.
func run(t *testing.T, spec engine.Spec, o Options, groups []*rows.Encoded) (*Trainer, *recorder, *Result) {
	t.Helper()
	trainer, log := newTrainer(t, spec, o), &recorder{}
	result, err := trainer.Run(context.Background(), sourceOf(groups, spec.Epochs, 0), log)
	if err != nil {
		t.Fatal(err)
	}
	return trainer, log, result
}

// blobs is a trainer's state as bytes.
type blobs struct{ config, adapter, optimizer []byte }

func stateOf(t *testing.T, trainer *Trainer) blobs {
	t.Helper()
	var c, a, o bytes.Buffer
	if err := trainer.WriteAdapter(&c, &a); err != nil {
		t.Fatal(err)
	}
	if err := trainer.WriteOptimizer(&o); err != nil {
		t.Fatal(err)
	}
	return blobs{c.Bytes(), a.Bytes(), o.Bytes()}
}

func (b blobs) equal(o blobs) bool {
	return bytes.Equal(b.config, o.config) && bytes.Equal(b.adapter, o.adapter) && bytes.Equal(b.optimizer, o.optimizer)
}
