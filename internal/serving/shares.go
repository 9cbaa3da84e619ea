package serving

import (
	"math"
	"runtime"
	"sync"
)

// Threaded is a child whose thread count can change while it runs.
type Threaded interface{ SetThreads(n int) }

// Shares divides the cores between steps and sampling. Whoever works alone gets
// all of them; when both work, sampling gets its share. This changes speed,
// never results.
type Shares struct {
	mu       sync.Mutex
	cores    int
	sampling float64
	steps    map[Threaded]struct{}
	samplers map[Threaded]struct{}
}

// NewShares divides cores (0 = all of this host), of which sampling gets the
// given part (0 = one half).
func NewShares(cores int, sampling float64) *Shares {
	if cores <= 0 {
		cores = runtime.NumCPU()
	}
	if sampling <= 0 || sampling >= 1 {
		sampling = 0.5
	}
	return &Shares{cores: cores, sampling: sampling, steps: map[Threaded]struct{}{}, samplers: map[Threaded]struct{}{}}
}

// Step counts c as a working step until release is called, and sets its threads.
func (s *Shares) Step(c Threaded) (release func()) { return s.join(s.steps, c) }

// Sampling counts c as a sampling child at work until release is called.
func (s *Shares) Sampling(c Threaded) (release func()) { return s.join(s.samplers, c) }

// SetShares changes the division; it holds at once.
func (s *Shares) SetShares(cores int, sampling float64) {
	n := NewShares(cores, sampling)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cores, s.sampling = n.cores, n.sampling
	s.divide()
}

func (s *Shares) join(set map[Threaded]struct{}, c Threaded) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set[c] = struct{}{}
	s.divide()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(set, c)
		s.divide()
	}
}

// divide tells every child its threads. s.mu is held.
func (s *Shares) divide() {
	steps, samplers := s.split()
	for c := range s.steps {
		c.SetThreads(max(steps/len(s.steps), 1))
	}
	for c := range s.samplers {
		c.SetThreads(max(samplers/len(s.samplers), 1))
	}
}

// split is the number of cores for all steps and for all sampling children.
func (s *Shares) split() (steps, samplers int) {
	if len(s.steps) == 0 || len(s.samplers) == 0 {
		return s.cores, s.cores
	}
	samplers = min(max(int(math.Round(float64(s.cores)*s.sampling)), 1), max(s.cores-1, 1))
	return max(s.cores-samplers, 1), samplers
}

// idle is the thread count of a child that starts: it only maps weights.
func (s *Shares) idle() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, samplers := s.split()
	return samplers
}
