package serving_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/wire"
)

// TestShare: jobs leave places for those who wait for an answer.
func TestShare(t *testing.T) {
	for most, want := range map[int]int{0: 32, 8: 2, 3: 1} {
		r := serving.NewRouter(&broker.Host{}, nil, serving.Options{MaxRequests: most})
		if got := r.Share(32); got != want {
			t.Errorf("of %d: %d, want %d", most, got, want)
		}
		r.Close()
	}
}

// group asks for eight completions of one prompt and returns all of them.
func group(ctx context.Context, r *serving.Router, kind int, caller uint64, seen func(events int) error) (string, error) {
	prompt, seed := strings.Repeat(fmt.Sprintf("prompt %d ", kind), 2+kind), int64(kind)
	q := wire.SampleRequest{Caller: caller, Prompt: &prompt, N: 8, MaxTokens: 12 + kind, Temperature: 1, TopP: 0.95, Seed: &seed, IgnoreEOS: true, Logprobs: true}
	texts, events := make([]string, q.N), 0
	err := r.Generate(ctx, target(kind%3), q, func(e wire.SampleEvent) error {
		events++
		texts[e.Index] += e.Text
		for _, tk := range e.Tokens {
			texts[e.Index] += fmt.Sprintf("[%d %.17g]", tk.ID, tk.Logprob)
		}
		return seen(events)
	})
	return strings.Join(texts, "\n"), err
}

// TestAnswersUnderLoad: 64 clients at once ask for groups of the base and two
// adapters, and a third of them hangs up at some event. Every answer that is
// completed has the tokens and the log-probs that the same seed gives alone.
func TestAnswersUnderLoad(t *testing.T) {
	const kinds = 9
	whole := func(int) error { return nil }
	alone := make([]string, kinds)
	for kind := range kinds {
		r := router(t, &source{}, serving.Options{})
		var err error
		if alone[kind], err = group(t.Context(), r, kind, 0, whole); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	r := router(t, &source{}, serving.Options{MaxSequences: 32})
	rounds := 2
	if testing.Short() {
		rounds = 1
	}
	enough := errors.New("the client hung up")
	var clients sync.WaitGroup
	var completed, cut atomic.Int64
	for client := range 64 {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(client), 6))
			for range rounds {
				kind := rng.IntN(kinds)
				ctx, hangUp := context.WithCancelCause(t.Context())
				seen := whole
				if at := rng.IntN(40); rng.IntN(3) == 0 {
					seen = func(events int) error {
						if events > at {
							hangUp(enough)
						}
						return nil
					}
				}
				got, err := group(ctx, r, kind, uint64(client%5), seen)
				switch {
				case context.Cause(ctx) != nil:
					cut.Add(1)
				case err != nil:
					t.Errorf("client %d: %v (%v)", client, err, rft.KindOf(err))
				case got != alone[kind]:
					t.Errorf("client %d, kind %d: not the answer that the seed gives alone", client, kind)
				default:
					completed.Add(1)
				}
				hangUp(nil)
			}
		})
	}
	clients.Wait()
	t.Logf("%d completed, %d hung up", completed.Load(), cut.Load())
	if completed.Load() < 20 || cut.Load() < 5 {
		t.Error("too few of one kind: the test shows nothing")
	}
	if st := r.Status(); len(st) != 1 || st[0].Requests != 0 || st[0].Crashes != 0 {
		t.Errorf("afterwards %+v", st)
	}
}
