package kernel

import (
	"runtime"
	"testing"
	"time"
)

// TestCrowd: threads look long for work where the process keeps its processors, and
// sleep at once where others take them, until they no longer do.
func TestCrowd(t *testing.T) {
	var c crowd
	now, count := time.Now(), int64(1000) // of the process's life before
	for i, step := range []struct {
		after time.Duration
		more  int64
		known bool
		want  time.Duration
	}{
		{0, 0, true, patient}, // nothing to compare with
		{countEvery, 2, true, patient},
		{countEvery, 80, true, impatient},
		{countEvery, 80, false, patient},
		{countEvery, 80, true, impatient},
		{time.Minute, 8000, true, patient}, // the same count over an idle minute
		{countEvery, 0, true, patient},
	} {
		now, count = now.Add(step.after), count+step.more
		c.judge(now, count, step.known)
		if got := time.Duration(c.patience.Load()); got != step.want {
			t.Errorf("%d: %v, want %v", i, got, step.want)
		}
	}
	if _, known := putOff(); !known && runtime.GOOS == "linux" {
		t.Error("the system does not say how often it took a processor away")
	}
}
