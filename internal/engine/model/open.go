package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/tensorfile"
)

// Open makes a model of prepared weights. It copies nothing: the model is valid
// as long as p's bytes stay mapped.
func Open(p *tensorfile.Prepared) (*Model, error) {
	m := &Model{Config: p.Config(), prepared: map[*kernel.Packed][]uint16{}}
	if !slices.Contains(engine.Families, m.Config.Family) {
		return nil, &engine.Problem{Rule: "unsupported-architecture", Key: "family", Message: "this engine runs models of the families " + strings.Join(engine.Families, ", ")}
	}
	r := reader{p: p, bf16: m.prepared}
	m.Embed, m.Head, m.Norm = r.matrix("embed"), r.matrix("head"), r.vector("norm")
	m.Layers = make([]Layer, m.Config.Layers)
	for l := range m.Layers {
		layer := &m.Layers[l]
		layer.AttnNorm = r.vector(fmt.Sprintf("layers.%d.attn_norm", l))
		layer.MLPNorm = r.vector(fmt.Sprintf("layers.%d.mlp_norm", l))
		for t, name := range engine.Targets {
			layer.Linear[t] = r.matrix(fmt.Sprintf("layers.%d.%s", l, name))
		}
		r.variations(m, l)
	}
	return m, r.err
}

// variations reads what layer l has beyond Llama's.
func (r *reader) variations(m *Model, l int) {
	c, layer := &m.Config, &m.Layers[l]
	for t, name := range engine.Targets {
		if slices.Contains(c.Biases, name) {
			layer.Bias[t] = r.vector(fmt.Sprintf("layers.%d.%s_bias", l, name))
		}
	}
	if c.QKNorm {
		layer.QNorm, layer.KNorm = r.vector(fmt.Sprintf("layers.%d.q_norm", l)), r.vector(fmt.Sprintf("layers.%d.k_norm", l))
	}
	if c.PostNorms {
		layer.AttnPost, layer.MLPPost = r.vector(fmt.Sprintf("layers.%d.attn_post_norm", l)), r.vector(fmt.Sprintf("layers.%d.mlp_post_norm", l))
	}
}

// reader keeps the first error of a run of look-ups.
type reader struct {
	p    *tensorfile.Prepared
	bf16 map[*kernel.Packed][]uint16
	err  error
}

func (r *reader) matrix(name string) *kernel.Packed {
	m, err := r.p.Packed(name)
	if err != nil && r.err == nil {
		r.err = err
	}
	if half := r.p.BF16(name); half != nil {
		r.bf16[m] = half
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
