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
// setup, permission to use the matrix unit, and the older numbers of epoll_wait.
func archRules() []Rule {
	var codes [][]Cond
	for _, c := range []uint64{archSetFS, archGetXCompSupp, archGetXCompPerm, archReqXCompPerm} {
		codes = append(codes, []Cond{{Arg: 0, Mask: archPrctlCodeMask, Value: c}})
	}
	return []Rule{
		{Nr: unix.SYS_ARCH_PRCTL, Any: codes, Then: Allow, Else: denied},
		{Nr: unix.SYS_EPOLL_WAIT, Then: Allow},
		{Nr: unix.SYS_TIME, Then: Allow},
		{Nr: unix.SYS_GETRLIMIT, Then: Allow},
	}
}
