package model

import (
	"math"
	"slices"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// NewAdapter returns a fresh adapter: A uniform in ±1/sqrt(in), B zero, so that
// it changes nothing until it is trained. targets are names of engine.Targets
// in any order.
//
// The values of A are a pure function of (seed, layer, target, index): the
// stream of each tensor is SplitMix64 started at
// seed*2^32 + layer*16 + target; the top 24 bits of an output, over 2^24, are
// u in [0, 1), and the value is (2u-1)/sqrt(in).
func NewAdapter(cfg *engine.Config, rank int, alpha float64, targets []string, seed int64) (*Adapter, error) {
	a, err := newShape(cfg, rank, alpha, targets)
	if err != nil {
		return nil, err
	}
	for l := range a.Layers {
		for t, w := range a.Layers[l].A {
			_, in := cfg.Linear(engine.Targets[t])
			bound := 1 / math.Sqrt(float64(in))
			state := uint64(seed)<<32 + uint64(l)*16 + uint64(t)
			for i := range w {
				u := float64(engine.SplitMix64(&state)>>40) / (1 << 24)
				w[i] = float32((2*u - 1) * bound)
			}
		}
	}
	return a, nil
}

// maxRank bounds the rank of an adapter: PEFT's users stay far below.
const maxRank = 1024

// newShape allocates an adapter of zeros.
func newShape(cfg *engine.Config, rank int, alpha float64, targets []string) (*Adapter, error) {
	if rank < 1 || rank > maxRank {
		return nil, &engine.Problem{Rule: "lora-rank", Key: "r", Message: "the LoRA rank must be between 1 and 1024"}
	}
	if math.IsNaN(alpha) || math.IsInf(alpha, 0) || alpha <= 0 {
		return nil, &engine.Problem{Rule: "lora-alpha", Key: "lora_alpha", Message: "the LoRA alpha must be a positive number"}
	}
	adapted, err := targetSet(targets)
	if err != nil {
		return nil, err
	}
	a := &Adapter{Rank: rank, Alpha: alpha, Layers: make([]AdapterLayer, cfg.Layers)}
	perLayer := 0
	for t, name := range engine.Targets {
		if adapted[t] {
			a.Targets = append(a.Targets, name)
			out, in := cfg.Linear(name)
			perLayer += rank * (out + in)
		}
	}
	a.data = kernel.Memory[float32](perLayer * cfg.Layers)
	rest := a.data
	take := func(n int) []float32 {
		s := rest[:n:n]
		rest = rest[n:]
		return s
	}
	for l := range a.Layers {
		layer := &a.Layers[l]
		for i, members := range inputTargets {
			start := rest
			n := 0
			for _, t := range members {
				if adapted[t] {
					_, in := cfg.Linear(engine.Targets[t])
					layer.A[t] = take(rank * in)
					n += rank * in
				}
			}
			layer.input[i] = start[:n:n]
			for _, t := range members {
				if adapted[t] {
					out, _ := cfg.Linear(engine.Targets[t])
					layer.B[t] = take(out * rank)
				}
			}
		}
	}
	return a, nil
}

// targetSet turns names into a set indexed like engine.Targets.
func targetSet(targets []string) (set [7]bool, err error) {
	for _, name := range targets {
		t := slices.Index(engine.Targets, name)
		if t < 0 {
			return set, &engine.Problem{Rule: "lora-target", Key: "target_modules",
				Message: "only the linear layers q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj can be adapted"}
		}
		if set[t] {
			return set, &engine.Problem{Rule: "lora-target", Key: "target_modules", Message: name + " is named twice"}
		}
		set[t] = true
	}
	if len(targets) == 0 {
		return set, &engine.Problem{Rule: "lora-target", Key: "target_modules", Message: "no layer to adapt is named"}
	}
	return set, nil
}

// Scale is Alpha/Rank.
func (a *Adapter) Scale() float32 { return float32(a.Alpha / float64(a.Rank)) }

// Params returns the tensors in a fixed order: by layer, then by target, A
// before B. The slices are the adapter's own memory.
func (a *Adapter) Params() [][]float32 {
	var p [][]float32
	for l := range a.Layers {
		for t := range engine.Targets {
			if a.Layers[l].A[t] != nil {
				p = append(p, a.Layers[l].A[t], a.Layers[l].B[t])
			}
		}
	}
	return p
}

// Names returns the names of Params: "model.layers.0.self_attn.q_proj.lora_A"
// and so on.
func (a *Adapter) Names() []string {
	var names []string
	for l := range a.Layers {
		for t := range engine.Targets {
			if a.Layers[l].A[t] != nil {
				m := module(l, t)
				names = append(names, m+".lora_A", m+".lora_B")
			}
		}
	}
	return names
}

// Clone returns a copy that shares nothing with a.
func (a *Adapter) Clone() *Adapter {
	c := a.ZerosLike()
	copy(c.data, a.data)
	return c
}

// ZerosLike returns an adapter of the same shape and layout full of zeros: a
// place for gradients.
func (a *Adapter) ZerosLike() *Adapter {
	c := &Adapter{Rank: a.Rank, Alpha: a.Alpha, Targets: slices.Clone(a.Targets), data: kernel.Memory[float32](len(a.data))}
	c.Layers = make([]AdapterLayer, len(a.Layers))
	rest := c.data
	take := func(n int) []float32 {
		if n == 0 {
			return nil
		}
		s := rest[:n:n]
		rest = rest[n:]
		return s
	}
	for l := range a.Layers {
		from, to := &a.Layers[l], &c.Layers[l]
		for i, members := range inputTargets {
			start := rest
			for _, t := range members {
				to.A[t] = take(len(from.A[t]))
			}
			to.input[i] = start[:len(from.input[i]):len(from.input[i])]
			for _, t := range members {
				to.B[t] = take(len(from.B[t]))
			}
		}
	}
	return c
}

// Zero sets every value to 0.
func (a *Adapter) Zero() { clear(a.data) }

// Parameters is the number of values.
func (a *Adapter) Parameters() int { return len(a.data) }
