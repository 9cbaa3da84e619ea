package train

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/rows"
)

// preference is a group as the rows of preferences give it.
func preference(r *rand.Rand) *rows.Encoded {
	g := randomGroup(r, 97, 2, 7, 8)
	g.Samples[0].Reward, g.Samples[1].Reward = 1, 0
	return g
}

// TestGroupsArePairedByTheirRewards: a group of several samples trains like the
// pair of its first best and first worst one; what makes no pair is counted and
// costs nothing.
func TestGroupsArePairedByTheirRewards(t *testing.T) {
	for _, method := range []string{"DPO", "ORPO"} {
		spec := smallSpec(method)
		spec.Epochs = 3
		group := someGroups(1, 5)[0]
		for i, reward := range []float64{0.5, 0, 1, 1, 0} {
			group.Samples[i].Reward = reward
		}
		two := &rows.Encoded{Line: 1, Samples: []rows.EncodedSample{group.Samples[2], group.Samples[1]}}
		empty := someGroups(1, 3)[0]
		empty.Samples[0].Reward = 2
		clear(empty.Samples[0].Scored)
		dead := constant(someGroups(1, 4)[0])
		whole, log, result := run(t, spec, Options{}, []*rows.Encoded{group, dead, empty})
		pair, alone, _ := run(t, spec, Options{}, []*rows.Encoded{two})
		if !stateOf(t, whole).equal(stateOf(t, pair)) {
			t.Errorf("%s: the group trains another adapter than its pair", method)
		}
		m := log.metrics[0]
		if m.Pairs != 1 || m.Groups != 3 || m.DeadGroups != 2 || m.EmptySamples != 1 || m.Computed != alone.metrics[0].Computed || m.RewardMax != 2 {
			t.Errorf("%s: %+v", method, m)
		}
		last := log.metrics[2]
		if last.Loss >= m.Loss || last.PairMargin <= m.PairMargin || last.PairAccuracy != 1 {
			t.Errorf("%s: loss %v -> %v, margin %v -> %v, accuracy %v", method, m.Loss, last.Loss, m.PairMargin, last.PairMargin, last.PairAccuracy)
		}
		var r Report
		if err := json.Unmarshal(result.Report, &r); err != nil || r.Pairs != 3 || r.PairAccuracy < 0.6 || r.PairMargin == 0 {
			t.Errorf("%s: %s", method, result.Report)
		}
	}
}

// TestPairsStayTogether whatever bounds a batch.
func TestPairsStayTogether(t *testing.T) {
	two := []*rows.Encoded{sized(10, 10), sized(100, 10), sized(10, 10), sized(10, 10)}
	for _, c := range []struct {
		change func(*engine.Spec)
		want   []string
	}{
		{func(s *engine.Spec) { s.BatchSize = 45 }, []string{"0:0-2", "1:0-2", "2:0-2 3:0-2"}},
		{func(s *engine.Spec) { s.BatchSizeSamples = 1 }, []string{"0:0-2", "1:0-2", "2:0-2", "3:0-2"}},
		{func(s *engine.Spec) { s.BatchSizeSamples, s.GradAccumulation = 3, 2 }, []string{"0:0-2 1:0-2", "2:0-2 3:0-2"}},
	} {
		spec := engine.DefaultSpec("DPO")
		c.change(&spec)
		if got := batches(t, spec, two, &batcher{}); !slices.Equal(got, c.want) {
			t.Errorf("%q instead of %q", got, c.want)
		}
	}
}

// TestFirstDPOUpdate: a fresh adapter is the reference, so the loss is log 2 and
// every margin 0, whichever reference is asked for.
func TestFirstDPOUpdate(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	groups := []*rows.Encoded{preference(r), preference(r), preference(r)}
	for _, reference := range []string{"base", "incoming"} {
		spec := smallSpec("DPO")
		spec.KLReference = reference
		_, log, _ := run(t, spec, Options{}, groups)
		if m := log.metrics[0]; math.Abs(m.Loss-math.Ln2) > 1e-6 || math.Abs(m.PairMargin) > 1e-6 || m.Pairs != 3 || !m.Updated {
			t.Errorf("%s: %+v", reference, m)
		}
	}
}

// TestReferenceOfDPO: with a continued adapter, the base and the incoming
// adapter are different references, and the incoming one stays what it was.
func TestReferenceOfDPO(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 2))
	groups := []*rows.Encoded{preference(r), preference(r)}
	first, _, _ := run(t, smallSpec("SFT"), Options{}, groups)
	b := stateOf(t, first)
	o := Options{AdapterConfig: b.config, Adapter: b.adapter}
	loss := map[string][]float64{}
	for _, reference := range []string{"base", "incoming"} {
		spec := smallSpec("DPO")
		spec.KLReference, spec.Epochs = reference, 2
		_, log, _ := run(t, spec, o, groups)
		loss[reference] = []float64{log.metrics[0].Loss, log.metrics[1].Loss}
	}
	if in := loss["incoming"]; in[0] != math.Ln2 || in[1] >= in[0] {
		t.Errorf("against the incoming adapter: %v", in)
	}
	if base := loss["base"]; math.Abs(base[0]-math.Ln2) < 1e-6 || base[1] >= base[0] {
		t.Errorf("against the base: %v", base)
	}
}

func TestWithoutPairsNothingHappens(t *testing.T) {
	spec, groups := smallSpec("ORPO"), someGroups(2, 3)
	before := stateOf(t, newTrainer(t, spec, Options{}))
	constant(groups[0])
	constant(groups[1])
	trainer, _, result := run(t, spec, Options{}, groups)
	if !result.NoSignal || !strings.Contains(result.Message, "pair") || !stateOf(t, trainer).equal(before) {
		t.Errorf("%+v", result)
	}
}

// TestOverlongSamplesLoseReward: before the advantage, once per epoch.
func TestOverlongSamplesLoseReward(t *testing.T) {
	spec, groups := smallSpec("GRPO"), someGroups(1, 3)
	constant(groups[0]) // dead but for the penalty
	n := scores(&groups[0].Samples[0])
	spec.Epochs, spec.OverlongMaxTokens, spec.OverlongBufferTokens = 2, n, 2
	_, log, result := run(t, spec, Options{}, groups)
	for _, m := range log.metrics {
		if m.DeadGroups != 0 || m.RewardMin != -0.5 || m.RewardMax <= m.RewardMin {
			t.Errorf("%+v", m)
		}
	}
	if result.NoSignal || groups[0].Samples[0].Reward != 0.5 {
		t.Errorf("%+v; the row's reward became %v", result, groups[0].Samples[0].Reward)
	}
}
