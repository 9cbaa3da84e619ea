package train

import (
	"context"
	"time"

	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/rl"
)

// step computes one optimiser batch and updates the adapter.
func (t *Trainer) step(ctx context.Context, b *batch, events Events) (Metrics, error) {
	start := time.Now()
	tally := newTally(t.spec.Method, b)
	t.gradient.Zero()
	list := t.micros(b)
	passes := part{of: len(list)}
	if rl.Paired(t.spec.Method) {
		passes.of *= 2
		if err := t.compare(ctx, b, list, tally, &passes, events); err != nil {
			return Metrics{}, err
		}
	}
	pass := t.accumulate
	if t.evaluating {
		pass = t.measure
	}
	for _, m := range list {
		t.applyThreads()
		if err := pass(ctx, m, tally); err != nil {
			return Metrics{}, err
		}
		if err := t.progress(b, passes.next(), events); err != nil {
			return Metrics{}, err
		}
	}
	m := tally.metrics()
	if len(list) > 0 && !t.evaluating {
		norm, lr, err := t.optimiser.Step(t.gradient.Params())
		if err != nil {
			return Metrics{}, err
		}
		m.GradNorm, m.LearningRate, m.Updated = norm, lr, true
		t.totals.Updates++
	}
	t.totals.Batches++
	m.Update = t.totals.Batches
	m.Seconds = time.Since(start).Seconds()
	if m.Seconds > 0 {
		m.TokensPerSec = float64(m.Tokens) / m.Seconds
	}
	t.totals.add(&m, tally)
	t.totals.weigh(m.Loss, tally.norm.Weight(t.spec.Method, tally.pairs))
	return m, nil
}

// part counts passes over micro-batches.
type part struct{ done, of int }

func (p *part) next() float64 {
	p.done++
	return float64(p.done) / float64(p.of)
}

// accumulate adds the gradients of a micro-batch.
func (t *Trainer) accumulate(ctx context.Context, m micro, tally *tally) error {
	old, ref, err := t.policies(ctx, m)
	if err != nil {
		return err
	}
	tally.compute(m)
	return t.work.Gradients(ctx, m.models(), t.adapter, t.gradient, t.losses(m, old, ref, tally))
}

// measure adds the losses of a micro-batch that nothing is learned from.
func (t *Trainer) measure(ctx context.Context, m micro, tally *tally) error {
	old, ref, err := t.policies(ctx, m)
	if err != nil {
		return err
	}
	tally.compute(m)
	loss := t.losses(m, old, ref, tally)
	var unused []float64
	return t.work.LogProbs(ctx, m.models(), t.adapter, func(tr, branch int, lp []float64) {
		unused = append(unused[:0], lp...)
		loss(tr, branch, lp, nil, unused)
	})
}

// losses is the loss of a micro-batch's samples, one after another.
func (t *Trainer) losses(m micro, old, ref []float64, tally *tally) model.LossFunc {
	at := 0 // of the sample's first token in old and ref
	return func(tr, branch int, lp, entropy, grad []float64) {
		sample := &m[tr].samples[branch]
		if rl.Paired(t.spec.Method) {
			for i := range grad {
				grad[i] = sample.slope
			}
			tally.sample(sample, rl.Scored{LP: lp, Old: lp}, rl.Stats{}, entropy)
			return
		}
		s := rl.Scored{LP: lp, Old: lp, Mu: sample.mu}
		if old != nil {
			s.Old = old[at : at+len(lp)]
		}
		if t.spec.KLBeta > 0 && rl.Grouped(t.spec.Method) {
			s.Ref = s.Old
			if ref != nil {
				s.Ref = ref[at : at+len(lp)]
			}
		}
		at += len(lp)
		tally.sample(sample, s, rl.Loss(t.spec, s, sample.adv, tally.norm, grad), entropy)
	}
}

// policies computes the log-probs of a micro-batch under the incoming adapter
// and under the reference. old is nil where the weights still are the incoming
// ones, or the method has no ratio: then it is what the training pass sees.
// ref is nil without KL, and where it equals old.
func (t *Trainer) policies(ctx context.Context, m micro) (old, ref []float64, err error) {
	if !rl.Grouped(t.spec.Method) {
		return nil, nil, nil
	}
	if t.totals.Updates > 0 || t.evaluating {
		t.old = t.old[:0]
		err = t.work.LogProbs(ctx, m.models(), t.incoming, func(_, _ int, lp []float64) { t.old = append(t.old, lp...) })
		old = t.old
	}
	if err == nil && t.spec.KLBeta > 0 && t.spec.KLReference != "incoming" {
		t.ref = t.ref[:0]
		err = t.work.LogProbs(ctx, m.models(), nil, func(_, _ int, lp []float64) { t.ref = append(t.ref, lp...) })
		ref = t.ref
	}
	return old, ref, err
}
