package cli

import "testing"

// TestExpectationsFollowRateAndSize: twice the rate or half the model is twice
// the speed; memory holds the weights and does not depend on the rate. The first
// is checked against the step that docs/performance.md describes.
func TestExpectationsFollowRateAndSize(t *testing.T) {
	one, two, threads := expect(100, 2), expect(200, 2), expect(100, 4)
	for i := range one {
		if two[i].TokensPerSecond != 2*one[i].TokensPerSecond || threads[i] != two[i] {
			t.Errorf("%v, %v, %v", one[i], two[i], threads[i])
		}
		if one[i].MemoryBytes < int64(4*one[i].Parameters) {
			t.Errorf("%v does not hold its weights", one[i])
		}
	}
	// 780 GFLOP for 3072 tokens of 134.5M parameters.
	per := 780e9 / 3072 / 134.5e6
	if flopPerParameter < 0.9*per || flopPerParameter > 1.1*per {
		t.Errorf("%v operations per token and parameter, the step does %v", flopPerParameter, per)
	}
}
