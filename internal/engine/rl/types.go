// Package rl computes advantages and losses in float64. Every formula is
// docs/reinforcement.md's; testdata/losses.json holds golden values.
package rl

// Scored holds the log-probs of the n scored tokens of one sample.
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
	WSum     float64 // sum of uncapped importance ratios' capped w
	WSqSum   float64 // sum of w^2
	Masked   bool    // dropped by the off-policy mask
}

// To be written here, with these signatures:
//
//	func Advantages(spec *engine.Spec, rewards [][]float64) (adv [][]float64, dead []bool)
//	func Loss(spec *engine.Spec, s Scored, adv float64, norm Norm, grad []float64) Stats
