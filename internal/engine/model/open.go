package model

import (
	"fmt"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/tensorfile"
)

// Open makes a model of prepared weights. It copies nothing: the model is valid
// as long as p's bytes stay mapped.
func Open(p *tensorfile.Prepared) (*Model, error) {
	m := &Model{Config: p.Config()}
	if m.Config.Family != "llama" {
		return nil, &engine.Problem{Rule: "unsupported-architecture", Key: "family", Message: "only models of the Llama family can be run"}
	}
	r := reader{p: p}
	m.Embed, m.Head, m.Norm = r.matrix("embed"), r.matrix("head"), r.vector("norm")
	m.Layers = make([]Layer, m.Config.Layers)
	for l := range m.Layers {
		layer := &m.Layers[l]
		layer.AttnNorm = r.vector(fmt.Sprintf("layers.%d.attn_norm", l))
		layer.MLPNorm = r.vector(fmt.Sprintf("layers.%d.mlp_norm", l))
		for t, name := range engine.Targets {
			layer.Linear[t] = r.matrix(fmt.Sprintf("layers.%d.%s", l, name))
		}
	}
	return m, r.err
}

// reader keeps the first error of a run of look-ups.
type reader struct {
	p   *tensorfile.Prepared
	err error
}

func (r *reader) matrix(name string) *kernel.Packed {
	m, err := r.p.Packed(name)
	if err != nil && r.err == nil {
		r.err = err
	}
	return m
}

func (r *reader) vector(name string) []float32 {
	v, err := r.p.Vector(name)
	if err != nil && r.err == nil {
		r.err = err
	}
	return v
}
