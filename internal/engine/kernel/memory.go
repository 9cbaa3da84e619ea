package kernel

import "unsafe"

// Memory returns n zeros in pages as large as the operating system gives: a
// stream through small ones waits for the address of each.
func Memory[T float32 | uint16](n int) []T {
	x := make([]T, n)
	if n > 0 {
		preferLargePages(unsafe.Pointer(&x[0]), n*int(unsafe.Sizeof(x[0])))
	}
	return x
}
