package seccomp

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_X86_64
	hasX32    = true
)

// Codes of arch_prctl(2); x/sys does not have them.
const (
	archSetFS         = 0x1002
	archGetXCompSupp  = 0x1021
	archGetXCompPerm  = 0x1022
	archReqXCompPerm  = 0x1023
	archPrctlCodeMask = 0xffffffff
)

// archRules are the calls of this architecture that a Go engine needs: thread
// setup and permission to use the matrix unit.
func archRules() []Rule {
	var codes [][]Cond
	for _, c := range []uint64{archSetFS, archGetXCompSupp, archGetXCompPerm, archReqXCompPerm} {
		codes = append(codes, []Cond{{Arg: 0, Mask: archPrctlCodeMask, Value: c}})
	}
	return []Rule{{Nr: unix.SYS_ARCH_PRCTL, Any: codes, Then: Allow, Else: denied}}
}

// archHostile are hostile calls of this architecture.
var archHostile = []uint32{
	unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_MKNOD, unix.SYS_USELIB, unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT,
	unix.SYS_KEXEC_FILE_LOAD, unix.SYS_INOTIFY_INIT, unix.SYS_SYSFS,
}
