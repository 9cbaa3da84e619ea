package train

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/rows"
)

// TestResumeGivesTheSameBytes stops at every mark in turn and continues in a
// new Trainer from what was written there: adapter, moments, result, metrics.
func TestResumeGivesTheSameBytes(t *testing.T) {
	for method, samples := range map[string]int{"GRPO": 5, "DPO": 2} {
		t.Run(method, func(t *testing.T) { testResume(t, method, samples) })
	}
}

func testResume(t *testing.T, method string, samples int) {
	spec := smallSpec(method)
	spec.Epochs, spec.BatchSizeSamples, spec.KLBeta, spec.KLReference = 2, samples, 0.1, "incoming"
	groups := someGroups(4, 4) // 4 samples in batches of 5, and one group of 7 that is divided
	groups[2] = randomGroup(rand.New(rand.NewPCG(1, 9)), 97, 7, 5, 6)
	for _, start := range []string{"fresh", "continued"} {
		var o Options
		if start == "continued" {
			first, _, _ := run(t, smallSpec("GRPO"), Options{}, groups[:1])
			b := stateOf(t, first)
			o = Options{AdapterConfig: b.config, Adapter: b.adapter, Optimizer: b.optimizer}
		}
		whole, log, want := run(t, spec, o, groups)
		if len(log.marks) < 6 {
			t.Fatalf("only %d marks", len(log.marks))
		}
		for stop := range log.marks {
			at, mark := interrupted(t, spec, o, groups, stop)
			if mark.Update != log.marks[stop].Update || mark.Position != log.marks[stop].Position {
				t.Fatalf("mark %d is %+v in a second run", stop, mark)
			}
			resumed := Options{AdapterConfig: at.config, Adapter: at.adapter, Optimizer: at.optimizer, Resume: &mark, Original: o.Adapter}
			trainer, again := newTrainer(t, spec, resumed), &recorder{}
			got, err := trainer.Run(context.Background(), sourceOf(groups, spec.Epochs, mark.Position), again)
			if err != nil {
				t.Fatal(err)
			}
			if !stateOf(t, trainer).equal(stateOf(t, whole)) {
				t.Errorf("%s, stopped at mark %d: the final bytes differ", start, stop)
			}
			if string(got.Report) != string(want.Report) || got.Updates != want.Updates {
				t.Errorf("%s, stopped at mark %d: the report is %s instead of %s", start, stop, got.Report, want.Report)
			}
			rest := log.metrics[stop+1:]
			if len(again.metrics) != len(rest) {
				t.Fatalf("%s, stopped at mark %d: %d batches follow instead of %d", start, stop, len(again.metrics), len(rest))
			}
			for i, m := range again.metrics {
				if timeless(m) != timeless(rest[i]) {
					t.Errorf("%s, stopped at mark %d: batch %d is %+v instead of %+v", start, stop, i, m, rest[i])
				}
			}
		}
	}
}

func timeless(m Metrics) Metrics { m.Seconds, m.TokensPerSec = 0, 0; return m }

var errStop = errors.New("killed")

// interrupted runs until the given mark and returns what was written there.
func interrupted(t *testing.T, spec engine.Spec, o Options, groups []*rows.Encoded, stop int) (blobs, Mark) {
	t.Helper()
	trainer, log := newTrainer(t, spec, o), &recorder{}
	var at blobs
	log.onMark = func(m Mark) error {
		if len(log.marks) == stop+1 {
			at = stateOf(t, trainer)
			return errStop
		}
		return nil
	}
	if _, err := trainer.Run(context.Background(), sourceOf(groups, spec.Epochs, 0), log); !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	// A mark travels as JSON.
	b, err := json.Marshal(log.marks[stop])
	if err != nil {
		t.Fatal(err)
	}
	var m Mark
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return at, m
}

func TestForeignStateIsRefused(t *testing.T) {
	spec, groups := smallSpec("GRPO"), someGroups(1, 4)
	trainer, log, _ := run(t, spec, Options{}, groups)
	b := stateOf(t, trainer)
	good := Options{AdapterConfig: b.config, Adapter: b.adapter, Optimizer: b.optimizer, Resume: &log.marks[0]}
	for name, c := range map[string]struct {
		key    string
		change func(s *engine.Spec, o *Options)
	}{
		"rank":      {"loraRank", func(s *engine.Spec, o *Options) { s.LoraRank = 4 }},
		"alpha":     {"loraAlpha", func(s *engine.Spec, o *Options) { s.LoraAlpha = 2 }},
		"targets":   {"loraTargetModules", func(s *engine.Spec, o *Options) { s.LoraTargets = []string{"q_proj"} }},
		"optimizer": {"update", func(s *engine.Spec, o *Options) { o.Optimizer = o.Adapter }},
		"truncated": {"", func(s *engine.Spec, o *Options) { o.Optimizer = o.Optimizer[:len(o.Optimizer)-4] }},
		"mark":      {"", func(s *engine.Spec, o *Options) { m := *o.Resume; m.Update++; o.Resume = &m }},
		"method":    {"method", func(s *engine.Spec, o *Options) { s.Method = "DPO2" }},
	} {
		s, o := spec, good
		c.change(&s, &o)
		_, err := New(kernel.NewPool(1), randomModel(), s, o)
		p, ok := err.(*engine.Problem)
		if !ok || c.key != "" && p.Key != c.key {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := New(kernel.NewPool(1), randomModel(), spec, good); err != nil {
		t.Error(err)
	}
}
