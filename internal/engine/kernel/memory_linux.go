package kernel

import (
	"syscall"
	"unsafe"
)

// preferLargePages is advice: without it, or where none are left, pages are small.
func preferLargePages(p unsafe.Pointer, bytes int) {
	page := syscall.Getpagesize()
	skip := -uintptr(p) & uintptr(page-1)
	if whole := (bytes - int(skip)) &^ (page - 1); whole > 0 {
		_ = syscall.Madvise(unsafe.Slice((*byte)(unsafe.Add(p, skip)), whole), syscall.MADV_HUGEPAGE)
	}
}
