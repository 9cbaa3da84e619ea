package engine

import (
	"math"
	"slices"
	"testing"
)

// TestCanaryIDs holds the sequence against SplitMix64's published values
// (seed 1234567: 6457827717110365317, 3203168211198807973, ...): it is recorded
// in checkpoints, so it may never change under its name.
func TestCanaryIDs(t *testing.T) {
	if got, want := CanaryIDs(49152, 4), CanaryIDs(49152, 32)[:4]; !slices.Equal(got, want) {
		t.Errorf("a shorter canary is another: %v, %v", got, want)
	}
	state := uint64(1234567)
	if got, want := []uint64{SplitMix64(&state), SplitMix64(&state)}, []uint64{6457827717110365317, 3203168211198807973}; !slices.Equal(got, want) {
		t.Errorf("SplitMix64: %d, want %d", got, want)
	}
	for _, id := range CanaryIDs(97, 1000) {
		if id < 0 || id >= 97 {
			t.Fatalf("token %d of a vocabulary of 97", id)
		}
	}
}

func TestCanaryDistance(t *testing.T) {
	c := &Canary{Logprobs: []float64{-1, -2}}
	for _, x := range []struct {
		lp   []float64
		want float64
	}{{[]float64{-1, -2}, 0}, {[]float64{-1.5, -1.75}, 0.5}, {[]float64{-1}, math.Inf(1)}, {[]float64{-1, math.NaN()}, math.Inf(1)}, {nil, math.Inf(1)}} {
		if got := c.Distance(x.lp); got != x.want {
			t.Errorf("%v: %g, want %g", x.lp, got, x.want)
		}
	}
	for _, bad := range [][]float64{{math.NaN()}, {math.Inf(-1)}, {math.Inf(1)}, {0.5}} {
		if LogProbs(bad) {
			t.Errorf("%v are taken for log-probs", bad)
		}
	}
}

// TestCanaryTolerance: who computes alike is held to more.
func TestCanaryTolerance(t *testing.T) {
	avx2, go32, amx, go16 := Computed{"avx2", false}, Computed{"go", false}, Computed{"amx", true}, Computed{"go", true}
	for _, c := range []struct {
		trained, served Computed
		want            float64
	}{{avx2, avx2, canarySameFloat32}, {avx2, go32, canaryFloat32}, {amx, amx, canarySameBFloat16}, {amx, go16, canaryBFloat16}, {avx2, amx, canaryMixed}, {go16, go32, canaryMixed}} {
		if got := CanaryTolerance(c.trained, c.served); got != c.want {
			t.Errorf("%+v, %+v: %g, want %g", c.trained, c.served, got, c.want)
		}
	}
}
