package serving

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

// Proof says how far an adapter that serves was held against its trainer.
type Proof string

const (
	// Proven: the child's log-probs of the canary are the trainer's.
	Proven Proof = "proven"
	// Unrecorded: the checkpoint records no canary; it was imported, or made before
	// there was one.
	Unrecorded Proof = "unrecorded"
)

// Loads counts the loads of adapters by what their canary said.
// Ahead are those of the proven that a child had before their checkpoint was there.
type Loads struct{ Proven, Unrecorded, Refused, Ahead int64 }

type loads struct{ proven, unrecorded, refused, ahead atomic.Int64 }

// Loads returns the counts since the start.
func (r *Router) Loads() Loads {
	return Loads{Proven: r.loads.proven.Load(), Unrecorded: r.loads.unrecorded.Load(), Refused: r.loads.refused.Load(), Ahead: r.loads.ahead.Load()}
}

// prove loads an adapter into the child and holds what it says about the canary
// against the checkpoint's record. One that disagrees is unloaded again, before
// any request can use it.
func (a *adapters) prove(ctx context.Context, s loader, t Target, f Adapter) (Proof, error) {
	want, tokens := f.Canary, 0
	if want != nil {
		if !known(want) {
			return "", a.refuse(ctx, t, fmt.Sprintf("its checkpoint records the canary %.40q, which this server does not know; a newer one made it", want.Sequence))
		}
		tokens = want.Tokens()
	}
	got, err := s.Load(ctx, t.AdapterID, f.Config, f.Tensors, tokens)
	switch {
	case err != nil:
		return "", err
	case want == nil:
		a.loads.unrecorded.Add(1)
		a.log.Info("adapter loaded without a canary: its checkpoint records none", slog.String("model", t.Adapter), slog.String("checkpoint", t.AdapterID))
		return Unrecorded, nil
	}
	apart, most := distance(s, f, got)
	if !(apart <= most) {
		if err := s.Unload(ctx, t.AdapterID); err != nil {
			return "", err
		}
		level, precision := s.Computes()
		return "", a.refuse(ctx, t, fmt.Sprintf("its log-probs of the canary are %.3g from the trainer's, more than %g (trained on %s, served on %s)",
			apart, most, spoken(f.Level, f.Precision), spoken(level, precision)))
	}
	a.accepted(t, apart, most)
	return Proven, nil
}

// known says whether this program can compute the canary that a checkpoint records.
func known(c *engine.Canary) bool {
	return c != nil && c.Sequence == engine.CanarySequence && len(c.Logprobs) > 0 && c.Tokens() <= engine.MaxCanaryTokens
}

// distance is how far the log-probs that the child computed are from those that f
// records, and how far they may be.
func distance(s loader, f Adapter, got []float64) (apart, most float64) {
	level, precision := s.Computes()
	return f.Canary.Distance(got), engine.CanaryTolerance(computed(f.Level, f.Precision), computed(level, precision))
}

// accepted counts and logs that an adapter serves from now on.
func (a *adapters) accepted(t Target, apart, most float64) {
	a.loads.proven.Add(1)
	a.log.Info("adapter loaded and proven", slog.String("model", t.Adapter), slog.String("checkpoint", t.AdapterID), slog.Float64("distance", apart), slog.Float64("tolerance", most))
}

func computed(level, precision string) engine.Computed {
	return engine.Computed{Level: level, BFloat16: precision == wire.BFloat16}
}

func spoken(level, precision string) string {
	if precision == "" {
		precision = wire.Float32
	}
	return level + " " + precision
}

// refuse counts and records that an adapter is not served.
func (a *adapters) refuse(ctx context.Context, t Target, reason string) error {
	a.loads.refused.Add(1)
	err := a.source.Refuse(ctx, t, rft.Errorf(rft.KindFailedPrecondition, "%s", reason))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused[t.AdapterID] = err
	return err
}
