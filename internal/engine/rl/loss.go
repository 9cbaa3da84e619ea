package rl

import (
	"math"

	"github.com/firekeep/firekeep/internal/engine"
)

// maxLogRatio bounds every log-ratio before it is exponentiated.
const maxLogRatio = 20

// cispoCap bounds the ratio that weighs CISPO's log-probs.
const cispoCap = 5

// Loss computes one sample's share of the optimiser batch's loss and writes
// d loss / d lp into grad (length len(s.LP)). For DAPO the samples of dead
// groups must have been left out, of norm too.
//
//	token loss = keep * w * policy + klBeta * k3
//
// A TISCap of 0 switches w off, an OffPolicy of 0 keep. SFT is -lp and has
// none of these terms; adv is not read.
func Loss(spec *engine.Spec, s Scored, adv float64, norm Norm, grad []float64) Stats {
	var out Stats
	n := len(s.LP)
	if n == 0 {
		return out
	}
	share := tokenShare(spec, n, norm)
	if spec.Method == "SFT" {
		for t, lp := range s.LP {
			out.Loss -= lp * share
			grad[t] = -share
		}
		return out
	}
	if !complete(s.Mu) {
		s.Mu = nil
	}
	out.Masked = adv < 0 && offPolicy(spec, s)
	policy := policyOf(spec, s, adv)
	for t := range s.LP {
		p := policy(t)
		out.RatioSum += p.ratio
		w := 1.0
		if s.Mu != nil && spec.TISCap > 0 && spec.Method != "IMPORTANCE_SAMPLING" {
			w, _ = ratio(s.Old[t] - s.Mu[t])
			w = min(w, spec.TISCap)
			out.WSum += w
			out.WSqSum += w * w
		}
		if out.Masked {
			w = 0
		} else if p.clipped {
			out.Clipped++
		}
		loss, slope := w*p.loss, w*p.slope
		if s.Ref != nil {
			k3, k3slope := divergence(s.Ref[t] - s.LP[t])
			out.KL += k3
			if spec.KLBeta != 0 {
				loss += spec.KLBeta * k3
				slope += spec.KLBeta * k3slope
			}
		}
		out.Loss += loss * share
		grad[t] = slope * share
	}
	return out
}

// tokenShare is what one token of a sample with n scored tokens counts in the
// batch's loss: the method's reduction.
func tokenShare(spec *engine.Spec, n int, norm Norm) float64 {
	switch spec.Method {
	case "DAPO", "PPO", "CISPO", "IMPORTANCE_SAMPLING", "SFT":
		return 1 / float64(max(norm.Tokens, 1))
	case "DR_GRPO":
		return 1 / (float64(max(norm.Samples, 1)) * float64(max(spec.MaxContextLength, 1)))
	}
	return 1 / (float64(max(norm.Samples, 1)) * float64(n))
}

// Weight is how much a batch counts in the mean loss of several: what its method
// divides by. pairs is the number of pairs of a method that learns from them.
func (n Norm) Weight(method string, pairs int) float64 {
	switch method {
	case "DPO", "ORPO":
		return float64(pairs)
	case "DAPO", "PPO", "CISPO", "IMPORTANCE_SAMPLING", "SFT":
		return float64(n.Tokens)
	}
	return float64(n.Samples)
}

// term is the policy loss of one token, its derivative by lp, and r.
type term struct {
	loss, slope, ratio float64
	clipped            bool // a clip, and nothing else, made slope 0
}

// policyOf returns the policy loss of the method as a function of the token.
func policyOf(spec *engine.Spec, s Scored, adv float64) func(t int) term {
	clip := clipping{spec.ClipLow, spec.ClipHigh, spec.DualClip}
	switch spec.Method {
	case "GSPO_TOKEN":
		// r is the sequence's ratio for every token; its gradient goes through the token's own lp.
		r := math.Exp(clampLogRatio(meanDifference(s.LP, s.Old)))
		p := clip.term(r, r, adv)
		return func(int) term { return p }
	case "IMPORTANCE_SAMPLING":
		return func(t int) term {
			if s.Mu == nil { // rows without logprobs are refused before training
				return term{ratio: 1}
			}
			r, slope := ratio(s.LP[t] - s.Mu[t])
			return term{loss: -r * adv, slope: -slope * adv, ratio: r}
		}
	case "CISPO":
		return func(t int) term {
			r, _ := ratio(s.LP[t] - s.Old[t])
			weight := min(r, cispoCap) * adv
			return term{loss: -weight * s.LP[t], slope: -weight, ratio: r}
		}
	}
	return func(t int) term {
		r, slope := ratio(s.LP[t] - s.Old[t])
		return clip.term(r, slope, adv)
	}
}

// clipping holds the bounds of the ratio; dual 0 means no dual clip.
type clipping struct{ low, high, dual float64 }

// term is -min(r A, clamp(r) A) and, where A < 0, at most -dual A.
// slope is dr / dlp.
func (c clipping) term(r, slope, adv float64) term {
	out := term{loss: -r * adv, slope: -slope * adv, ratio: r}
	if bounded := -min(max(r, c.low), c.high) * adv; bounded > out.loss {
		out.loss, out.slope = bounded, 0
	}
	if worst := -c.dual * adv; c.dual > 0 && adv < 0 && worst < out.loss {
		out.loss, out.slope = worst, 0
	}
	out.clipped = adv != 0 && out.slope == 0
	return out
}

// ratio is exp of the clamped log-ratio d and its derivative, 0 outside the clamp.
func ratio(d float64) (r, slope float64) {
	r = math.Exp(clampLogRatio(d))
	if math.Abs(d) > maxLogRatio {
		return r, 0
	}
	return r, r
}

func clampLogRatio(d float64) float64 { return min(max(d, -maxLogRatio), maxLogRatio) }

// divergence is k3 = exp(d) - d - 1 for d = lp_ref - lp, clamped, and its
// derivative by lp. Expm1 keeps the digits when the policies are close.
func divergence(d float64) (k3, slope float64) {
	c := clampLogRatio(d)
	e := math.Expm1(c)
	if c != d {
		return e - c, 0
	}
	return e - c, -e
}

// offPolicy says that a sample is so much less likely now than when it was
// written that learning to avoid it is noise.
func offPolicy(spec *engine.Spec, s Scored) bool {
	if spec.OffPolicy <= 0 {
		return false
	}
	written := s.Mu
	if written == nil {
		written = s.Old
	}
	return meanDifference(written, s.LP) > spec.OffPolicy
}

// meanDifference is the mean over the tokens of a - b.
func meanDifference(a, b []float64) float64 {
	sum := 0.0
	for t := range a {
		sum += a[t] - b[t]
	}
	return sum / float64(len(a))
}

// complete says that every token has a log-prob; a gap is never filled in.
func complete(mu []float64) bool {
	for _, x := range mu {
		if math.IsNaN(x) {
			return false
		}
	}
	return mu != nil
}
