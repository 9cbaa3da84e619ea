//go:build !linux

package kernel

// putOff is not known here.
func putOff() (int64, bool) { return 0, false }
