package train

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/rows"
)

// sized is a group of samples with the given numbers of tokens; rewards differ.
func sized(tokens ...int) *rows.Encoded {
	g := &rows.Encoded{Line: 1}
	for i, n := range tokens {
		s := rows.EncodedSample{IDs: make([]int32, n), Scored: make([]bool, n), Reward: float64(i)}
		s.Scored[n-1] = true
		g.Samples = append(g.Samples, s)
	}
	return g
}

// batches renders what the batcher makes of groups: "position:first-end" per
// item, one string per optimiser batch.
func batches(t *testing.T, spec engine.Spec, groups []*rows.Encoded, b *batcher) []string {
	t.Helper()
	b.spec = &spec
	if b.next == nil {
		b.next = sourceOf(groups, spec.Epochs, 0)
	}
	var out []string
	for {
		done, err := b.nextBatch(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if done == nil {
			return out
		}
		var items []string
		for _, it := range done.items {
			items = append(items, fmt.Sprintf("%d:%d-%d", it.position, it.first, it.end))
		}
		out = append(out, strings.Join(items, " "))
	}
}

func TestBatching(t *testing.T) {
	pairs := []*rows.Encoded{sized(10, 10), sized(10, 10), sized(10, 10)}
	for _, c := range []struct {
		name   string
		groups []*rows.Encoded
		change func(*engine.Spec)
		want   []string
	}{
		{"tokens fill a batch", pairs, func(s *engine.Spec) { s.BatchSize = 40 }, []string{"0:0-2 1:0-2", "2:0-2"}},
		{"a group stays together", pairs, func(s *engine.Spec) { s.BatchSize = 59 }, []string{"0:0-2 1:0-2", "2:0-2"}},
		{"samples fill a batch", pairs, func(s *engine.Spec) { s.BatchSizeSamples = 3 }, []string{"0:0-2", "1:0-2", "2:0-2"}},
		{"whichever is first", pairs, func(s *engine.Spec) { s.BatchSizeSamples, s.BatchSize = 6, 20 }, []string{"0:0-2", "1:0-2", "2:0-2"}},
		{"accumulation", pairs, func(s *engine.Spec) { s.BatchSize, s.GradAccumulation = 20, 2 }, []string{"0:0-2 1:0-2", "2:0-2"}},
		{"epochs end batches", pairs[:1], func(s *engine.Spec) { s.Epochs = 3 }, []string{"0:0-2", "1:0-2", "2:0-2"}},
		{"accumulation ends with the epoch", pairs, func(s *engine.Spec) { s.Epochs, s.BatchSize, s.GradAccumulation = 2, 20, 2 },
			[]string{"0:0-2 1:0-2", "2:0-2", "3:0-2 4:0-2", "5:0-2"}},
		{"a large group is divided", []*rows.Encoded{sized(10, 10, 10, 10, 10), sized(10, 10)}, func(s *engine.Spec) { s.BatchSize = 25 },
			[]string{"0:0-2", "0:2-4", "0:4-5", "1:0-2"}},
		{"what is left of it shares a batch", []*rows.Encoded{sized(10, 10, 10, 10, 10), sized(5, 5)}, func(s *engine.Spec) { s.BatchSize = 25 },
			[]string{"0:0-2", "0:2-4", "0:4-5 1:0-2"}},
		{"a large group fills the open batch first", []*rows.Encoded{sized(10, 5), sized(10, 10, 10)}, func(s *engine.Spec) { s.BatchSize = 25 },
			[]string{"0:0-2 1:0-1", "1:1-3"}},
		{"a long sample goes alone", []*rows.Encoded{sized(10, 100, 10)}, func(s *engine.Spec) { s.BatchSize = 30 },
			[]string{"0:0-1", "0:1-2", "0:2-3"}},
		{"a long sample within accumulation", []*rows.Encoded{sized(10, 100, 10)}, func(s *engine.Spec) { s.BatchSize, s.GradAccumulation = 30, 2 },
			[]string{"0:0-2", "0:2-3"}},
	} {
		spec := engine.DefaultSpec("GRPO")
		c.change(&spec)
		if got := batches(t, spec, c.groups, &batcher{}); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q instead of %q", c.name, got, c.want)
		}
	}
}

