package seccomp

import "golang.org/x/sys/unix"

// What becomes of a call that the profile does not allow. EPERM is for calls
// that an honest runtime makes and can do without: it looks for files at its
// start, for instance. KillProcess is for calls that no engine has a reason to
// make: the attempt ends the child, which its parent sees and reports. clone3
// is ENOSYS, the answer that makes callers fall back to clone.
var denied = Errno(uint16(unix.EPERM))

// threadFlags are what clone must carry: a thread of the same process, never a
// process of its own.
const threadFlags = unix.CLONE_VM | unix.CLONE_SIGHAND | unix.CLONE_THREAD

// namespaceFlags are what clone must not carry.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// low is the mask of an argument that the kernel takes as an int.
const low = 0xffffffff

// plain lists the calls that the engine makes, with any arguments, the frequent
// ones first. docs/sandbox.md says how the list was measured.
var plain = []uint32{
	unix.SYS_FUTEX, unix.SYS_READ, unix.SYS_WRITE, unix.SYS_MADVISE, unix.SYS_NANOSLEEP, unix.SYS_EPOLL_PWAIT,
	unix.SYS_SCHED_YIELD, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGPROCMASK, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTID, unix.SYS_GETPID,
	unix.SYS_CLOSE, unix.SYS_FSTAT, unix.SYS_MUNMAP, unix.SYS_RT_SIGACTION, unix.SYS_SIGALTSTACK,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EVENTFD2,
	unix.SYS_SCHED_GETAFFINITY,
	unix.SYS_GETRANDOM, unix.SYS_RESTART_SYSCALL, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}

// mapped are the memory maps that are allowed: private ones, and files mapped
// to be read. Nothing is executable, nothing grows as a stack or lies in huge
// pages, and nothing is both shared and writable: the kernel would not count it
// as the process's own memory.
func mapped() [][]Cond {
	const kinds = unix.MAP_TYPE | unix.MAP_GROWSDOWN | unix.MAP_HUGETLB
	return [][]Cond{
		{{Arg: 2, Mask: unix.PROT_EXEC, Value: 0}, {Arg: 3, Mask: kinds, Value: unix.MAP_PRIVATE}},
		{{Arg: 2, Mask: unix.PROT_EXEC | unix.PROT_WRITE, Value: 0}, {Arg: 3, Mask: kinds | unix.MAP_ANON, Value: unix.MAP_SHARED}},
	}
}

// Engine is the filter around every child: the calls of plain, threads but no
// processes, memory that is never executable, signals to itself only, and one
// execveat of the descriptor program. There is no socket, no file, no mount, no
// key, no ring, no other process.
func Engine(program int) Filter {
	f := Filter{Default: denied}
	for _, nr := range plain {
		f.Rules = append(f.Rules, Rule{Nr: nr, Then: Allow})
	}
	f.Rules = append(f.Rules,
		Rule{Nr: unix.SYS_MMAP, Any: mapped(), Then: Allow, Else: denied},
		Rule{Nr: unix.SYS_MPROTECT, Any: [][]Cond{{{Arg: 2, Mask: unix.PROT_EXEC, Value: 0}}}, Then: Allow, Else: denied},
		Rule{Nr: unix.SYS_CLONE, Any: [][]Cond{{{Arg: 0, Mask: threadFlags | namespaceFlags, Value: threadFlags}}}, Then: Allow, Else: KillProcess},
		// clone3 passes its flags in memory, where no filter can see them.
		Rule{Nr: unix.SYS_CLONE3, Then: Errno(uint16(unix.ENOSYS))},
		// The child is process 1 of its namespace.
		Rule{Nr: unix.SYS_TGKILL, Any: oneOf(0, 1), Then: Allow, Else: KillProcess},
		// It may read its limits and set none.
		Rule{Nr: unix.SYS_PRLIMIT64, Any: [][]Cond{{{Arg: 0, Mask: low, Value: 0}, Is(2, 0)}}, Then: Allow, Else: denied},
		// It may read what it used itself: how often it was put off a processor says when not to wait in a loop.
		Rule{Nr: unix.SYS_GETRUSAGE, Any: oneOf(0, unix.RUSAGE_SELF), Then: Allow, Else: denied},
		Rule{Nr: unix.SYS_FCNTL, Any: oneOf(1, unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_SETFL), Then: Allow, Else: denied},
		Rule{Nr: unix.SYS_PRCTL, Any: append(oneOf(0, unix.PR_SET_VMA, unix.PR_SET_NO_NEW_PRIVS, unix.PR_GET_DUMPABLE),
			[]Cond{{Arg: 0, Mask: low, Value: unix.PR_SET_DUMPABLE}, Is(1, 0)}), Then: Allow, Else: denied},
		Rule{Nr: unix.SYS_SECCOMP, Any: [][]Cond{{{Arg: 0, Mask: low, Value: unix.SECCOMP_SET_MODE_FILTER}, {Arg: 1, Mask: low, Value: unix.SECCOMP_FILTER_FLAG_TSYNC}}}, Then: Allow, Else: denied},
		Rule{Nr: unix.SYS_EXECVEAT, Any: [][]Cond{{{Arg: 0, Mask: low, Value: uint64(program)}, {Arg: 4, Mask: low, Value: unix.AT_EMPTY_PATH}}}, Then: Allow, Else: KillProcess},
	)
	f.Rules = append(f.Rules, archRules()...)
	for _, nr := range hostile {
		f.Rules = append(f.Rules, Rule{Nr: nr, Then: KillProcess})
	}
	for _, nr := range archHostile {
		f.Rules = append(f.Rules, Rule{Nr: nr, Then: KillProcess})
	}
	return f
}

// Started is what a program adds to Engine once it runs: no other program, no
// further filter and no change of what the kernel knows about it.
func Started() Filter {
	return Filter{Default: Allow, Rules: []Rule{
		{Nr: unix.SYS_EXECVE, Then: denied},
		{Nr: unix.SYS_EXECVEAT, Then: denied},
		{Nr: unix.SYS_CLONE, Any: [][]Cond{{{Arg: 0, Mask: threadFlags | namespaceFlags, Value: threadFlags}}}, Then: Allow, Else: denied},
		{Nr: unix.SYS_CLONE3, Then: Errno(uint16(unix.ENOSYS))},
		{Nr: unix.SYS_SECCOMP, Then: denied},
		{Nr: unix.SYS_PRCTL, Any: oneOf(0, unix.PR_SET_VMA), Then: Allow, Else: denied},
	}}
}

// oneOf are the alternatives that the low half of arg is one of values.
func oneOf(arg int, values ...uint64) [][]Cond {
	var any [][]Cond
	for _, v := range values {
		any = append(any, []Cond{{Arg: arg, Mask: low, Value: v}})
	}
	return any
}

// Allowed lists the calls that f allows, at least with some arguments.
func (f Filter) Allowed() []uint32 {
	var out []uint32
	for _, r := range f.Rules {
		if r.Then == Allow {
			out = append(out, r.Nr)
		}
	}
	return out
}
