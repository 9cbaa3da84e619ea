package model

import (
	"context"
	"fmt"

	"github.com/firekeep/firekeep/internal/engine"
)

// LogProbs computes the log-probs of the scored tokens of every branch under
// the base with adapter a (nil = the base alone) and hands them to visit, in
// order of tree and branch; branches without scored tokens get an empty slice.
// The slice is valid during the call. The values are bit for bit those that
// Gradients sees with the same weights.
func (w *Workspace) LogProbs(ctx context.Context, trees []*Tree, a *Adapter, visit func(tree, branch int, lp []float64)) error {
	if err := w.forward(ctx, trees, a, false); err != nil {
		return err
	}
	return w.chunks(func(samples []sampleSpan) error {
		w.pieces(samples[0].lo, samples[len(samples)-1].hi, w.scoreTokens)
		for _, s := range samples {
			visit(s.tree, s.branch, w.head.lp[s.lo:s.hi])
		}
		return ctx.Err()
	})
}

// LossFunc turns the log-probs of a sample's scored tokens into the gradient of
// the loss with respect to them: it sets grad. entropy is that of each token's
// distribution in nats. The slices are valid during the call.
type LossFunc func(tree, branch int, lp, entropy, grad []float64)

// Gradients computes trees with adapter a, asks loss for each branch's
// gradient in order of tree and branch, and adds the gradients of a's tensors
// to g, which has the shape of a.
func (w *Workspace) Gradients(ctx context.Context, trees []*Tree, a, g *Adapter, loss LossFunc) error {
	if err := w.forward(ctx, trees, a, true); err != nil {
		return err
	}
	clear(w.dx)
	err := w.chunks(func(samples []sampleSpan) error {
		lo, hi := samples[0].lo, samples[len(samples)-1].hi
		w.pieces(lo, hi, w.scoreTokens)
		for _, s := range samples {
			loss(s.tree, s.branch, w.head.lp[s.lo:s.hi], w.head.entropy[s.lo:s.hi], w.head.grad[s.lo:s.hi])
		}
		w.pieces(lo, hi, func(from, to int) {
			if hi-lo > w.head.rows { // a sample longer than the buffers: only the last piece is still there
				w.scoreTokens(from, to)
			}
			w.backwardTokens(from, to)
		})
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	for l := len(w.layers) - 1; l >= 0; l-- {
		if err := w.between(ctx); err != nil {
			return err
		}
		s := &w.layers[l]
		if w.kept == keepInputs && l < len(w.layers)-1 { // the last block's acts are still those of the forward
			w.forwardBlock(l, a, s, nil)
		}
		w.backwardBlock(l, a, g, s, l == 0)
	}
	return nil
}

// Logits returns the logits [len(tokens), Vocab] of one sequence.
func (w *Workspace) Logits(ctx context.Context, tokens []int32, a *Adapter) ([]float32, error) {
	c := &w.model.Config
	if err := w.forward(ctx, []*Tree{{Prompt: tokens}}, a, false); err != nil {
		return nil, err
	}
	norm, logits := make([]float32, len(tokens)*c.Hidden), make([]float32, len(tokens)*c.Vocab)
	w.rmsNorm(norm, w.out, w.model.Norm, make([]float32, len(tokens)), len(tokens))
	w.pool.Forward(logits, c.Vocab, norm, c.Hidden, w.model.Head, len(tokens), false)
	return logits, nil
}

// forward runs the blocks; it leaves the last one's output in w.out.
func (w *Workspace) forward(ctx context.Context, trees []*Tree, a *Adapter, grad bool) error {
	w.kept = w.prepare(trees, a, grad)
	w.prepareHead(grad)
	if err := w.check(); err != nil {
		return err
	}
	c := &w.model.Config
	for row, id := range w.forest.tokens {
		w.model.EmbedRow(w.layers[0].x1[row*c.Hidden:(row+1)*c.Hidden], id)
	}
	for l := range w.layers {
		if err := w.between(ctx); err != nil {
			return err
		}
		next := w.out
		if l+1 < len(w.layers) {
			next = w.layers[l+1].x1
		}
		w.forwardBlock(l, a, &w.layers[l], next)
	}
	return nil
}

// between is called between layers.
func (w *Workspace) between(ctx context.Context) error {
	if w.Between != nil {
		w.Between()
	}
	return ctx.Err()
}

// check refuses tokens and positions that the tables do not hold.
func (w *Workspace) check() error {
	if w.forest.maxKeys > w.positions {
		return &engine.Problem{Rule: "context-length", Message: fmt.Sprintf("a sample has %d tokens; at most %d fit", w.forest.maxKeys, w.positions)}
	}
	for _, ids := range [][]int32{w.forest.tokens, w.forest.scoreTargets} {
		for _, id := range ids {
			if id < 0 || int(id) >= w.model.Config.Vocab {
				return &engine.Problem{Rule: "token-id", Key: "token_ids", Message: fmt.Sprintf("a token id lies outside the model's vocabulary of %d", w.model.Config.Vocab)}
			}
		}
	}
	return nil
}
