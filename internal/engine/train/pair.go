package train

import (
	"context"

	"github.com/firekeep/firekeep/internal/engine/rl"
)

// compare finds what the samples of an optimiser batch's pairs must learn. The
// loss of a sample depends on its partner's log-probs, which the gradient pass
// of a micro-batch need not see; so the log-probs of all come first. They are
// bit for bit those of the gradient pass, and what they make is one number per
// sample, whatever micro-batches the work is divided into.
func (t *Trainer) compare(ctx context.Context, b *batch, list []micro, tally *tally, passes *part, events Events) error {
	var sides []rl.Side // two per pair, in the order of items
	var samples []*liveSample
	for _, m := range list {
		t.applyThreads()
		first := len(sides)
		err := t.work.LogProbs(ctx, m.models(), t.adapter, func(tr, branch int, lp []float64) {
			sides = append(sides, rl.Side{LP: sum(lp), Tokens: len(lp)})
			samples = append(samples, &m[tr].samples[branch])
		})
		if err != nil {
			return err
		}
		if err := t.refer(ctx, m, sides[first:]); err != nil {
			return err
		}
		if err := t.progress(b, passes.next(), events); err != nil {
			return err
		}
	}
	for i := 0; i+1 < len(sides); i += 2 {
		terms := rl.PairLoss(t.spec, sides[i], sides[i+1], tally.pairs)
		samples[i].slope, samples[i+1].slope = terms.Chosen, terms.Rejected
		tally.pair(terms)
	}
	return nil
}

// refer fills in the reference's log-probs of a micro-batch; ORPO has none.
func (t *Trainer) refer(ctx context.Context, m micro, sides []rl.Side) error {
	if t.spec.Method != "DPO" {
		return nil
	}
	incoming := t.spec.KLReference == "incoming"
	if incoming && t.totals.Updates == 0 && !t.evaluating { // the weights still are the incoming ones
		for i := range sides {
			sides[i].Ref = sides[i].LP
		}
		return nil
	}
	reference := t.incoming
	if !incoming {
		reference = nil
	}
	i := 0
	return t.work.LogProbs(ctx, m.models(), reference, func(_, _ int, lp []float64) {
		sides[i].Ref = sum(lp)
		i++
	})
}

func (t *tally) pair(terms rl.PairTerms) {
	t.stats.Loss += terms.Loss
	t.margin += terms.Margin
	if terms.Margin > 0 {
		t.ordered++
	}
}

func sum(v []float64) float64 {
	s := 0.0
	for _, x := range v {
		s += x
	}
	return s
}
