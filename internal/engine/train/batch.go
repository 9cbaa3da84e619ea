package train

import (
	"context"
	"slices"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/rl"
	"github.com/firekeep/firekeep/internal/engine/rows"
)

// cursor says which sample comes next: a group that does not fit into one
// batch is continued in the following ones.
type cursor struct {
	Position int64 `json:"position"`
	Sample   int   `json:"sample"`
}

// group is a group of rows with what its rewards say. For a method of pairs
// Encoded holds the chosen and the rejected sample only, in this order.
type group struct {
	*rows.Encoded
	position int64
	adv      []float64 // per sample; nil until the batch is known (baseline batch)
	dead     bool
	whole    []rows.EncodedSample // all of the group's samples, for the report
}

// item is a group's samples [first, end) within one batch.
type item struct {
	*group
	first, end int
}

// batch is an optimiser batch: up to gradientAccumulationSteps batches.
type batch struct {
	epoch   int
	items   []item
	dropped []*group // dead groups that DAPO removed, groups without a pair
	next    cursor   // of the first sample behind it
}

// batcher turns the source's groups into optimiser batches by the rules of
// docs/reinforcement.md, Batching.
type batcher struct {
	spec     *engine.Spec
	next     Source
	baseline string // "" until resolved
	epoch    int
	at       cursor
	ended    bool // no epoch follows
	drained  bool // the source's last epoch end was read

	waiting []waiting // read ahead, in order
	current batch
	closed  int // batches that current already holds in full
	tokens  int // of the open batch
	samples int
}

// waiting is a group, or the end of an epoch.
type waiting struct {
	*group
	epoch int // without a group: the epoch that begins
	last  bool
}

// lookahead is how many one-sample groups are read before they are taken for a
// dataset of one-sample rows.
const lookahead = 64

// nextBatch returns the next optimiser batch, nil behind the last epoch.
func (b *batcher) nextBatch(ctx context.Context) (*batch, error) {
	b.current = batch{epoch: b.epoch}
	b.closed, b.tokens, b.samples = 0, 0, 0
	for {
		g, err := b.peek(ctx)
		if err != nil {
			return nil, err
		}
		if g == nil { // the epoch ends
			full := len(b.current.items)+len(b.current.dropped) > 0
			if full {
				return b.finish(), nil
			}
			if b.ended {
				return nil, nil
			}
			b.current.epoch = b.epoch
			continue
		}
		if g.dead && b.drops() {
			b.current.dropped = append(b.current.dropped, g)
			b.consume()
			continue
		}
		if !b.place(g) {
			return b.finish(), nil
		}
	}
}

// drops says that dead groups are no part of a batch.
func (b *batcher) drops() bool { return b.spec.Method == "DAPO" || rl.Paired(b.spec.Method) }

func (b *batcher) finish() *batch {
	done := b.current
	done.next = b.at
	b.advantages(&done)
	return &done
}

// peek returns the next group without consuming it; nil at the end of an epoch,
// which it consumes.
func (b *batcher) peek(ctx context.Context) (*group, error) {
	if len(b.waiting) == 0 {
		if err := b.read(ctx); err != nil {
			return nil, err
		}
	}
	w := b.waiting[0]
	if w.group == nil {
		b.waiting = b.waiting[1:]
		b.epoch, b.ended = max(b.epoch, w.epoch), w.last
	}
	return w.group, nil
}

// consume moves on to the group behind the first waiting one.
func (b *batcher) consume() {
	b.at = cursor{Position: b.waiting[0].position + 1}
	b.waiting = b.waiting[1:]
}

// read fills waiting with one entry, or, while the baseline is not resolved,
// with enough to resolve it.
func (b *batcher) read(ctx context.Context) error {
	if b.drained {
		b.waiting = append(b.waiting, waiting{epoch: b.epoch, last: true})
		return nil
	}
	for {
		in, err := b.next(ctx)
		if err != nil {
			return err
		}
		if in.Rows == nil {
			b.drained = in.Last
			b.waiting = append(b.waiting, waiting{epoch: in.Epoch + 1, last: in.Last})
			b.resolve(true)
			return nil
		}
		g, err := b.accept(in)
		if err != nil {
			return err
		}
		b.waiting = append(b.waiting, waiting{group: g})
		if b.resolve(len(b.waiting) >= lookahead) {
			return nil
		}
	}
}

// accept checks a group of the source.
func (b *batcher) accept(in Group) (*group, error) {
	g := &group{Encoded: in.Rows, position: in.Position}
	for i := range g.Samples {
		s := &g.Samples[i]
		if len(s.IDs) == 0 || len(s.Scored) != len(s.IDs) || s.Logprobs != nil && len(s.Logprobs) != len(s.IDs) || s.Scored[0] {
			return nil, &engine.Problem{Rule: "sample-shape", Line: g.Line, Sample: i + 1, Message: "a sample needs a prompt, and one mask and log-prob per token"}
		}
		if b.spec.Method == "IMPORTANCE_SAMPLING" && mu(s) == nil {
			return nil, &engine.Problem{Rule: "missing-logprobs", Line: g.Line, Sample: i + 1, Key: "logprobs", Message: "IMPORTANCE_SAMPLING needs the log-prob of every scored token"}
		}
	}
	b.shorten(g)
	g.whole = g.Samples
	if rl.Paired(b.spec.Method) {
		pair(g)
	} else if b.baseline != "" {
		b.judge(g)
	}
	return g, nil
}

