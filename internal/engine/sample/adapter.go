package sample

import (
	"fmt"
	"slices"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
)

// inputs lists the targets (indices of engine.Targets) that read the same
// input: the normalised stream twice, the attention output, the MLP product.
var inputs = [4][]int{{0, 1, 2}, {3}, {4, 5}, {6}}

const (
	inputAttention = iota
	inputOutput
	inputMLP
	inputDown
)

// adapter is a LoRA adapter in the layout of decoding. Packing it once spares
// every pass the turning of its matrices.
type adapter struct {
	layers  []adapterLayer
	widest  int  // largest number of low-rank columns of one input
	removed bool // requests in work use it still, later ones cannot
}

// adapterLayer holds, per input, the stacked A of its adapted targets [n*r, in]
// and, per target, scale * B [out, r]; nil where nothing is adapted. off is the
// column of a target's low-rank values.
type adapterLayer struct {
	a   [4]*kernel.Packed
	b   [7]*kernel.Packed
	off [7]int
}

// packAdapter lays out a for decoding. The scale is multiplied into B with the
// same rounding as in training.
func packAdapter(c *engine.Config, a *model.Adapter) (*adapter, error) {
	if a == nil || a.Rank < 1 || len(a.Layers) != c.Layers {
		return nil, &engine.Problem{Rule: "adapter-shape", Message: fmt.Sprintf("the adapter does not fit a model of %d layers", c.Layers)}
	}
	out := &adapter{layers: make([]adapterLayer, c.Layers)}
	scale := float32(a.Alpha / float64(a.Rank))
	for l := range a.Layers {
		from, to := &a.Layers[l], &out.layers[l]
		for i, targets := range inputs {
			var stacked []float32
			for _, t := range targets {
				if from.A[t] == nil && from.B[t] == nil {
					continue
				}
				rows, in := c.Linear(engine.Targets[t])
				if len(from.A[t]) != a.Rank*in || len(from.B[t]) != rows*a.Rank {
					return nil, &engine.Problem{Rule: "adapter-shape", Key: engine.Targets[t],
						Message: fmt.Sprintf("the adapter's matrices in layer %d do not have the shape of the model's", l)}
				}
				to.off[t] = len(stacked) / in
				stacked = append(stacked, from.A[t]...)
				b := slices.Clone(from.B[t])
				for j := range b {
					b[j] *= scale
				}
				to.b[t] = packed(b, rows, a.Rank)
			}
			if len(stacked) > 0 {
				_, in := c.Linear(engine.Targets[targets[0]])
				to.a[i] = packed(stacked, len(stacked)/in, in)
				out.widest = max(out.widest, to.a[i].N)
			}
		}
	}
	return out, nil
}

func packed(w []float32, n, k int) *kernel.Packed {
	p := &kernel.Packed{N: n, K: k, Data: make([]float32, kernel.PackedLen(n, k))}
	kernel.Pack(p.Data, w, n, k)
	return p
}
