package runner

import (
	"testing"

	"github.com/firekeep/firekeep/internal/job"
)

// TestMemoryOfAStep: a job may ask for less memory than the host gives a step, not for more.
func TestMemoryOfAStep(t *testing.T) {
	for _, c := range []struct{ host, asked, want int64 }{
		{0, 0, 0}, {0, 1 << 30, 1 << 30}, {2 << 30, 0, 2 << 30}, {2 << 30, 1 << 30, 1 << 30}, {2 << 30, 4 << 30, 2 << 30},
	} {
		s := &stepRun{attempt: &attempt{Runner: &Runner{Config: Config{MemoryBytes: c.host}}}, spec: job.StepSpec{MemoryBytes: c.asked}}
		if got := s.stepOptions(nil).MemoryBytes; got != c.want {
			t.Errorf("the host gives %d, the job asks for %d: the child gets %d", c.host, c.asked, got)
		}
	}
}
