package train

import (
	"encoding/json"
	"math"

	"github.com/firekeep/firekeep/internal/engine/rl"
	"github.com/firekeep/firekeep/internal/engine/rows"
)

// tally gathers the statistics of one optimiser batch.
type tally struct {
	norm     rl.Norm
	stats    rl.Stats
	tokens   int // scored tokens that were computed
	entropy  float64
	masked   int
	signal   int64 // samples that carried a gradient
	rewarded int64 // samples, those of dropped groups included
	pairs    int   // of a method of pairs
	ordered  int   // pairs whose margin is above 0
	margin   float64
	m        Metrics
	written  divergence
}

// divergence compares the incoming policy with the one that wrote the text.
type divergence struct {
	WithLogprobs int64   `json:"withLogprobs"` // samples
	OldTokens    int64   `json:"oldTokens"`
	OldSum       float64 `json:"oldSum"` // of lp_old
	Histogram    ratios  `json:"histogram,omitempty"`
}

func newTally(method string, b *batch) *tally {
	t := &tally{}
	m := &t.m
	m.Epoch, m.Groups, m.RewardMin, m.RewardMax = b.epoch, len(b.items)+len(b.dropped), math.Inf(1), math.Inf(-1)
	var r []float64
	for i := range b.items {
		it := &b.items[i]
		if it.dead {
			m.DeadGroups++
		}
		if rl.Paired(method) {
			r = t.samples(it.whole, r)
			t.pairs++
		} else {
			r = t.samples(it.Samples[it.first:it.end], r)
		}
		for s := it.first; s < it.end; s++ {
			t.norm.Samples++
			t.norm.Tokens += scores(&it.Samples[s])
		}
	}
	m.Samples, m.ScoredTokens = t.norm.Samples, int64(t.norm.Tokens)
	for _, g := range b.dropped {
		m.DeadGroups++
		r = t.samples(g.whole, r)
	}
	t.rewarded = int64(len(r))
	m.RewardMean, m.RewardStd = meanStd(r)
	for _, x := range r {
		m.RewardMin, m.RewardMax = min(m.RewardMin, x), max(m.RewardMax, x)
	}
	if len(r) == 0 {
		m.RewardMin, m.RewardMax = 0, 0
	}
	return t
}

// samples counts samples of a group and appends their rewards.
func (t *tally) samples(list []rows.EncodedSample, rewards []float64) []float64 {
	for i := range list {
		s := &list[i]
		t.m.Tokens += int64(len(s.IDs))
		if scores(s) == 0 {
			t.m.EmptySamples++
		}
		if s.Cut {
			t.m.Truncated++
		}
		rewards = append(rewards, s.Reward)
	}
	return rewards
}

