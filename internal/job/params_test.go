package job

import (
	"math"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

func ptr[T any](v T) *T { return &v }

func TestDefaults(t *testing.T) {
	s, changed, err := resolve(Params{}, nil, nil, 2048, false)
	if err != nil || changed != nil {
		t.Fatal(err)
	}
	if s.Method != "GRPO" || s.LoraRank != 8 || s.LoraAlpha != 16 || s.LearningRate != 1e-4 || s.Epochs != 1 || s.BatchSize != 32768 {
		t.Errorf("%+v", s)
	}
	if s.MaxContextLength != 2048 {
		t.Errorf("the context %d exceeds what the base has", s.MaxContextLength)
	}
	s, _, err = resolve(Params{LoraRank: ptr(16), Method: ptr("DAPO")}, nil, nil, 0, false)
	if err != nil || s.LoraAlpha != 32 || s.ClipHigh != 1.28 || s.MaxContextLength != 8192 {
		t.Errorf("%+v, %v", s, err)
	}
	s, _, err = resolve(Params{LoraTargets: []string{"v_proj", "q_proj", "v_proj"}}, nil, nil, 0, false)
	if err != nil || strings.Join(s.LoraTargets, " ") != "q_proj v_proj" {
		t.Errorf("targets %v, %v", s.LoraTargets, err)
	}
}

func TestBoundsNameTheField(t *testing.T) {
	for field, p := range map[string]Params{
		"trainingConfig.loraRank":                  {LoraRank: ptr(0)},
		"trainingConfig.learningRate":              {LearningRate: ptr(math.NaN())},
		"trainingConfig.epochs":                    {Epochs: ptr(0)},
		"trainingConfig.batchSize":                 {BatchSize: ptr(-1)},
		"trainingConfig.maxContextLength":          {MaxContextLength: ptr(4096)},
		"trainingConfig.gradientAccumulationSteps": {GradAccumulation: ptr(0)},
		"trainingConfig.optimizerWeightDecay":      {WeightDecay: ptr(math.Inf(1))},
		"trainingConfig.loraTargetModules":         {LoraTargets: []string{"lm_head"}},
		"trainingConfig.klBeta":                    {KLBeta: ptr(-0.1)},
		"lossConfig.method":                        {Method: ptr("PPO2")},
		"lossConfig.dpo.beta":                      {Method: ptr("DPO"), DPOBeta: ptr(0.5)},
		"lossConfig.orpo.lambda":                   {Method: ptr("ORPO"), ORPOLambda: ptr(math.NaN())},
		"firekeep.overlongMaxTokens":               {OverlongTokens: ptr(-1)},
		"firekeep.overlongBufferTokens":            {OverlongTokens: ptr(10), OverlongBuffer: ptr(11)},
		"firekeep.scaleRewards":                    {ScaleRewards: ptr("batch")},
		"firekeep.dualClip":                        {DualClip: ptr(0.5)},
		"rewardWeights":                            {Rewards: map[string]float64{"score": math.NaN()}},
	} {
		_, _, err := resolve(p, nil, nil, 2048, false)
		e, ok := err.(*rft.Error)
		if !ok || e.Kind != rft.KindInvalidArgument || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestParametersBelongToTheirLoss: who sets one that the loss does not have hears
// of it; a default, as answers show it, passes.
func TestParametersBelongToTheirLoss(t *testing.T) {
	for _, c := range []struct {
		method, field string
		p             Params
	}{
		{"DPO", "lossConfig.klBeta", Params{KLBeta: ptr(0.1)}},
		{"SFT", "lossConfig.klBeta", Params{KLBeta: ptr(0.1)}},
		{"GRPO", "lossConfig.dpo.beta", Params{DPOBeta: ptr(0.2)}},
		{"DPO", "lossConfig.orpo.lambda", Params{ORPOLambda: ptr(1.0)}},
		{"ORPO", "firekeep.klReference", Params{KLReference: ptr("incoming")}},
		{"CISPO", "firekeep.clipHigh", Params{ClipHigh: ptr(1.5)}},
		{"ORPO", "firekeep.dualClip", Params{DualClip: ptr(2.0)}},
		{"IMPORTANCE_SAMPLING", "firekeep.tisCap", Params{TISCap: ptr(3.0)}},
		{"SFT", "firekeep.scaleRewards", Params{ScaleRewards: ptr("none")}},
		{"DPO", "firekeep.overlongMaxTokens", Params{OverlongTokens: ptr(9), OverlongBuffer: ptr(3)}},
	} {
		c.p.Method = ptr(c.method)
		_, _, err := resolve(c.p, nil, nil, 0, false)
		if e, ok := err.(*rft.Error); !ok || e.Kind != rft.KindInvalidArgument || e.Field != c.field {
			t.Errorf("%s of %s: %v", c.field, c.method, err)
		}
	}
	for _, method := range engine.Methods {
		d := engine.DefaultSpec(method)
		shown := Params{Method: &method, KLBeta: &d.KLBeta, KLReference: &d.KLReference, ClipLow: &d.ClipLow, ClipHigh: &d.ClipHigh, DualClip: &d.DualClip, TISCap: &d.TISCap,
			OffPolicy: &d.OffPolicy, ScaleRewards: &d.ScaleRewards, Baseline: &d.Baseline, DPOBeta: &d.DPOBeta, ORPOLambda: &d.ORPOLambda}
		if s, _, err := resolve(shown, nil, nil, 0, false); err != nil || s.Method != method {
			t.Errorf("%s with its defaults: %v", method, err)
		}
	}
	// A chain that goes on with another loss takes over what both have.
	was := recorded()
	was.KLBeta, was.OverlongMaxTokens, was.OverlongBufferTokens = 0.1, 20, 5
	warm := &store.Model{Rank: 8, Alpha: 16, Targets: engine.Targets}
	if s, _, err := resolve(Params{Method: ptr("DPO")}, was, warm, 2048, false); err != nil || s.KLBeta != 0 || s.DPOBeta != 0.1 || s.OverlongMaxTokens != 0 || s.Seed != 9 {
		t.Errorf("%+v %v", s, err)
	}
	if s, _, err := resolve(Params{Method: ptr("PPO")}, was, warm, 2048, false); err != nil || s.KLBeta != 0.1 || s.ScaleRewards != "none" || s.DualClip != 0 {
		t.Errorf("%+v %v", s, err)
	}
}

// recorded is what a LoRA was trained with.
func recorded() *engine.Spec {
	s := engine.DefaultSpec("GRPO")
	s.LearningRate, s.Epochs, s.MaxContextLength, s.Seed = 1e-5, 3, 1000, 9
	return &s
}

func TestContinuation(t *testing.T) {
	warm := &store.Model{Rank: 8, Alpha: 16, Targets: engine.Targets}
	s, changed, err := resolve(Params{}, recorded(), warm, 2048, false)
	if err != nil || changed != nil || s.LearningRate != 1e-5 || s.Epochs != 3 || s.Seed != 9 {
		t.Fatalf("inherited %+v, %v", s, err)
	}
	// What may differ: everything but the five parameters and the shape.
	if s, _, err = resolve(Params{Seed: ptr(int64(1)), KLBeta: ptr(0.1), LearningRate: ptr(float64(float32(1e-5)))}, recorded(), warm, 2048, false); err != nil || s.Seed != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if s, _, err = resolve(Params{Method: ptr("DAPO")}, recorded(), warm, 2048, false); err != nil || s.ClipHigh != 1.28 || s.LearningRate != 1e-5 {
		t.Errorf("another method: %+v, %v", s, err)
	}
	_, changed, err = resolve(Params{Epochs: ptr(1), LearningRate: ptr(1e-4)}, recorded(), warm, 2048, true)
	if err != nil || strings.Join(changed, "; ") != "learningRate: 1e-05 -> 0.0001; epochs: 3 -> 1" {
		t.Errorf("%q, %v", changed, err)
	}
	for _, p := range []Params{{LoraRank: ptr(4)}, {LoraAlpha: ptr(8.0)}, {LoraTargets: []string{"q_proj"}}} {
		if _, _, err := resolve(p, recorded(), warm, 2048, true); rft.KindOf(err) != rft.KindInvalidArgument {
			t.Errorf("the adapter's shape changed: %v", err)
		}
	}
}

// TestImportedAdapterHasNothingRecorded: its shape is kept, the rest is free.
func TestImportedAdapterHasNothingRecorded(t *testing.T) {
	warm := &store.Model{Rank: 4, Alpha: 4, Targets: []string{"q_proj"}}
	s, changed, err := resolve(Params{LearningRate: ptr(1e-3)}, nil, warm, 2048, false)
	if err != nil || changed != nil || s.LoraRank != 4 || s.LoraAlpha != 4 || len(s.LoraTargets) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, _, err := resolve(Params{LoraRank: ptr(8)}, nil, warm, 2048, false); rft.KindOf(err) != rft.KindInvalidArgument {
		t.Errorf("%v", err)
	}
}
