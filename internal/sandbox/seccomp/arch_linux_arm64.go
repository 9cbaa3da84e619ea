package seccomp

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_AARCH64
	hasX32    = false
)

// archRules are the calls of this architecture alone that a Go engine needs.
func archRules() []Rule { return nil }

// archHostile are hostile calls of this architecture.
var archHostile = []uint32{unix.SYS_KEXEC_FILE_LOAD}
