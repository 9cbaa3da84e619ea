package runner

import (
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/store"
)

// stages is where the time of an attempt went: what was done, one thing after
// another, and how long each took. The log shows it with the end of the job.
type stages struct {
	mu   sync.Mutex
	last time.Time
	done []stage
}

type stage struct {
	name string
	took time.Duration
}

// newStages begins to measure with how long j had waited for its first attempt.
func newStages(j store.Job) *stages {
	s := &stages{last: time.Now()}
	if j.Attempt == 1 {
		s.last = j.Created
		s.end("queued")
	}
	return s
}

// end says that what was done since the last call is called name. What is done
// again adds to its time.
func (s *stages) end(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	took := now.Sub(s.last)
	s.last = now
	if i := slices.IndexFunc(s.done, func(d stage) bool { return d.name == name }); i >= 0 {
		s.done[i].took += took
		return
	}
	s.done = append(s.done, stage{name, took})
}

// LogValue implements slog.LogValuer: milliseconds by stage.
func (s *stages) LogValue() slog.Value {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]slog.Attr, len(s.done))
	for i, d := range s.done {
		out[i] = slog.Float64(d.name, math.Round(10*float64(d.took)/float64(time.Millisecond))/10)
	}
	return slog.GroupValue(out...)
}
