package sample

import (
	"testing"

	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// bf16Difference bounds how far a log-prob of the sampler is from the trainer's
// in bfloat16. None was measured; they could differ where attention adds up in
// another order and the last bit tips an activation to its other neighbour.
const bf16Difference = 0.02

// TestBF16 keeps the promises of the package in bfloat16, on every level that
// multiplies it here: the trainer's log-probs, and the same bits in any company.
func TestBF16(t *testing.T) {
	best := kernel.Active()
	defer kernel.Use(best)
	have := kernel.DetectBF16()
	for _, l := range []kernel.Level{kernel.LevelAMX, kernel.LevelAVX512BF16, kernel.LevelGo} {
		t.Run(l.String(), func(t *testing.T) {
			found := false
			for _, h := range have {
				found = found || h == l
			}
			if !found {
				t.Skipf("this processor does not have %v", l)
			}
			if err := kernel.SelfTest(l); err != nil {
				t.Skip(err)
			}
			kernel.Use(l)
			rounded := func(threads int, o Options) *Sampler {
				return newTinyIn(t, tinyConfig(), threads, o, true)
			}
			logprobsAreTheTrainers(t, rounded(2, Options{}), bf16Difference)
			if l != kernel.LevelGo { // whose products keep no memory either, but take long
				decodingAllocatesNothing(t, rounded(2, Options{MaxSequences: 16, MaxContext: 512}))
			}
			alone := map[string]*answer{}
			s := rounded(1, Options{})
			for _, r := range mixed() {
				for key, a := range serve(t, s, r) {
					alone[key] = a
				}
			}
			sameAnswers(t, serve(t, rounded(2, Options{MaxSequences: 64}), mixed()...), alone)
		})
	}
}
