// Package narrow is what a sandboxed program does to itself before it reads its
// first byte: it gives up the rights that only its start needed. It links
// neither net nor os/exec.
package narrow

import (
	"fmt"

	"github.com/firekeep/firekeep/internal/sandbox/seccomp"
	"golang.org/x/sys/unix"
)

// Self makes the process unable to start programs or processes, to be dumped,
// or to be read by others of its user. It holds for every thread and cannot be
// undone. Outside a sandbox it works the same way.
func Self() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("narrow: dumpable: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("narrow: no new privileges: %w", err)
	}
	return seccomp.Started().Install(true)
}
