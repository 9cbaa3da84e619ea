package model

import "github.com/firekeep/firekeep/internal/engine/kernel"

// acts is what one block's forward leaves for its backward.
type acts struct {
	x1       []float32         // [T, H] the block's input
	inv1     []float32         // [T] its inverse root mean squares
	q        []float32         // [T, Q] after rotation
	k, v     []float32         // [T, V] k after rotation
	o        []float32         // [T, Q] attention output
	lse      []float32         // [T, heads] log-sum-exp of the scaled scores
	x2       []float32         // [T, H] the stream behind attention
	inv2     []float32         // [T]
	gate, up []float32         // [T, I]
	low      [inputs][]float32 // [T, n*r] A x of the adapted targets per input

	// Only of models that have these norms.
	q0, k0          []float32 // [T, Q], [T, V] before the norms of heads
	invQ, invK      []float32 // [T, heads], [T, kv heads]
	attnOut, mlpOut []float32 // [T, H] before the norms behind attention and MLP
	invAttn, invMLP []float32 // [T]
}

// keep says what a pass remembers.
type keep int

const (
	keepNothing keep = iota // no backward: one block's acts, overwritten
	keepInputs              // every block's input; the rest is computed again in backward
	keepAll                 // every block's acts
)

// Workspace holds the memory of passes over one model. It is planned per
// micro-batch and reused: after the largest shape was seen, passes do not
// allocate. A Workspace serves one goroutine.
type Workspace struct {
	pool      *kernel.Pool
	model     *Model
	rotary    *Rotaries
	positions int // that rotary holds

	// MaxBytes bounds the activations that a pass with gradients keeps; beyond
	// it, blocks are computed again during backward.
	MaxBytes int64

	// Between, when set, is called between two layers, while the pool is idle.
	Between func()

	forest forest
	window int // of the layer whose attention is computed, 0 = none
	kept   keep
	arena  arena

	layers []acts
	out    []float32 // [T, H] the last block's output

	norm []float32 // [T, H] output of a norm, input of a linear layer
	prod []float32 // [T, I] SiLU product

	// Backward.
	dx, dnorm []float32 // [T, H]
	dq, do    []float32 // [T, Q]
	dk, dv    []float32 // [T, V]
	dkq, dvq  []float32 // [T, Q] dK and dV per query head
	dprod     []float32 // [T, I]
	dlow      []float32 // [T, max n*r]
	dq0, dk0  []float32 // [T, Q], [T, V] gradients of q0 and k0
	dpost     []float32 // [T, H] gradient of attnOut or mlpOut

	head    headBuffers
	workers [maxWorkers]attnScratch
}

// maxWorkers bounds the worker indices of a pool.
const maxWorkers = 256

// DefaultMaxBytes is the default of Workspace.MaxBytes.
const DefaultMaxBytes = 3 << 30

// NewWorkspace returns a workspace for passes over m. No sequence may be longer
// than positions.
func NewWorkspace(pool *kernel.Pool, m *Model, positions int) *Workspace {
	return &Workspace{pool: pool, model: m, rotary: NewRotaries(&m.Config, positions), positions: positions, MaxBytes: DefaultMaxBytes}
}

// prepare lays out trees and plans the buffers.
func (w *Workspace) prepare(trees []*Tree, a *Adapter, grad bool) keep {
	w.forest.lay(trees)
	mode := keepNothing
	if grad {
		mode = keepAll
		if int64(len(w.forest.tokens))*w.actsPerToken(a)*int64(len(w.model.Layers))*4 > w.MaxBytes {
			mode = keepInputs
		}
	}
	w.layers = resize(w.layers, len(w.model.Layers))
	w.arena.plan(func() { w.carve(a, mode) })
	return mode
}

// actsPerToken is the number of values per token in acts.
func (w *Workspace) actsPerToken(a *Adapter) int64 {
	c := &w.model.Config
	n := 2*c.Hidden + 2 + 2*c.Heads*c.HeadDim + 2*c.KVHeads*c.HeadDim + c.Heads + 2*c.Inter
	if c.QKNorm {
		n += (c.Heads + c.KVHeads) * (c.HeadDim + 1)
	}
	if c.PostNorms {
		n += 2 * (c.Hidden + 1)
	}
	for i := range inputs {
		n += lowWidth(a, i)
	}
	return int64(n)
}

// MaxTokens is how many tokens a pass with gradients of a may have within
// MaxBytes when it computes blocks again.
func (w *Workspace) MaxTokens(a *Adapter) int {
	perToken := 4 * (int64(len(w.model.Layers)*w.model.Config.Hidden) + 3*w.actsPerToken(a))
	return int(w.MaxBytes / perToken)
}

// lowWidth is n*r: the width of A x for input i.
func lowWidth(a *Adapter, i int) int {
	if a == nil {
		return 0
	}
	n := 0
	for _, t := range inputTargets[i] {
		if a.Layers[0].A[t] != nil {
			n += a.Rank
		}
	}
	return n
}

func (w *Workspace) carve(a *Adapter, mode keep) {
	c, t := &w.model.Config, len(w.forest.tokens)
	take := func(width int) []float32 { return w.arena.take(t * width) }
	qw, vw := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	block := func() acts {
		s := acts{x1: take(c.Hidden), inv1: take(1), q: take(qw), k: take(vw), v: take(vw), o: take(qw), lse: take(c.Heads),
			x2: take(c.Hidden), inv2: take(1), gate: take(c.Inter), up: take(c.Inter)}
		for i := range inputs {
			s.low[i] = take(lowWidth(a, i))
		}
		if c.QKNorm {
			s.q0, s.k0, s.invQ, s.invK = take(qw), take(vw), take(c.Heads), take(c.KVHeads)
		}
		if c.PostNorms {
			s.attnOut, s.mlpOut, s.invAttn, s.invMLP = take(c.Hidden), take(c.Hidden), take(1), take(1)
		}
		return s
	}
	w.out = take(c.Hidden)
	w.norm, w.prod = take(c.Hidden), take(c.Inter)
	switch mode {
	case keepAll:
		for l := range w.layers {
			w.layers[l] = block()
		}
	case keepInputs:
		one := block()
		for l := range w.layers {
			w.layers[l] = one
			if l > 0 {
				w.layers[l].x1 = take(c.Hidden)
			}
		}
	case keepNothing:
		even := block()
		odd := even
		odd.x1 = take(c.Hidden)
		for l := range w.layers {
			w.layers[l] = even
			if l%2 == 1 {
				w.layers[l] = odd
			}
		}
		return
	}
	low := 0
	for i := range inputs {
		low = max(low, lowWidth(a, i))
	}
	w.dx, w.dnorm, w.dq, w.do = take(c.Hidden), take(c.Hidden), take(qw), take(qw)
	w.dk, w.dv, w.dkq, w.dvq = take(vw), take(vw), take(qw), take(qw)
	w.dprod, w.dlow = take(c.Inter), take(low)
	if c.QKNorm {
		w.dq0, w.dk0 = take(qw), take(vw)
	}
	if c.PostNorms {
		w.dpost = take(c.Hidden)
	}
}

// resize returns s with length n, reusing its memory.
func resize[E any](s []E, n int) []E {
	if cap(s) < n {
		return make([]E, n)
	}
	return s[:n]
}
