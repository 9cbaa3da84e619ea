// Package model computes the transformers of engine.Families: explicit forward
// and backward for LoRA over packed forests, with frozen base weights.
//
// Shapes: T tokens of a micro-batch, H hidden, I width of the MLP, Q = heads x
// head dimension, V = kv heads x head dimension, r LoRA rank. Everything is
// row-major float32, one row per token.
package model

import (
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// Model is a base model whose weights lie in mapped memory, read-only.
type Model struct {
	Config engine.Config
	Embed  *kernel.Packed // [Vocab, Hidden]
	Head   *kernel.Packed // [Vocab, Hidden]; the same as Embed when tied
	Norm   []float32      // [Hidden]
	Layers []Layer

	prepared map[*kernel.Packed][]uint16 // bfloat16 that came with the weights, for UseBF16
}

// Layer is one transformer block. Linear is indexed like engine.Targets.
type Layer struct {
	AttnNorm, MLPNorm []float32 // [Hidden]
	AttnPost, MLPPost []float32 // [Hidden] of what attention and MLP add to the stream; nil = none
	QNorm, KNorm      []float32 // [HeadDim]; nil = none
	Linear            [7]*kernel.Packed
	Bias              [7][]float32 // [out]; nil = none
}

// Indices of engine.Targets.
const (
	targetQ = iota
	targetK
	targetV
	targetO
	targetGate
	targetUp
	targetDown
)

// Adapter is a LoRA adapter: per layer and target A [Rank, in] and B [out, Rank],
// row-major; y = W x + (Alpha/Rank) B A x. A target that is not adapted is nil.
// Adapters are made by NewAdapter, ReadPEFT, Clone and ZerosLike only: these
// lay out the A of targets that read the same input one behind another.
type Adapter struct {
	Rank    int
	Alpha   float64
	Targets []string // in the order of engine.Targets
	Layers  []AdapterLayer

	data []float32 // all of it
}

// AdapterLayer is indexed like engine.Targets.
type AdapterLayer struct {
	A, B [7][]float32

	// input[i] is the A of all adapted targets that read input i, [n*Rank, in].
	input [inputs][]float32
}

// The four inputs of a block's linear layers: normalised stream (q, k, v),
// attention output (o), normalised stream (gate, up), SiLU product (down).
const (
	inputAttn = iota
	inputO
	inputMLP
	inputDown
	inputs
)

// inputTargets lists the targets that read each input.
var inputTargets = [inputs][]int{{targetQ, targetK, targetV}, {targetO}, {targetGate, targetUp}, {targetDown}}

// Tree is one group: a prompt that is computed once and branches that attend
// to it and to themselves.
type Tree struct {
	Prompt   []int32
	Branches []Branch
}

// Branch is one sample behind the shared prompt. Scored[i] says that Tokens[i]
// is a scored token: its log-prob is that of Tokens[i] given everything before.
type Branch struct {
	Tokens []int32
	Scored []bool
}
