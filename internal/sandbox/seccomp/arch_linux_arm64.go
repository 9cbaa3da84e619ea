package seccomp

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_AARCH64
	hasX32    = false
)

// archRules are the calls of this architecture alone that a Go engine needs.
func archRules() []Rule { return nil }
