package child

import "golang.org/x/sys/unix"

// keepOutOfDumps marks memory that no core dump may hold, should one be made
// in spite of the sandbox.
func keepOutOfDumps(data []byte) { _ = unix.Madvise(data, unix.MADV_DONTDUMP) }

// preferLargePages asks for large pages where the operating system has them. A
// file's come from the page cache, as they were written or are read now.
func preferLargePages(data []byte) { _ = unix.Madvise(data, unix.MADV_HUGEPAGE) }
