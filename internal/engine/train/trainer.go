package train

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/optim"
	"github.com/firekeep/firekeep/internal/engine/rl"
)

// Defaults of Options.
const (
	defaultMicroTokens = 1536
	defaultMaxBytes    = 2 << 30
)

// Trainer holds one step: weights being trained, optimiser, and where the job
// stands. Only SetThreads may be called from another goroutine than Run's.
type Trainer struct {
	spec     *engine.Spec
	pool     *kernel.Pool
	work     *model.Workspace
	baseName string

	adapter   *model.Adapter // being trained
	incoming  *model.Adapter // as the job began
	gradient  *model.Adapter
	optimiser *optim.AdamW

	evaluating bool // nothing is learned

	positions, vocab int // that a sample may have, that a token may be one of

	microTokens int
	old, ref    []float64 // log-probs of a micro-batch, reused

	totals  totals
	at      cursor
	epoch   int
	threads atomic.Int32 // wanted; 0 = as it is
	spared  int          // how many of them others need now

	groupsPerEpoch int64
	began          time.Time
	beganAt        float64 // fraction done when Run began
	told           time.Time
}

// New prepares a step of base with spec. It refuses, as an *engine.Problem,
// what it cannot train and blobs that do not belong to spec and base.
func New(pool *kernel.Pool, base *model.Model, spec engine.Spec, o Options) (*Trainer, error) {
	if !slices.Contains(engine.Methods, spec.Method) {
		return nil, &engine.Problem{Rule: "unsupported-method", Key: "method", Message: fmt.Sprintf("the loss method %.40q is not supported by this engine", spec.Method)}
	}
	if spec.MaxContextLength < 1 || spec.BatchSize < 1 {
		return nil, &engine.Problem{Rule: "bad-spec", Key: "batchSize", Message: "batchSize and maxContextLength must be positive"}
	}
	t := &Trainer{spec: &spec, pool: pool, baseName: o.BaseName, evaluating: o.Evaluate, groupsPerEpoch: o.GroupsPerEpoch}
	if err := t.adapters(&base.Config, &o); err != nil {
		return nil, err
	}
	t.gradient = t.adapter.ZerosLike()
	t.optimiser = optim.New(t.spec, t.adapter.Params())
	if o.Optimizer != nil {
		if err := t.readOptimizer(o.Optimizer); err != nil {
			return nil, err
		}
	}
	if o.Resume != nil {
		if err := t.resume(o.Resume); err != nil {
			return nil, err
		}
	}
	t.positions, t.vocab = min(spec.MaxContextLength, base.Config.MaxPositions), base.Config.Vocab
	t.work = model.NewWorkspace(pool, base, t.positions)
	t.work.Between = t.applyThreads
	t.work.MaxBytes = orDefault(o.MaxBytes, defaultMaxBytes)
	t.microTokens = orDefault(o.MicroTokens, defaultMicroTokens)
	return t, nil
}

func orDefault[N int | int64](n, otherwise N) N {
	if n > 0 {
		return n
	}
	return otherwise
}

// SetThreads changes the number of threads soon, also during Run: between two
// layers. It changes speed, never results.
func (t *Trainer) SetThreads(n int) { t.threads.Store(int32(n)) }

func (t *Trainer) applyThreads() {
	n := int(t.threads.Load())
	if n <= 0 {
		return
	}
	if n = max(n-t.spared, 1); n != t.pool.Threads() {
		t.pool.SetThreads(n)
	}
}

// Run trains on everything that next yields. The error of a cancelled ctx is
// returned as it is, within a layer's time; other errors are an
// *engine.Problem or come from next or events.
func (t *Trainer) Run(ctx context.Context, next Source, events Events) (*Result, error) {
	t.began, t.beganAt = time.Now(), t.fraction(t.at.Position)
	b := &batcher{spec: t.spec, next: next, at: t.at, epoch: t.epoch, baseline: t.totals.Baseline}
	for {
		done, err := b.nextBatch(ctx)
		if err != nil {
			return nil, err
		}
		if done == nil {
			return t.result()
		}
		if err := t.settle(b.baseline, events); err != nil {
			return nil, err
		}
		m, err := t.step(ctx, done, events)
		if err != nil {
			return nil, err
		}
		t.at, t.epoch = done.next, b.epoch
		if err := events.Metrics(m); err != nil {
			return nil, err
		}
		if !t.evaluating && !t.done() && t.totals.Batches%int64(max(1, t.spec.ResumeEvery)) == 0 {
			if err := events.Mark(t.mark()); err != nil {
				return nil, err
			}
		}
	}
}

// done says that no group follows, as far as that is known: what would be a
// resume point is the result, which is written next.
func (t *Trainer) done() bool {
	all := t.groupsPerEpoch * int64(t.spec.Epochs)
	return all > 0 && t.at.Position >= all
}

// settle keeps the baseline that the first groups decided, and warns when they
// gave nothing to compare within a group.
func (t *Trainer) settle(baseline string, events Events) error {
	if t.totals.Baseline != "" || baseline == "" {
		return nil
	}
	t.totals.Baseline = baseline
	if baseline == rl.BaselineBatch && t.spec.Baseline == "" {
		return events.Warning("every row holds one sample: rewards are compared within the optimiser batch, not within groups; set advantageBaseline to choose")
	}
	return nil
}

func (t *Trainer) result() (*Result, error) {
	r := &Result{Updates: t.totals.Updates, Samples: t.totals.Samples, Tokens: t.totals.Tokens, Report: t.totals.report(), Mark: t.mark()}
	if t.totals.Signal > 0 || t.evaluating {
		return r, nil
	}
	r.NoSignal = true
	why := "with constant rewards"
	if rl.Paired(t.spec.Method) {
		why = "without a pair of different rewards, both with scored tokens"
	}
	r.Message = fmt.Sprintf("no sample carried a training signal (%d samples, %d of %d groups %s): the weights are the incoming ones",
		t.totals.Samples, t.totals.DeadGroups, t.totals.Groups, why)
	if t.spec.OnNoSignal == "fail" {
		return nil, &engine.Problem{Rule: "no-signal", Message: r.Message}
	}
	return r, nil
}

// progress tells events what part of the job is done, a few times per second.
func (t *Trainer) progress(b *batch, part float64, events Events) error {
	if time.Since(t.told) < 250*time.Millisecond {
		return nil
	}
	t.told = time.Now()
	p := Progress{Stage: "train"}
	if t.evaluating {
		p.Stage = "evaluate"
	}
	from, to := t.fraction(t.at.Position), t.fraction(b.next.Position)
	if to > 0 {
		p.Fraction = from + (to-from)*part
		if done := p.Fraction - t.beganAt; done > 0 {
			p.ETA = time.Duration(float64(time.Since(t.began)) / done * (1 - p.Fraction))
		}
	}
	return events.Progress(p)
}

// fraction is the part of the job behind the groups before position.
func (t *Trainer) fraction(position int64) float64 {
	all := t.groupsPerEpoch * int64(t.spec.Epochs)
	if all <= 0 {
		return 0
	}
	return min(1, float64(position)/float64(all))
}
