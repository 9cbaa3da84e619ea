//go:build linux && !race

package kernel

import (
	"syscall"
	"unsafe"
)

// mapPages gives memory that nobody has used, so that it need not be cleared: the
// heap clears what it cannot be sure of, a few hundred megabytes on one thread.
func mapPages(bytes int) ([]byte, error) {
	data, err := syscall.Mmap(-1, 0, bytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err == nil {
		preferLargePages(unsafe.Pointer(&data[0]), bytes)
	}
	return data, err
}

func unmapPages(data []byte) { _ = syscall.Munmap(data) }
