//go:build !linux

package child

func keepOutOfDumps([]byte) {}

func preferLargePages([]byte) {}
