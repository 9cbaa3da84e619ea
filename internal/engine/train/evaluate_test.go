package train

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/firekeep/firekeep/internal/engine/rows"
)

// TestEvaluateIsTheNextLoss: judging an adapter gives the loss that the next update
// would begin with, bit for bit, and changes nothing.
func TestEvaluateIsTheNextLoss(t *testing.T) {
	for _, method := range []string{"GRPO", "DAPO", "PPO", "DPO", "ORPO", "SFT"} {
		for _, reference := range []string{"base", "incoming"} {
			spec, groups := smallSpec(method), someGroups(3, 4)
			spec.Epochs, spec.KLReference = 2, reference
			if method == "GRPO" {
				spec.KLBeta = 0.1
			}
			// The job begins with an adapter, or with a fresh one.
			first, _, _ := run(t, smallSpec("SFT"), Options{}, groups[:1])
			begin := stateOf(t, first)
			for name, o := range map[string]Options{"fresh": {}, "continued": {AdapterConfig: begin.config, Adapter: begin.adapter}} {
				after, _ := interrupted(t, spec, o, groups, 0)
				_, log, _ := run(t, spec, o, groups)
				judged := spec
				judged.Epochs = 1
				trainer, seen, result := run(t, judged, Options{AdapterConfig: after.config, Adapter: after.adapter, Original: o.Adapter, Evaluate: true}, groups)
				var r Report
				if err := json.Unmarshal(result.Report, &r); err != nil {
					t.Fatal(err)
				}
				want := log.metrics[1]
				if m := seen.metrics[0]; m.Loss != want.Loss || m.Updated || m.PairMargin != want.PairMargin || m.KL != want.KL || r.Loss != want.Loss && math.Abs(r.Loss-want.Loss) > 1e-15 {
					t.Errorf("%s, %s, reference %s: loss %v, reported %v, want %v", method, name, reference, m.Loss, r.Loss, want.Loss)
				}
				if len(seen.marks) != 0 || result.Updates != 0 || result.NoSignal {
					t.Errorf("%s: %d resume points, %+v", method, len(seen.marks), result)
				}
				if now := stateOf(t, trainer); string(now.adapter) != string(after.adapter) {
					t.Errorf("%s: judging an adapter changed it", method)
				}
			}
		}
	}
}

// TestEvaluationWeighsBatches: the mean over several batches is the loss of one.
func TestEvaluationWeighsBatches(t *testing.T) {
	for _, method := range []string{"SFT", "DPO", "GRPO"} {
		groups := someGroups(5, 4)
		first, _, _ := run(t, smallSpec(method), Options{}, groups)
		b := stateOf(t, first)
		loss := func(groups []*rows.Encoded, samples int) float64 {
			spec := smallSpec(method)
			spec.BatchSizeSamples = samples
			_, log, result := run(t, spec, Options{AdapterConfig: b.config, Adapter: b.adapter, Evaluate: true}, groups)
			if samples > 0 && len(log.metrics) < 2 {
				t.Fatalf("%s: %d batches", method, len(log.metrics))
			}
			var r Report
			if err := json.Unmarshal(result.Report, &r); err != nil {
				t.Fatal(err)
			}
			return r.Loss
		}
		if whole, parts := loss(groups, 0), loss(groups, 4); math.Abs(whole-parts) > 1e-9*math.Abs(whole) {
			t.Errorf("%s: %v in one batch, %v in several", method, whole, parts)
		}
	}
}
