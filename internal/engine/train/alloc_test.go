package train

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/firekeep/firekeep/internal/engine/rows"
)

// deaf hears nothing and so allocates nothing.
type deaf struct{}

func (deaf) Metrics(Metrics) error   { return nil }
func (deaf) Mark(Mark) error         { return nil }
func (deaf) Progress(Progress) error { return nil }
func (deaf) Warning(string) error    { return nil }

// TestTokensAllocateNothing: an optimiser batch allocates for its groups and
// samples, a small number each; eight times the tokens allocate nothing more,
// with and without a pass for the old policy.
func TestTokensAllocateNothing(t *testing.T) {
	ctx := context.Background()
	perBatch := func(completion int) float64 {
		r := rand.New(rand.NewPCG(3, 3))
		var groups []*rows.Encoded
		for range 3 {
			g := randomGroup(r, 97, 4, 7, completion)
			for i := range g.Samples {
				g.Samples[i].Reward = float64(i * i) // none is the mean
			}
			groups = append(groups, g)
		}
		trainer := newTrainer(t, smallSpec("GRPO"), Options{})
		source := batcher{spec: trainer.spec, next: sourceOf(groups, 1, 0)}
		b, err := source.nextBatch(ctx)
		if err != nil || len(b.items) != 3 {
			t.Fatalf("batch %+v: %v", b, err)
		}
		step := func() {
			if _, err := trainer.step(ctx, b, deaf{}); err != nil {
				t.Fatal(err)
			}
		}
		step()
		step() // the first that also computes the old policy
		return testing.AllocsPerRun(4, step)
	}
	few, many := perBatch(8), perBatch(64)
	if few < 1 || few > 200 || many > few {
		t.Errorf("%v allocations for short samples, %v for long ones", few, many)
	}
}