// TestAdvantagesOfADividedGroupAreThoseOfTheWhole: dividing must not change
// what a sample is compared with.
func TestAdvantagesOfADividedGroupAreThoseOfTheWhole(t *testing.T) {
	spec := engine.DefaultSpec("GRPO")
	spec.BatchSize = 25
	b := &batcher{spec: &spec, next: sourceOf([]*rows.Encoded{sized(10, 10, 10, 10)}, 1, 0)}
	for _, want := range [][]float64{{-1.161894, -0.387298}, {0.387298, 1.161894}} {
		done, err := b.nextBatch(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		it := done.items[0]
		for i, x := range it.adv[it.first:it.end] {
			if math.Abs(x-want[i]) > 1e-5 {
				t.Errorf("advantage %v instead of %v", x, want[i])
			}
		}
	}
}

// TestOneSampleRowsAreComparedWithinTheBatch, with a warning; an explicit group
// baseline is obeyed.
func TestOneSampleRowsAreComparedWithinTheBatch(t *testing.T) {
	var groups []*rows.Encoded
	for i := range 4 {
		g := someGroups(1, 1)[0]
		g.Samples[0].Reward = float64(i)
		groups = append(groups, g)
	}
	_, log, result := run(t, smallSpec("GRPO"), Options{}, groups)
	if len(log.warnings) != 1 || result.NoSignal || log.metrics[0].DeadGroups != 0 {
		t.Errorf("warnings %q, %+v", log.warnings, log.metrics[0])
	}
	spec := smallSpec("GRPO")
	spec.Baseline = "group"
	_, log, result = run(t, spec, Options{}, groups)
	if len(log.warnings) != 0 || !result.NoSignal {
		t.Errorf("warnings %q, %+v", log.warnings, result)
	}
	// One group of two decides for groups, also when it is not the first.
	mixed := append(slices.Clone(groups), someGroups(1, 2)...)
	if _, log, _ = run(t, smallSpec("GRPO"), Options{}, mixed); log.metrics[0].DeadGroups != 4 || len(log.warnings) != 0 {
		t.Errorf("%+v", log.metrics[0])
	}
}

func TestMalformedSamplesAreRefused(t *testing.T) {
	for name, change := range map[string]func(*rows.EncodedSample){
		"no tokens":       func(s *rows.EncodedSample) { s.IDs, s.Scored = nil, nil },
		"short mask":      func(s *rows.EncodedSample) { s.Scored = s.Scored[1:] },
		"no prompt":       func(s *rows.EncodedSample) { s.Scored[0] = true },
		"short log-probs": func(s *rows.EncodedSample) { s.Logprobs = []float64{-1} },
		"foreign token":   func(s *rows.EncodedSample) { s.IDs[3] = 97 },
		"longer than fits": func(s *rows.EncodedSample) {
			s.IDs = make([]int32, 200)
			s.Scored = make([]bool, 200)
			s.Scored[199] = true
		},
	} {
		groups := someGroups(1, 3)
		change(&groups[0].Samples[1])
		trainer := newTrainer(t, smallSpec("GRPO"), Options{})
		_, err := trainer.Run(context.Background(), sourceOf(groups, 1, 0), &recorder{})
		if _, ok := err.(*engine.Problem); !ok {
			t.Errorf("%s: got %v", name, err)
		}
	}
	spec := smallSpec("IMPORTANCE_SAMPLING")
	_, err := newTrainer(t, spec, Options{}).Run(context.Background(), sourceOf(someGroups(1, 3), 1, 0), &recorder{})
	if p, ok := err.(*engine.Problem); !ok || p.Rule != "missing-logprobs" {
		t.Errorf("got %v", err)
	}
}
