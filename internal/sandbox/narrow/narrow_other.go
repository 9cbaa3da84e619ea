//go:build !linux

package narrow

// Self does nothing: only Linux has filters.
func Self() error { return nil }
