package engine

import "math"

// Canary is what a trainer's final adapter says about a short sequence of
// tokens that is the same for every model of one vocabulary. Whoever loads the
// adapter computes it again: that shows that what serves is what was trained,
// through all that lies between, from the file to the kernels. The sequence is
// made of the size of the vocabulary alone, so it tells nothing about anybody's
// rows.
type Canary struct {
	Sequence string    `json:"sequence"` // how the tokens are made
	Logprobs []float64 `json:"logprobs"` // of each token behind the first, given those before it
}

// CanarySequence names the tokens of CanaryIDs.
const CanarySequence = "splitmix64-1"

// CanaryTokens is the length of a canary where the context has room for it: as many
// rows as one pass over the weights takes at the price of one row.
const CanaryTokens = 14

// MaxCanaryTokens is the longest that a checkpoint may record: so many were computed
// before.
const MaxCanaryTokens = 32

// canarySeed begins the sequence: the letters "canary".
const canarySeed = 0x63616e617279

// CanaryIDs returns the first n tokens of the canary of a vocabulary: values of
// SplitMix64, each modulo its size.
func CanaryIDs(vocab, n int) []int32 {
	ids := make([]int32, n)
	state := uint64(canarySeed)
	for i := range ids {
		ids[i] = int32(SplitMix64(&state) % uint64(vocab))
	}
	return ids
}

// Tokens is the length of the sequence that c was computed on.
func (c *Canary) Tokens() int { return len(c.Logprobs) + 1 }

// LogProbs reports whether all of lp could be log-probs.
func LogProbs(lp []float64) bool {
	for _, v := range lp {
		if !(v <= 1e-6) || math.IsInf(v, -1) {
			return false
		}
	}
	return true
}

// Distance is the largest difference between c and the same tokens' log-probs
// elsewhere; infinite when they are not as many, or not numbers.
func (c *Canary) Distance(lp []float64) float64 {
	if len(lp) != len(c.Logprobs) {
		return math.Inf(1)
	}
	worst := 0.0
	for i, v := range lp {
		d := math.Abs(v - c.Logprobs[i])
		if math.IsNaN(d) {
			return math.Inf(1)
		}
		worst = max(worst, d)
	}
	return worst
}

// Tolerances of Distance, in nats. docs/precision.md says what was measured.
const (
	canarySameFloat32  = 1e-4 // one level: decoding adds up attention in an order of its own
	canaryFloat32      = 1e-3 // two levels: every sum in another order
	canarySameBFloat16 = 0.02 // one level: a last bit that tips an activation to its neighbour
	canaryBFloat16     = 0.25 // two levels: many of them
	canaryMixed        = 0.5  // bfloat16 on one side: the rounding itself
)

// Computed is what log-probs were computed on. Level is the kernels' name;
// BFloat16 the precision, else float32.
type Computed struct {
	Level    string
	BFloat16 bool
}

// CanaryTolerance is how far apart the canaries of trainer and server may be.
func CanaryTolerance(trained, served Computed) float64 {
	same := trained.Level == served.Level
	switch {
	case trained.BFloat16 != served.BFloat16:
		return canaryMixed
	case trained.BFloat16 && same:
		return canarySameBFloat16
	case trained.BFloat16:
		return canaryBFloat16
	case same:
		return canarySameFloat32
	}
	return canaryFloat32
}
