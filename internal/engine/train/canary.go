package train

import (
	"context"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/model"
)

// Canary computes the canary under the adapter as it is now, on n tokens or as
// many as the job's context holds. It returns nil where that is less than two.
// One thread stays free for whoever sends the state meanwhile: threads that meet at
// every product would wait for the one that shares its core.
func (t *Trainer) Canary(ctx context.Context, n int) (*engine.Canary, error) {
	n = min(n, t.positions)
	if n < 2 {
		return nil, nil
	}
	t.spared = 1
	defer func() { t.spared = 0 }()
	t.applyThreads()
	ids := engine.CanaryIDs(t.vocab, n)
	behind := model.Branch{Tokens: ids[1:], Scored: make([]bool, n-1)}
	for i := range behind.Scored {
		behind.Scored[i] = true
	}
	out := &engine.Canary{Sequence: engine.CanarySequence}
	err := t.work.LogProbs(ctx, []*model.Tree{{Prompt: ids[:1], Branches: []model.Branch{behind}}}, t.adapter, func(_, _ int, lp []float64) {
		out.Logprobs = append(out.Logprobs, lp...)
	})
	if err != nil {
		return nil, err
	}
	if !engine.LogProbs(out.Logprobs) {
		return nil, &engine.Problem{Rule: "canary-not-finite", Key: "learningRate",
			Message: "the trained adapter's log-probs are not numbers: it would answer nothing; try again with a lower learningRate"}
	}
	return out, nil
}
