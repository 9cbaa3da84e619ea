package sample

import (
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
)

// int8Weights are the linear layers and the output head in int8 (Options.Int8).
// They serve requests that ask for no log-probs. One that does is computed in
// full precision from its first token on, beside the others in the same pass, so
// that a recorded log-prob is always the trainer's.
type int8Weights struct {
	linear [][7]*kernel.Packed8
	head   *kernel.Packed8
}

func newInt8Weights(m *model.Model) *int8Weights {
	w := &int8Weights{linear: make([][7]*kernel.Packed8, len(m.Layers)), head: kernel.Quantize(m.Head)}
	for l := range m.Layers {
		for t, linear := range m.Layers[l].Linear {
			w.linear[l][t] = kernel.Quantize(linear)
		}
	}
	return w
}

// lineage is what keys and values are a function of, beside their tokens.
type lineage struct {
	adapter *adapter
	exact   bool // computed with the weights in full precision
}
