package kernel

import "testing"

func TestSelfTestPassesOnEveryLevel(t *testing.T) {
	for _, l := range Detect() {
		if err := SelfTest(l); err != nil {
			t.Error(err)
		}
	}
}
