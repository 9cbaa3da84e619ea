package cli

import "testing"

// TestExpectationsFollowRateAndSize: twice the rate or half the model is twice
// the speed; memory holds the weights and does not depend on the rate. The first
// is checked against the step that docs/performance.md describes.
func TestExpectationsFollowRateAndSize(t *testing.T) {
	one, two, threads := expect(100, 2, 1), expect(200, 2, 1), expect(100, 4, 1)
	for i := range one {
		if two[i].TokensPerSecond != 2*one[i].TokensPerSecond || threads[i] != two[i] {
			t.Errorf("%v, %v, %v", one[i], two[i], threads[i])
		}
		if one[i].MemoryBytes < int64(4*one[i].Parameters) {
			t.Errorf("%v does not hold its weights", one[i])
		}
	}
	if got := expect(100, 2, 5.7)[0].TokensPerSecond / one[0].TokensPerSecond; got < 2 || got > 2.2 {
		t.Errorf("bfloat16 makes a step %v times as fast, measured was 2.1", got)
	}
	// 780 GFLOP for 3072 tokens of 134.5M parameters.
	per := 780e9 / 3072 / 134.5e6
	if flopPerParameter < 0.9*per || flopPerParameter > 1.1*per {
		t.Errorf("%v operations per token and parameter, the step does %v", flopPerParameter, per)
	}
}
