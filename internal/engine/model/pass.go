package model

import (
	"context"
	"fmt"
	"runtime"

	"github.com/firekeep/firekeep/internal/engine"
)

// LogProbs computes the log-probs of the scored tokens of every branch under
// the base with adapter a (nil = the base alone) and hands them to visit, in
// order of tree and branch; branches without scored tokens get an empty slice.
// The slice is valid during the call. The values are bit for bit those that
// Gradients sees with the same weights.
func (w *Workspace) LogProbs(ctx context.Context, trees []*Tree, a *Adapter, visit func(tree, branch int, lp []float64)) error {
	p := pass{ctx: ctx, trees: trees, a: a, visit: visit}
	return w.run(&p)
}

// LossFunc turns the log-probs of a sample's scored tokens into the gradient of
// the loss with respect to them: it sets grad. entropy is that of each token's
// distribution in nats. The slices are valid during the call.
type LossFunc func(tree, branch int, lp, entropy, grad []float64)

// Gradients computes trees with adapter a, asks loss for each branch's
// gradient in order of tree and branch, and adds the gradients of a's tensors
// to g, which has the shape of a.
func (w *Workspace) Gradients(ctx context.Context, trees []*Tree, a, g *Adapter, loss LossFunc) error {
	p := pass{ctx: ctx, trees: trees, a: a, g: g, grad: true, loss: loss}
	return w.run(&p)
}

// Logits returns the logits [len(tokens), Vocab] of one sequence.
func (w *Workspace) Logits(ctx context.Context, tokens []int32, a *Adapter) ([]float32, error) {
	c := &w.model.Config
	p := pass{ctx: ctx, trees: []*Tree{{Prompt: tokens}}, a: a}
	if err := w.run(&p); err != nil {
		return nil, err
	}
	norm, logits := make([]float32, len(tokens)*c.Hidden), make([]float32, len(tokens)*c.Vocab)
	w.rmsNorm(norm, w.out, w.model.Norm, make([]float32, len(tokens)), len(tokens))
	w.pool.Forward(logits, c.Vocab, norm, c.Hidden, w.model.Head, len(tokens), false)
	runtime.KeepAlive(w)
	return logits, nil
}

// check refuses tokens and positions that the tables do not hold.
func (w *Workspace) check(trees []*Tree) error {
	for _, t := range trees {
		longest := 0
		if err := w.checkTokens(t.Prompt); err != nil {
			return err
		}
		for b := range t.Branches {
			longest = max(longest, t.Branches[b].inputs())
			if err := w.checkTokens(t.Branches[b].Tokens); err != nil {
				return err
			}
		}
		if n := len(t.Prompt) + longest; n > w.positions {
			return &engine.Problem{Rule: "context-length", Message: fmt.Sprintf("a sample has %d tokens; at most %d fit", n, w.positions)}
		}
	}
	return nil
}

func (w *Workspace) checkTokens(ids []int32) error {
	for _, id := range ids {
		if id < 0 || int(id) >= w.model.Config.Vocab {
			return &engine.Problem{Rule: "token-id", Key: "token_ids", Message: fmt.Sprintf("a token id lies outside the model's vocabulary of %d", w.model.Config.Vocab)}
		}
	}
	return nil
}
