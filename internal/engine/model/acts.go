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

	// Only of a trunk: gradients of k and v per query head, which its branches
	// add to wave by wave.
	dkq, dvq []float32 // [T, Q]
}

// Workspace holds the memory of passes over one model. It is planned per pass
// and reused: after the largest shape was seen, passes do not allocate. A
// Workspace serves one goroutine.
type Workspace struct {
	pool      *kernel.Pool
	model     *Model
	rotary    *Rotaries
	positions int // that rotary holds

	// MaxBytes bounds the activations that a pass with gradients keeps; beyond
	// it, blocks are computed again during backward. It changes speed, not bytes.
	MaxBytes int64

	// WaveTokens is about how many tokens of branches go through the blocks at
	// once; 0 = by the number of threads. It changes speed and memory, not bytes.
	WaveTokens int

	// Between, when set, is called between two layers, while the pool is idle.
	Between func()

	stage         // the rows that are computed
	trunk   stage // the prompt that they continue, when it is not among them
	sets    []set
	window  int  // of the layer whose attention is computed, 0 = none
	half    bool // dense products are those of bfloat16
	arena   arena
	scratch // of one block
	head    headBuffers
	workers [maxWorkers]attnScratch
	panels  keyPanels
	units   units

	op      op
	opFunc  opFunc
	runPart func(worker, lo, hi int)
}

// stage is a set of rows that go through the blocks together, and what their
// forward leaves for their backward.
type stage struct {
	forest forest
	layers []acts
	kept   int       // blocks from here on keep their acts, the others only their input
	out    []float32 // [T, H] the last block's output
	dx     []float32 // [T, H] gradient of a block's output, then of its input
}

// scratch is what one block's pass over a stage needs.
type scratch struct {
	norm []float32 // [T, H] output of a norm, input of a linear layer
	prod []float32 // [T, I] SiLU product

	// Backward.
	dnorm    []float32 // [T, H]
	dq, do   []float32 // [T, Q]
	dk, dv   []float32 // [T, V]
	dkq, dvq []float32 // [T, Q] dK and dV per query head
	dprod    []float32 // [T, I]
	dlow     []float32 // [T, max n*r]
	dq0, dk0 []float32 // [T, Q], [T, V] gradients of q0 and k0
	dpost    []float32 // [T, H] gradient of attnOut or mlpOut
}

// maxWorkers bounds the worker indices of a pool.
const maxWorkers = 256

// DefaultMaxBytes is the default of Workspace.MaxBytes.
const DefaultMaxBytes = 3 << 30

// NewWorkspace returns a workspace for passes over m. No sequence may be longer
// than positions.
func NewWorkspace(pool *kernel.Pool, m *Model, positions int) *Workspace {
	w := &Workspace{pool: pool, model: m, rotary: NewRotaries(&m.Config, positions), positions: positions, MaxBytes: DefaultMaxBytes}
	w.runPart = w.runOp
	return w
}

// resize returns s with length n, reusing its memory.
func resize[E any](s []E, n int) []E {
	if cap(s) < n {
		return make([]E, n)
	}
	return s[:n]
}
