package job

import (
	"math"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/rl"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Params are the hyper-parameters as a caller gave them; nil = not given.
// engine.Spec explains each.
type Params struct {
	Method           *string
	LoraRank         *int
	LoraAlpha        *float64
	LoraTargets      []string // nil = not given
	LearningRate     *float64
	WarmupSteps      *int
	WeightDecay      *float64
	Beta1, Beta2     *float64
	Epsilon          *float64
	MaxGradNorm      *float64
	Epochs           *int
	BatchSize        *int
	BatchSizeSamples *int
	GradAccumulation *int
	MaxContextLength *int
	Seed             *int64
	ClipLow          *float64
	ClipHigh         *float64
	DualClip         *float64
	KLBeta           *float64
	KLReference      *string
	TISCap           *float64
	OffPolicy        *float64
	ScaleRewards     *string
	Baseline         *string
	BaselineB        *float64
	Rewards          map[string]float64 // nil = not given
	DPOBeta          *float64
	ORPOLambda       *float64
	OverlongTokens   *int
	OverlongBuffer   *int
	OnNoSignal       *string
	ResumeEvery      *int
	Template         *string
}

// resolve makes the full Spec of a step: what was given, else what is recorded
// with the continued LoRA, else the defaults. changed names what differs from the
// recorded parameters, when that is allowed.
func resolve(p Params, recorded *engine.Spec, warm *store.Model, maxPositions int, allowChange bool) (spec engine.Spec, changed []string, err error) {
	method := "GRPO"
	if recorded != nil {
		method = recorded.Method
	}
	if p.Method != nil && *p.Method != "" {
		method = *p.Method
	}
	if !slices.Contains(engine.Methods, method) {
		return spec, nil, rft.FieldErrorf("lossConfig.method", "lossConfig.method: %q is not supported; use %s", method, strings.Join(engine.Methods, ", "))
	}
	if err := p.belong(method); err != nil {
		return spec, nil, err
	}
	spec = engine.DefaultSpec(method)
	switch {
	case recorded != nil && recorded.Method == method:
		spec = *recorded
	case recorded != nil:
		inherit(&spec, *recorded)
	case warm != nil: // imported: no recorded parameters, but a shape
		spec.LoraRank, spec.LoraAlpha, spec.LoraTargets = warm.Rank, warm.Alpha, warm.Targets
	}
	if maxPositions > 0 && recorded == nil && p.MaxContextLength == nil {
		spec.MaxContextLength = min(spec.MaxContextLength, maxPositions)
	}
	shape := spec
	p.apply(&spec)
	if warm == nil && p.LoraAlpha == nil {
		spec.LoraAlpha = 2 * float64(spec.LoraRank)
	}
	if warm != nil {
		if changed, err = compatible(spec, shape, recorded, allowChange); err != nil {
			return spec, nil, err
		}
	}
	return spec, changed, check(spec, maxPositions)
}

// inherit takes over what a continued LoRA has recorded when the method
// changes: everything but the method's own loss defaults.
func inherit(spec *engine.Spec, from engine.Spec) {
	d := *spec
	*spec = from
	spec.Method, spec.ClipLow, spec.ClipHigh, spec.DualClip = d.Method, d.ClipLow, d.ClipHigh, d.DualClip
	spec.DPOBeta, spec.ORPOLambda, spec.ScaleRewards = d.DPOBeta, d.ORPOLambda, d.ScaleRewards
	if !rl.Grouped(d.Method) {
		spec.KLBeta, spec.OverlongMaxTokens, spec.OverlongBufferTokens = 0, 0, 0
	}
}

// apply overwrites spec with what was given.
func (p Params) apply(s *engine.Spec) {
	set(&s.LoraRank, p.LoraRank)
	set(&s.LoraAlpha, p.LoraAlpha)
	set(&s.LearningRate, p.LearningRate)
	set(&s.WarmupSteps, p.WarmupSteps)
	set(&s.WeightDecay, p.WeightDecay)
	set(&s.Beta1, p.Beta1)
	set(&s.Beta2, p.Beta2)
	set(&s.Epsilon, p.Epsilon)
	set(&s.MaxGradNorm, p.MaxGradNorm)
	set(&s.Epochs, p.Epochs)
	set(&s.BatchSize, p.BatchSize)
	set(&s.BatchSizeSamples, p.BatchSizeSamples)
	set(&s.GradAccumulation, p.GradAccumulation)
	set(&s.MaxContextLength, p.MaxContextLength)
	set(&s.Seed, p.Seed)
	set(&s.ClipLow, p.ClipLow)
	set(&s.ClipHigh, p.ClipHigh)
	set(&s.DualClip, p.DualClip)
	set(&s.KLBeta, p.KLBeta)
	set(&s.KLReference, p.KLReference)
	set(&s.TISCap, p.TISCap)
	set(&s.OffPolicy, p.OffPolicy)
	set(&s.ScaleRewards, p.ScaleRewards)
	set(&s.Baseline, p.Baseline)
	set(&s.BaselineB, p.BaselineB)
	set(&s.DPOBeta, p.DPOBeta)
	set(&s.ORPOLambda, p.ORPOLambda)
	set(&s.OverlongMaxTokens, p.OverlongTokens)
	set(&s.OverlongBufferTokens, p.OverlongBuffer)
	set(&s.OnNoSignal, p.OnNoSignal)
	set(&s.ResumeEvery, p.ResumeEvery)
	set(&s.Template, p.Template)
	if p.LoraTargets != nil {
		s.LoraTargets = sortTargets(p.LoraTargets)
	}
	if p.Rewards != nil {
		s.Rewards = p.Rewards
	}
}

func set[T any](dst *T, v *T) {
	if v != nil {
		*dst = *v
	}
}

// sortTargets brings known targets into the order of adapters; unknown ones
// stay for check to name.
func sortTargets(t []string) []string {
	out := slices.Clone(t)
	slices.SortStableFunc(out, func(a, b string) int {
		return slices.Index(engine.Targets, a) - slices.Index(engine.Targets, b)
	})
	return slices.Compact(out)
}

// compatible applies the rule of continuation. The five parameters of the
// contract must equal the recorded ones unless allowChange; rank, alpha and
// targets are the adapter's shape and never change.
func compatible(spec, shape engine.Spec, recorded *engine.Spec, allowChange bool) (changed []string, err error) {
	differ := func(field string, was, want any) error {
		return rft.FieldErrorf("trainingConfig."+field, "trainingConfig.%s: %s differs from %s of the LoRA that is continued; leave it unset to inherit it",
			field, number(want), number(was))
	}
	for _, f := range []struct {
		field     string
		was, want any
	}{
		{"loraRank", shape.LoraRank, spec.LoraRank},
		{"loraAlpha", shape.LoraAlpha, spec.LoraAlpha},
		{"loraTargetModules", strings.Join(shape.LoraTargets, ","), strings.Join(spec.LoraTargets, ",")},
	} {
		if !same(f.was, f.want) {
			return nil, differ(f.field, f.was, f.want)
		}
	}
	if recorded == nil {
		return nil, nil
	}
	for _, f := range []struct {
		field     string
		was, want any
	}{
		{"learningRate", recorded.LearningRate, spec.LearningRate},
		{"maxContextLength", recorded.MaxContextLength, spec.MaxContextLength},
		{"epochs", recorded.Epochs, spec.Epochs},
		{"batchSize", recorded.BatchSize, spec.BatchSize},
	} {
		if same(f.was, f.want) {
			continue
		}
		if !allowChange {
			return nil, differ(f.field, f.was, f.want)
		}
		changed = append(changed, f.field+": "+number(f.was)+" -> "+number(f.want))
	}
	return changed, nil
}

// check validates a resolved Spec; errors name field, value and bound.
func check(s engine.Spec, maxPositions int) error {
	for _, f := range []struct {
		field    string
		v        float64
		min, max float64
	}{
		{"loraRank", float64(s.LoraRank), 1, 256},
		{"loraAlpha", s.LoraAlpha, math.SmallestNonzeroFloat64, 1e6},
		{"learningRate", s.LearningRate, math.SmallestNonzeroFloat64, 1},
		{"learningRateWarmupSteps", float64(s.WarmupSteps), 0, 1e9},
		{"optimizerWeightDecay", s.WeightDecay, 0, 1},
		{"beta1", s.Beta1, 0, 1 - 1e-9}, {"beta2", s.Beta2, 0, 1 - 1e-9}, {"epsilon", s.Epsilon, 0, 1},
		{"maxGradNorm", s.MaxGradNorm, math.SmallestNonzeroFloat64, math.MaxFloat64},
		{"epochs", float64(s.Epochs), 1, 1000},
		{"batchSize", float64(s.BatchSize), 1, 1 << 30}, {"batchSizeSamples", float64(s.BatchSizeSamples), 0, 1 << 30},
		{"gradientAccumulationSteps", float64(s.GradAccumulation), 1, 1 << 20},
		{"maxContextLength", float64(s.MaxContextLength), 2, contextBound(maxPositions)},
		{"clipLow", s.ClipLow, 0, 1}, {"clipHigh", s.ClipHigh, 1, 1e6}, {"dualClip", s.DualClip, 0, 1e6},
		{"klBeta", s.KLBeta, 0, 1e6}, {"tisCap", s.TISCap, math.SmallestNonzeroFloat64, math.MaxFloat64},
		{"offPolicyThreshold", s.OffPolicy, math.SmallestNonzeroFloat64, math.MaxFloat64},
		{"resumeEvery", float64(s.ResumeEvery), 1, 1e9},
	} {
		if !(f.v >= f.min && f.v <= f.max) { // also refuses NaN
			return rft.FieldErrorf("trainingConfig."+f.field, "trainingConfig.%s: %g is out of range; allowed are %g to %g", f.field, f.v, f.min, f.max)
		}
	}
	return checkNames(s)
}

func contextBound(maxPositions int) float64 {
	if maxPositions > 0 {
		return float64(maxPositions)
	}
	return 1 << 24
}

// checkNames validates what is chosen from a list, targets and rewards.
func checkNames(s engine.Spec) error {
	for _, f := range []struct {
		field, v string
		of       []string
	}{
		{"klReference", s.KLReference, []string{"base", "incoming"}},
		{"scaleRewards", s.ScaleRewards, []string{"group", "none"}},
		{"advantageBaseline", s.Baseline, []string{"", "group", "batch", "constant"}},
		{"onNoSignal", s.OnNoSignal, []string{"complete", "fail"}},
	} {
		if !slices.Contains(f.of, f.v) {
			return rft.FieldErrorf("firekeep."+f.field, "firekeep.%s: %q is not one of %q", f.field, f.v, f.of)
		}
	}
	if len(s.LoraTargets) == 0 {
		return rft.FieldErrorf("trainingConfig.loraTargetModules", "trainingConfig.loraTargetModules: at least one is needed")
	}
	for _, t := range s.LoraTargets {
		if !slices.Contains(engine.Targets, t) {
			return rft.FieldErrorf("trainingConfig.loraTargetModules", "trainingConfig.loraTargetModules: %q is not one of %s", t, strings.Join(engine.Targets, ", "))
		}
	}
	if s.DualClip != 0 && s.DualClip < 1 {
		return rft.FieldErrorf("firekeep.dualClip", "firekeep.dualClip: %g must be at least 1, or 0 for none", s.DualClip)
	}
	if err := checkLoss(s); err != nil {
		return err
	}
	if len(s.Rewards) == 0 && s.Method != "SFT" {
		return rft.FieldErrorf("rewardWeights", "rewardWeights: at least one is needed")
	}
	for _, k := range rewardKeys(s) {
		if w := s.Rewards[k]; k == "" || math.IsNaN(w) || math.IsInf(w, 0) {
			return rft.FieldErrorf("rewardWeights", "rewardWeights: %q has no finite weight", k)
		}
	}
	return nil
}