// shorten gives overlong samples their penalty.
func (b *batcher) shorten(g *group) {
	if b.spec.OverlongMaxTokens <= 0 || !rl.Grouped(b.spec.Method) {
		return
	}
	own := &rows.Encoded{Line: g.Line, Samples: slices.Clone(g.Samples)}
	for i := range own.Samples {
		own.Samples[i].Reward += rl.Overlong(b.spec, scores(&own.Samples[i]))
	}
	g.Encoded = own
}

// pair reduces a group to its pair; one without is dead.
func pair(g *group) {
	scored := make([]int, len(g.Samples))
	for i := range g.Samples {
		scored[i] = scores(&g.Samples[i])
	}
	chosen, rejected, ok := rl.Pair(rewards(g.Samples), scored)
	if g.dead = !ok; ok {
		g.Encoded = &rows.Encoded{Line: g.Line, Samples: []rows.EncodedSample{g.Samples[chosen], g.Samples[rejected]}}
	}
}

// resolve settles an unset baseline by the waiting groups: that of the spec, or
// batch when none of them has two samples and enough is true.
func (b *batcher) resolve(enough bool) bool {
	if b.baseline != "" || !rl.Grouped(b.spec.Method) {
		return true
	}
	sizes := make([]int, 0, len(b.waiting))
	for _, w := range b.waiting {
		if w.group != nil {
			sizes = append(sizes, len(w.Samples))
		}
	}
	settled := rl.Baseline(b.spec, sizes)
	if len(sizes) == 0 || settled == rl.BaselineBatch && b.spec.Baseline == "" && !enough {
		return len(sizes) == 0 && enough
	}
	b.baseline = settled
	for _, w := range b.waiting {
		if w.group != nil {
			b.judge(w.group)
		}
	}
	return true
}

// judge computes the advantages that depend on the group alone.
func (b *batcher) judge(g *group) {
	if b.baseline == rl.BaselineBatch {
		return
	}
	spec := *b.spec
	spec.Baseline = b.baseline
	adv, dead := rl.Advantages(&spec, [][]float64{rewards(g.Samples)})
	g.adv, g.dead = adv[0], dead[0]
}

// advantages computes those that depend on the whole batch.
func (b *batcher) advantages(done *batch) {
	if b.baseline != rl.BaselineBatch {
		return
	}
	spec := *b.spec
	spec.Baseline = rl.BaselineBatch
	in := make([][]float64, len(done.items))
	for i, it := range done.items {
		in[i] = rewards(it.Samples[it.first:it.end])
	}
	adv, dead := rl.Advantages(&spec, in)
	for i := range done.items {
		it := &done.items[i]
		g := *it.group // the group may go on in the next batch with other advantages
		g.adv = make([]float64, len(g.Samples))
		copy(g.adv[it.first:], adv[i])
		g.dead = dead[i]
		it.group = &g
	}
}

func rewards(samples []rows.EncodedSample) []float64 {
	r := make([]float64, len(samples))
	for i := range samples {
		r[i] = samples[i].Reward
	}
	return r
}

// place puts what is left of the first waiting group into the optimiser batch.
// False: it is full, and what did not fit waits.
func (b *batcher) place(g *group) bool {
	first := 0
	if b.at.Position == g.position {
		first = b.at.Sample
	}
	b.at = cursor{Position: g.position, Sample: first}
	rest := g.Samples[first:]
	if b.fits(rest) || b.fitsEmpty(rest) && b.turn() {
		b.add(g, first, len(g.Samples))
		return true
	}
	if b.fitsEmpty(rest) {
		return false
	}
	unit := 1 // larger than a batch: sample by sample
	if rl.Paired(b.spec.Method) {
		unit = 2 // but a pair is one
	}
	for i := first; i < len(g.Samples); i += unit {
		one := g.Samples[i : i+unit]
		if !b.fits(one) && b.samples > 0 && !b.turn() {
			return false
		}
		b.add(g, i, i+unit)
	}
	return true
}

// turn closes the open batch; false when it was the optimiser batch's last.
func (b *batcher) turn() bool {
	if b.closed+1 >= max(1, b.spec.GradAccumulation) {
		return false
	}
	b.closed++
	b.tokens, b.samples = 0, 0
	return true
}

// add puts samples [first, end) of the first waiting group into the open batch.
func (b *batcher) add(g *group, first, end int) {
	b.tokens += tokensOf(g.Samples[first:end])
	b.samples += end - first
	if n := len(b.current.items); n > 0 && b.current.items[n-1].group == g {
		b.current.items[n-1].end = end
	} else {
		b.current.items = append(b.current.items, item{group: g, first: first, end: end})
	}
	b.at = cursor{Position: g.position, Sample: end}
	if end == len(g.Samples) {
		b.consume()
	}
}

// fits says whether samples go into the open batch whole.
func (b *batcher) fits(s []rows.EncodedSample) bool {
	return b.tokens+tokensOf(s) <= b.spec.BatchSize && b.inSamples(b.samples+len(s))
}

func (b *batcher) fitsEmpty(s []rows.EncodedSample) bool {
	return tokensOf(s) <= b.spec.BatchSize && b.inSamples(len(s))
}

func (b *batcher) inSamples(n int) bool {
	return b.spec.BatchSizeSamples <= 0 || n <= b.spec.BatchSizeSamples
}

// tokensOf counts packed tokens: prompt + completion of every sample.
func tokensOf(s []rows.EncodedSample) int {
	n := 0
	for i := range s {
		n += len(s[i].IDs)
	}
	return n
}
