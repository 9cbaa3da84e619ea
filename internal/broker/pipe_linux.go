package broker

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeBytes is what a pipe to or from a child may hold: four frames of a stream, so
// that neither side sleeps within one. It is what a user may ask for by default.
const pipeBytes = 1 << 20

// widen makes room in a pipe. Where the kernel gives none it stays as it is, and
// only slower.
func widen(pipe *os.File) {
	raw, err := pipe.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeBytes) })
}
