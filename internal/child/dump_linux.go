package child

import "golang.org/x/sys/unix"

// keepOutOfDumps marks memory that no core dump may hold, should one be made
// in spite of the sandbox.
func keepOutOfDumps(data []byte) { _ = unix.Madvise(data, unix.MADV_DONTDUMP) }
