//go:build !amd64 && !arm64

package kernel

import "runtime"

func detectArch() []Level      { return nil }
func detectArchBF16() []Level  { return nil }
func archTable(l Level) *table { return nil }

// pause passes some tens of nanoseconds in a loop that waits for another thread.
func pause() { runtime.Gosched() }
