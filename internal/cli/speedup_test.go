package cli

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// TestSpeedups: the first figure of a level stays, over starts too; a reader keeps
// nothing, and a damaged file is measured anew.
func TestSpeedups(t *testing.T) {
	home, log := t.TempDir(), slog.New(slog.DiscardHandler)
	ask := func(s *speedups, level string, measured, want float64) {
		t.Helper()
		if got := s.keep(level, measured); got != want {
			t.Errorf("%s: %v, want %v", level, got, want)
		}
	}
	ask(openSpeedups(home, nil), "avx512bf16", 9, 9)
	first := openSpeedups(home, log)
	ask(first, "avx512bf16", 1.16, 1.16)
	ask(first, "avx512bf16", 1.12, 1.16)
	ask(first, "amx", 4.5, 4.5)
	ask(openSpeedups(home, log), "avx512bf16", 1.12, 1.16)
	ask(openSpeedups(home, nil), "amx", 1, 4.5)
	if err := os.WriteFile(filepath.Join(home, speedupFile), []byte(`{"x":`), 0o600); err != nil {
		t.Fatal(err)
	}
	ask(openSpeedups(home, log), "avx512bf16", 1.12, 1.12)
	ask(openSpeedups(home, log), "avx512bf16", 1.16, 1.12)
}
