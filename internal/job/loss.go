package job

import (
	"math"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/rl"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Methods that use a parameter of the loss.
var (
	clipped  = []string{"GRPO", "DAPO", "GSPO_TOKEN", "PPO", "DR_GRPO"}
	weighted = []string{"GRPO", "DAPO", "GSPO_TOKEN", "PPO", "DR_GRPO", "CISPO"}
	grouped  = append(append([]string(nil), weighted...), "IMPORTANCE_SAMPLING")
	referred = append(append([]string(nil), grouped...), "DPO")
)

// belong refuses parameters that the method does not have: who sets one expects
// that it does something. A value that changes nothing passes, because clients
// send back what an answer showed them.
func (p Params) belong(method string) error {
	d := engine.DefaultSpec(method)
	for _, f := range []struct {
		field string
		given bool
		of    []string
	}{
		{"lossConfig.klBeta", differs(p.KLBeta, 0), grouped},
		{"lossConfig.dpo.beta", differs(p.DPOBeta, 0), []string{"DPO"}},
		{"lossConfig.orpo.lambda", differs(p.ORPOLambda, 0), []string{"ORPO"}},
		{"firekeep.klReference", differs(p.KLReference, d.KLReference), referred},
		{"firekeep.clipLow", differs(p.ClipLow, d.ClipLow), clipped},
		{"firekeep.clipHigh", differs(p.ClipHigh, d.ClipHigh), clipped},
		{"firekeep.dualClip", differs(p.DualClip, d.DualClip), clipped},
		{"firekeep.tisCap", differs(p.TISCap, d.TISCap), weighted},
		{"firekeep.offPolicyThreshold", differs(p.OffPolicy, d.OffPolicy), grouped},
		{"firekeep.scaleRewards", differs(p.ScaleRewards, d.ScaleRewards), grouped},
		{"firekeep.advantageBaseline", differs(p.Baseline, d.Baseline), grouped},
		{"firekeep.overlongMaxTokens", differs(p.OverlongTokens, 0), grouped},
	} {
		if f.given && !contains(f.of, method) {
			return rft.FieldErrorf(f.field, "%s: the loss %s has no such parameter; it belongs to %s", f.field, method, strings.Join(f.of, ", "))
		}
	}
	return nil
}

func differs[T comparable](p *T, from T) bool { return p != nil && *p != from }

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// checkLoss validates what single methods have.
func checkLoss(s engine.Spec) error {
	switch {
	case s.Method == "DPO" && !(s.DPOBeta > 0 && s.DPOBeta < 0.5):
		return rft.FieldErrorf("lossConfig.dpo.beta", "lossConfig.dpo.beta: %g is out of range; it lies above 0 and below 0.5", s.DPOBeta)
	case s.Method == "ORPO" && !(s.ORPOLambda > 0 && s.ORPOLambda <= math.MaxFloat32):
		return rft.FieldErrorf("lossConfig.orpo.lambda", "lossConfig.orpo.lambda: %g is out of range; it is a number above 0", s.ORPOLambda)
	case s.OverlongMaxTokens < 0 || s.OverlongMaxTokens > 1<<24:
		return rft.FieldErrorf("firekeep.overlongMaxTokens", "firekeep.overlongMaxTokens: %d is out of range; allowed are 0 (off) to %d", s.OverlongMaxTokens, 1<<24)
	case s.OverlongMaxTokens > 0 && (s.OverlongBufferTokens < 1 || s.OverlongBufferTokens > s.OverlongMaxTokens):
		return rft.FieldErrorf("firekeep.overlongBufferTokens", "firekeep.overlongBufferTokens: %d is out of range; with overlongMaxTokens it lies between 1 and %d",
			s.OverlongBufferTokens, s.OverlongMaxTokens)
	case s.OverlongMaxTokens == 0 && s.OverlongBufferTokens != 0:
		return rft.FieldErrorf("firekeep.overlongBufferTokens", "firekeep.overlongBufferTokens: needs overlongMaxTokens")
	}
	return nil
}

// Formats of datasets, as validation found them.
const (
	formatChat       = "CHAT"
	formatDPO        = "DPO"
	formatCompletion = "COMPLETION"
)

// checkRows holds the loss against what validation found in the dataset, so that
// a misspelt reward or rows of the wrong kind fail here and not after a wait in
// the queue.
func checkRows(s engine.Spec, d store.Dataset) error {
	if d.State != store.StateReady {
		return nil
	}
	n := d.Counts
	switch {
	case d.Format == store.FormatBatch || d.Format == store.FormatAnswers:
		return rft.FieldErrorf("dataset", "dataset: %s holds requests or answers of a batch, from which nothing is learned; score the answers and make rows of samples of them", d.Name())
	case d.Format == formatDPO && !rl.Paired(s.Method):
		return rft.FieldErrorf("dataset", "dataset: %s holds preferences, from which only DPO and ORPO learn; the loss is %s", d.Name(), s.Method)
	case s.Method == "SFT" || d.Format == formatDPO:
		return nil
	case s.Method == "IMPORTANCE_SAMPLING" && n.WithLogprobs < n.Samples:
		return rft.FieldErrorf("dataset", "dataset: IMPORTANCE_SAMPLING needs logprobs in every sample; %d of %d samples of %s have them", n.WithLogprobs, n.Samples, d.Name())
	case rl.Paired(s.Method) && n.SamplesPerGroup == 1:
		return rft.FieldErrorf("dataset", "dataset: %s makes pairs of the samples of a prompt, but %s has one sample per prompt", s.Method, d.Name())
	case len(n.EvalKeys) == 0 && (d.Format == formatChat || d.Format == formatCompletion):
		return rft.FieldErrorf("dataset", "dataset: the rows of %s have no reward that all of them share; a supervised fine-tuning job needs none", d.Name())
	case len(n.EvalKeys) == 0:
		return nil
	}
	for _, k := range rewardKeys(s) {
		if !contains(n.EvalKeys, k) {
			return rft.FieldErrorf("rewardWeights", "rewardWeights: %q is not among the evals that every sample of %s has: %q", k, d.Name(), n.EvalKeys)
		}
	}
	return nil
}
