package kernel

import "runtime"

// detectArch: every arm64 processor that Go runs on has Advanced SIMD.
func detectArch() []Level { return []Level{LevelNEON} }

func detectArchBF16() []Level { return nil }

func archTable(l Level) *table {
	if l == LevelNEON {
		return &neonTable
	}
	return nil
}

// pause passes some tens of nanoseconds in a loop that waits for another thread.
func pause() { runtime.Gosched() }
