//go:build linux

package sandbox

import "golang.org/x/sys/unix"

// Without is a launcher that leaves layers out.
func Without(stage *Program, layers ...string) Launcher {
	l := NewWith(Options{Stage: stage}).(*linux)
	l.without = layers
	return l
}

// HoldBundle waits for the lock of a folder that children start from.
func HoldBundle(dir string) (free func(), err error) {
	f, err := holdBundle(dir, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	return func() { f.lock.Close() }, nil
}
