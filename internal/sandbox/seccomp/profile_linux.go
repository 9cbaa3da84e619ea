package seccomp

import "golang.org/x/sys/unix"

var denied = Errno(uint16(unix.EPERM))

// threadFlags are what clone must carry: a thread of the same process, never a
// process of its own.
const threadFlags = unix.CLONE_VM | unix.CLONE_SIGHAND | unix.CLONE_THREAD

// namespaceFlags are what clone must not carry.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// plain lists the calls that a Go program which computes and talks over
// inherited descriptors makes, with any arguments. The frequent ones first.
var plain = []uint32{
	unix.SYS_FUTEX, unix.SYS_READ, unix.SYS_WRITE, unix.SYS_MADVISE, unix.SYS_NANOSLEEP, unix.SYS_EPOLL_PWAIT,
	unix.SYS_SCHED_YIELD, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGPROCMASK, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTID,
	unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_LSEEK, unix.SYS_CLOSE, unix.SYS_FSTAT,
	unix.SYS_MUNMAP, unix.SYS_BRK, unix.SYS_MINCORE,
	unix.SYS_RT_SIGACTION, unix.SYS_SIGALTSTACK,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EVENTFD2, unix.SYS_PIPE2,
	unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY,
	unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETCPU, unix.SYS_GETRUSAGE, unix.SYS_UNAME,
	unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID,
	unix.SYS_GETRANDOM, unix.SYS_RESTART_SYSCALL, unix.SYS_SET_TID_ADDRESS, unix.SYS_SET_ROBUST_LIST,
	unix.SYS_MEMBARRIER, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}

// Engine is the filter around every child: the calls of plain, threads but no
// processes, memory that is never executable, signals to itself only, its own
// limits, and one execveat of the descriptor program. Everything else is EPERM:
// there is no socket, no file, no mount, no key, no ring, no other process.
func Engine(program int) Filter {
	notExec := func(arg int) [][]Cond { return [][]Cond{{{Arg: arg, Mask: unix.PROT_EXEC, Value: 0}}} }
	f := Filter{Default: denied}
	for _, nr := range plain {
		f.Rules = append(f.Rules, Rule{Nr: nr, Then: Allow})
	}
	f.Rules = append(f.Rules,
		Rule{Nr: unix.SYS_MMAP, Any: notExec(2), Then: Allow, Else: denied},
		Rule{Nr: unix.SYS_MPROTECT, Any: notExec(2), Then: Allow, Else: denied},
		Rule{Nr: unix.SYS_CLONE, Any: [][]Cond{{{Arg: 0, Mask: threadFlags | namespaceFlags, Value: threadFlags}}}, Then: Allow, Else: denied},
		// clone3 passes its flags in memory, where no filter can see them.
		Rule{Nr: unix.SYS_CLONE3, Then: Errno(uint16(unix.ENOSYS))},
		// The child is process 1 of its namespace.
		Rule{Nr: unix.SYS_TGKILL, Any: [][]Cond{{{Arg: 0, Mask: 0xffffffff, Value: 1}}}, Then: Allow, Else: denied},
		Rule{Nr: unix.SYS_PRLIMIT64, Any: [][]Cond{{{Arg: 0, Mask: 0xffffffff, Value: 0}}}, Then: Allow, Else: denied},
		Rule{Nr: unix.SYS_FCNTL, Any: oneOf(1, unix.F_DUPFD_CLOEXEC, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_SETFL), Then: Allow, Else: denied},
		Rule{Nr: unix.SYS_PRCTL, Any: oneOf(0, unix.PR_SET_VMA, unix.PR_SET_NAME, unix.PR_SET_DUMPABLE, unix.PR_GET_DUMPABLE,
			unix.PR_SET_NO_NEW_PRIVS, unix.PR_GET_NO_NEW_PRIVS, unix.PR_GET_SECCOMP), Then: Allow, Else: denied},
		Rule{Nr: unix.SYS_SECCOMP, Any: oneOf(0, unix.SECCOMP_SET_MODE_FILTER), Then: Allow, Else: denied},
		Rule{Nr: unix.SYS_EXECVEAT, Any: [][]Cond{{{Arg: 0, Mask: 0xffffffff, Value: uint64(program)}, {Arg: 4, Mask: 0xffffffff, Value: unix.AT_EMPTY_PATH}}}, Then: Allow, Else: denied},
	)
	f.Rules = append(f.Rules, archRules()...)
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
		any = append(any, []Cond{{Arg: arg, Mask: 0xffffffff, Value: v}})
	}
	return any
}