// meanStd returns the mean and the deviation with Bessel's correction.
func meanStd(r []float64) (mean, std float64) {
	if len(r) == 0 {
		return 0, 0
	}
	for _, x := range r {
		mean += x / float64(len(r))
	}
	if len(r) == 1 {
		return mean, 0
	}
	for _, x := range r {
		std += (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(std / float64(len(r)-1))
}

// compute counts the tokens of a micro-batch.
func (t *tally) compute(m micro) {
	for i := range m {
		t.m.Computed += int64(m[i].Computed())
	}
}

// sample adds a computed sample.
func (t *tally) sample(s *liveSample, lp rl.Scored, stats rl.Stats, entropy []float64) {
	t.stats.Add(stats)
	if stats.Masked {
		t.masked++
	}
	t.signal++
	t.tokens += len(lp.LP)
	for _, e := range entropy {
		t.entropy += e
	}
	t.written.add(lp.Old, s.mu)
}

func (d *divergence) add(old, mu []float64) {
	d.OldTokens += int64(len(old))
	for _, x := range old {
		d.OldSum += x
	}
	if mu == nil {
		return
	}
	d.WithLogprobs++
	for i, x := range old {
		d.Histogram.add(x - mu[i])
	}
}

// metrics closes the tally.
func (t *tally) metrics() Metrics {
	m := t.m
	m.Loss, m.MaskedSamples, m.EffectiveSize = t.stats.Loss, t.masked, t.stats.EffectiveSize()
	if n := float64(t.pairs); n > 0 {
		m.Pairs, m.PairAccuracy, m.PairMargin = t.pairs, float64(t.ordered)/n, t.margin/n
	}
	if n := float64(t.tokens); n > 0 {
		m.KL, m.ClipFraction = t.stats.KL/n, float64(t.stats.Clipped)/n
		m.Entropy, m.RatioMean = t.entropy/n, t.stats.RatioSum/n
	}
	return m
}

// totals are the statistics of the job so far; they survive in resume points.
type totals struct {
	Baseline   string `json:"baseline"`
	Batches    int64  `json:"batches"` // optimiser batches
	Updates    int64  `json:"updates"` // those that changed the weights
	Signal     int64  `json:"signal"`
	Groups     int64  `json:"groups"`
	DeadGroups int64  `json:"deadGroups"`
	Samples    int64  `json:"samples"`
	Empty      int64  `json:"emptySamples"`
	Truncated  int64  `json:"truncatedSamples"`
	Masked     int64  `json:"offPolicyMasked"`
	Tokens     int64  `json:"tokens"`
	Scored     int64  `json:"scoredTokens"`
	Computed   int64  `json:"computedTokens"`
	Live       int64  `json:"liveTokens"` // scored tokens that were computed

	KL, Entropy, Clipped float64 // sums over Live
	WSum, WSqSum         float64

	Pairs, Ordered int64   `json:",omitempty"`
	Margin         float64 `json:",omitempty"` // sum over pairs

	LossSum, LossWeight float64 // of batches, before each update

	Reward  moments    `json:"reward"`
	Written divergence `json:"written"`
}

// moments describe the rewards of all samples.
type moments struct {
	N         int64   `json:"n"`
	Mean      float64 `json:"mean"`
	SquareSum float64 `json:"squareSum"` // of deviations from the mean
	Min       float64 `json:"min"`
	Max       float64 `json:"max"`
}

// merge adds a batch of n rewards (Chan, Golub, LeVeque 1979).
func (a *moments) merge(n int64, mean, std, low, high float64) {
	if n == 0 {
		return
	}
	if a.N == 0 {
		a.Min, a.Max = low, high
	}
	a.Min, a.Max = min(a.Min, low), max(a.Max, high)
	d, all := mean-a.Mean, float64(a.N+n)
	a.SquareSum += std*std*float64(n-1) + d*d*float64(a.N)*float64(n)/all
	a.Mean += d * float64(n) / all
	a.N += n
}

func (t *totals) add(m *Metrics, y *tally) {
	t.Signal += y.signal
	t.Groups += int64(m.Groups)
	t.DeadGroups += int64(m.DeadGroups)
	t.Samples += y.rewarded
	t.Empty += int64(m.EmptySamples)
	t.Truncated += int64(m.Truncated)
	t.Masked += int64(m.MaskedSamples)
	t.Tokens += m.Tokens
	t.Scored += m.ScoredTokens
	t.Computed += m.Computed
	t.Live += int64(y.tokens)
	t.KL += y.stats.KL
	t.Entropy += y.entropy
	t.Clipped += float64(y.stats.Clipped)
	t.WSum += y.stats.WSum
	t.WSqSum += y.stats.WSqSum
	t.Pairs += int64(y.pairs)
	t.Ordered += int64(y.ordered)
	t.Margin += y.margin
	t.Reward.merge(y.rewarded, m.RewardMean, m.RewardStd, m.RewardMin, m.RewardMax)
	t.Written.merge(&y.written)
	for _, x := range []*float64{&t.KL, &t.Entropy, &t.Margin, &t.Reward.Mean, &t.Reward.SquareSum, &t.Written.OldSum} {
		*x = finite(*x)
	}
}

// weigh adds a batch's loss to the mean.
func (t *totals) weigh(loss, weight float64) {
	t.LossSum = finite(t.LossSum + finite(loss)*weight)
	t.LossWeight += weight
}

// finite bounds x to what JSON can carry: rewards may be as large as float64.
func finite(x float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return min(max(x, -math.MaxFloat64), math.MaxFloat64)
}

// Report describes the dataset as the job saw it, over all epochs.
type Report struct {
	Samples        int64              `json:"samples"`
	Groups         int64              `json:"groups"`
	DeadGroups     int64              `json:"deadGroups"`
	EmptySamples   int64              `json:"emptySamples"`
	Truncated      int64              `json:"truncatedSamples"`
	Masked         int64              `json:"offPolicyMasked"`
	Tokens         int64              `json:"tokens"`
	ScoredTokens   int64              `json:"scoredTokens"`
	ComputedTokens int64              `json:"computedTokens"`
	Loss           float64            `json:"loss"` // mean over the batches, each before its update
	RewardMean     float64            `json:"rewardMean"`
	RewardStd      float64            `json:"rewardStd"`
	RewardMin      float64            `json:"rewardMin"`
	RewardMax      float64            `json:"rewardMax"`
	KL             float64            `json:"kl"`
	Entropy        float64            `json:"entropy"`
	ClipFraction   float64            `json:"clipFraction"`
	EffectiveSize  float64            `json:"effectiveSampleSize"`
	WithLogprobs   float64            `json:"withLogprobs"`             // share of the computed samples
	Perplexity     float64            `json:"perplexity"`               // of scored tokens under the incoming policy
	RatioQuantiles map[string]float64 `json:"ratioQuantiles,omitempty"` // of exp(lp_old - lp_mu), uncapped
	Baseline       string             `json:"advantageBaseline"`
	Pairs          int64              `json:"pairs,omitempty"`
	PairAccuracy   float64            `json:"pairAccuracy,omitempty"` // share of pairs in the right order, before each update
	PairMargin     float64            `json:"pairMargin,omitempty"`
}

func (t *totals) report() json.RawMessage {
	r := Report{Samples: t.Samples, Groups: t.Groups, DeadGroups: t.DeadGroups, EmptySamples: t.Empty, Truncated: t.Truncated,
		Masked: t.Masked, Tokens: t.Tokens, ScoredTokens: t.Scored, ComputedTokens: t.Computed,
		RewardMean: t.Reward.Mean, RewardMin: t.Reward.Min, RewardMax: t.Reward.Max,
		RatioQuantiles: t.Written.Histogram.quantiles(), Baseline: t.Baseline}
	if t.Reward.N > 1 {
		r.RewardStd = math.Sqrt(t.Reward.SquareSum / float64(t.Reward.N-1))
	}
	if n := float64(t.Live); n > 0 {
		r.KL, r.Entropy, r.ClipFraction = t.KL/n, t.Entropy/n, t.Clipped/n
	}
	if t.LossWeight > 0 {
		r.Loss = t.LossSum / t.LossWeight
	}
	if n := float64(t.Pairs); n > 0 {
		r.Pairs, r.PairAccuracy, r.PairMargin = t.Pairs, float64(t.Ordered)/n, t.Margin/n
	}
	if t.WSqSum > 0 {
		r.EffectiveSize = t.WSum * t.WSum / t.WSqSum
	}
	if t.Signal > 0 {
		r.WithLogprobs = float64(t.Written.WithLogprobs) / float64(t.Signal)
	}
	if t.Written.OldTokens > 0 {
		r.Perplexity = math.Exp(-t.Written.OldSum / float64(t.Written.OldTokens))
	}
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // finite numbers and strings
	}
	return b
}
