// Package rl computes rewards, advantages and losses in float64. Every formula
// is docs/reinforcement.md's; testdata/losses.json holds golden values and
// testdata/losses.py recreates it.
//
// The pieces are pure functions of one group (Advantages) or of one sample
// (Loss), so a batch may be divided in any way: the normalisers come from the
// whole optimiser batch and the shares add up to the same loss and gradient.
package rl

// Scored holds the log-probs of the n scored tokens of one sample. All are of
// the raw softmax: temperature 1, before any truncation.
type Scored struct {
	LP  []float64 // under the weights being trained
	Old []float64 // at the start of the step
	Mu  []float64 // under the sampler that wrote the text; nil without logprobs
	Ref []float64 // reference; nil when klBeta is 0
}

// Norm holds the normalisers of the optimiser batch: S samples, N scored tokens.
type Norm struct {
	Samples int
	Tokens  int
}

// Stats is what one sample adds to the batch's report.
type Stats struct {
	Loss     float64 // share of the batch's loss, already normalised
	KL       float64 // sum of k3 over the scored tokens
	Clipped  int     // scored tokens whose gradient a clip zeroed
	RatioSum float64 // sum of r
	WSum     float64 // sum of the capped importance weights w of the tokens with logprobs
	WSqSum   float64 // sum of w^2 of the same tokens
	Masked   bool    // dropped by the off-policy mask
}

// Add sums the statistics of samples; Masked becomes true if any was.
func (a *Stats) Add(b Stats) {
	a.Loss += b.Loss
	a.KL += b.KL
	a.Clipped += b.Clipped
	a.RatioSum += b.RatioSum
	a.WSum += b.WSum
	a.WSqSum += b.WSqSum
	a.Masked = a.Masked || b.Masked
}

// EffectiveSize is (sum w)^2 / sum w^2: how many tokens of equal weight carry
// as much information. 0 without any token with logprobs.
func (a Stats) EffectiveSize() float64 {
	if a.WSqSum == 0 {
		return 0
	}
	return a.WSum * a.WSum / a.WSqSum
}
