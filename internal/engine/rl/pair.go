package rl

import (
	"math"

	"github.com/firekeep/firekeep/internal/engine"
)

// Paired reports whether a method learns from pairs: of each group one sample is
// chosen and one is rejected.
func Paired(method string) bool { return method == "DPO" || method == "ORPO" }

// Grouped reports whether a method compares the rewards of samples by advantages.
func Grouped(method string) bool { return !Paired(method) && method != "SFT" }

// Pair names the chosen and the rejected sample of a group: the first with the
// highest and the first with the lowest reward. false: the rewards are constant,
// or one of the two has no scored token, so that the group makes no pair.
func Pair(rewards []float64, scored []int) (chosen, rejected int, ok bool) {
	for i, r := range rewards {
		if r > rewards[chosen] {
			chosen = i
		}
		if r < rewards[rejected] {
			rejected = i
		}
	}
	if len(rewards) == 0 || rewards[chosen]-rewards[rejected] <= constantRange {
		return 0, 0, false
	}
	return chosen, rejected, scored[chosen] > 0 && scored[rejected] > 0
}

// Side is one sample of a pair: sums of log-probs over its scored tokens.
type Side struct {
	LP     float64 // under the weights being trained
	Ref    float64 // under the reference; ORPO has none
	Tokens int     // how many there are, at least 1
}

// PairTerms is what a pair adds to the batch's loss.
type PairTerms struct {
	Loss float64 // share of the batch's loss: divided by the number of pairs
	// Chosen and Rejected are d loss / d lp, the same for every scored token of
	// the sample.
	Chosen, Rejected float64
	// Margin is what the sigmoid sees: above 0, the pair is in the right order.
	Margin float64
}

// PairLoss computes the loss of one of pairs pairs of an optimiser batch.
//
//	DPO   -log sigmoid(beta ((c - ref_c) - (r - ref_r))), of sums over tokens
//	ORPO  -x_c - lambda log sigmoid(o_c - o_r), of means x over tokens
func PairLoss(spec *engine.Spec, chosen, rejected Side, pairs int) PairTerms {
	share := 1 / float64(max(pairs, 1))
	if spec.Method == "DPO" {
		margin := spec.DPOBeta * ((chosen.LP - chosen.Ref) - (rejected.LP - rejected.Ref))
		slope := spec.DPOBeta * sigmoid(-margin) * share
		return PairTerms{Loss: -logSigmoid(margin) * share, Chosen: -slope, Rejected: slope, Margin: margin}
	}
	nc, nr := float64(chosen.Tokens), float64(rejected.Tokens)
	oc, slopeC := logOdds(chosen.LP / nc)
	or, slopeR := logOdds(rejected.LP / nr)
	margin := oc - or
	pull := spec.ORPOLambda * sigmoid(-margin)
	return PairTerms{
		Loss:   (-chosen.LP/nc - spec.ORPOLambda*logSigmoid(margin)) * share,
		Chosen: (-1 - pull*slopeC) / nc * share, Rejected: pull * slopeR / nr * share,
		Margin: margin,
	}
}

// leastDoubt keeps a mean log-prob away from 0, where the odds are infinite.
const leastDoubt = -1e-6

// logOdds is x - log(1 - exp x) of a mean log-prob x, and its derivative by x:
// 0 where x was bounded.
func logOdds(x float64) (odds, slope float64) {
	bounded := min(x, leastDoubt)
	doubt := -math.Expm1(bounded) // 1 - exp x
	odds = bounded - math.Log(doubt)
	if x > leastDoubt {
		return odds, 0
	}
	return odds, 1 / doubt
}

// logSigmoid is log(1 / (1 + exp(-z))) without overflow.
func logSigmoid(z float64) float64 { return min(z, 0) - math.Log1p(math.Exp(-math.Abs(z))) }

func sigmoid(z float64) float64 {
	if z < 0 {
		e := math.Exp(z)
		return e / (1 + e)
	}
	return 1 / (1 + math.Exp(-z))
}
