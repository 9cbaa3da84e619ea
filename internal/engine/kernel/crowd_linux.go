package kernel

import "syscall"

// putOff is how often the system took a processor from a thread of this process
// that would have gone on.
func putOff() (int64, bool) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return int64(u.Nivcsw), err == nil
}
