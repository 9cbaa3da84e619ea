package cli

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/firekeep/firekeep/internal/rft"
)

// speedupFile holds how much faster than float32 each level of bfloat16 was when
// this home first ran on a processor. The precision "auto" goes by it: measured
// again at each start, a processor near the threshold would compute in bfloat16 on
// one day and in float32 on the next.
const speedupFile = "speedup.json"

// speedups are the figures of a home, by processor and level.
type speedups struct {
	path string
	log  *slog.Logger // nil: figures are read and not kept

	mu    sync.Mutex
	known map[string]map[string]float64
}

// openSpeedups reads the figures of a home. A file that is damaged counts as none:
// what it held is measured again.
func openSpeedups(home string, log *slog.Logger) *speedups {
	s := &speedups{path: filepath.Join(home, speedupFile), log: log}
	if b, err := os.ReadFile(s.path); err == nil {
		_ = json.Unmarshal(b, &s.known)
	}
	if s.known == nil {
		s.known = map[string]map[string]float64{}
	}
	return s
}

// keep returns the figure of a level on this processor: the one that is kept, else
// measured, which is kept from now on.
func (s *speedups) keep(level string, measured float64) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := processorName()
	if kept := s.known[name][level]; kept > 0 {
		return kept
	}
	if s.known[name] == nil {
		s.known[name] = map[string]float64{}
	}
	s.known[name][level] = measured
	if s.log == nil {
		return measured
	}
	if err := s.write(); err != nil {
		s.log.Warn("the speed of bfloat16 was not kept; it will be measured again at the next start", "reason", rft.PublicMessage(err))
	}
	return measured
}

func (s *speedups) write() error {
	b, err := json.MarshalIndent(s.known, "", "  ")
	if err != nil {
		return rft.Wrap(rft.KindInternal, err, "%s cannot be written", s.path)
	}
	return writeWhole(s.path, bytes.NewReader(append(b, '\n')))
}

// processorName is the model of the processor as the system names it.
var processorName = sync.OnceValue(func() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
})
