package broker

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeBytes is what a pipe to or from a child may hold: a whole frame of a stream, so
// that its writer goes on to the next one while it is read. A frame that is a little
// longer than that costs one sleep. It is not more because the kernel counts the
// pages of all pipes of a user: past 64 MiB (fs.pipe-user-pages-soft) it gives later
// ones, other programs' too, two pages each. A hundred children stay below that.
const pipeBytes = 256 << 10

// widen makes room in a pipe. Where the kernel gives none it stays as it is, and
// only slower.
func widen(pipe *os.File) {
	raw, err := pipe.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeBytes) })
}
