//go:build linux

package escapetest

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

const inPrograms = "programs and code"

var programs = []Attempt{
	{Name: "fork", Group: inPrograms, What: "make a process by clone", FilterOnly: true, Try: func(*Scene) error { return forked(0) }},
	{Name: "clone3", Group: inPrograms, What: "make a process by clone3", FilterOnly: true, Try: func(*Scene) error {
		type cloneArgs struct{ flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls uint64 }
		args := cloneArgs{exitSignal: uint64(unix.SIGCHLD)}
		r, _, errno := unix.RawSyscall(unix.SYS_CLONE3, ptr(&args), unsafe.Sizeof(args), 0)
		if errno == 0 && r == 0 {
			exitNow()
		}
		if errno != 0 {
			return errno
		}
		return reap(int(r))
	}},
	{Name: "exec", Group: inPrograms, What: "become /bin/echo", Try: func(*Scene) error {
		return unix.Exec("/bin/echo", []string{"echo", Passed}, nil)
	}},
	{Name: "exec from memory", Group: inPrograms, What: "become a program in a memory file", FilterOnly: true, Try: func(*Scene) error {
		fd, err := unix.MemfdCreate("program", 0)
		if err != nil {
			return err
		}
		echo, err := unix.Open("/bin/echo", unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		if _, err := unix.Sendfile(fd, echo, nil, 1<<24); err != nil {
			return err
		}
		return become(fd)
	}},
	{Name: "exec itself", Group: inPrograms, What: "start its own program once more", FilterOnly: true, Try: func(*Scene) error {
		fd, err := unix.Open("/proc/self/exe", unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		args := []*byte{cstr("probe"), cstr("say"), cstr(Passed), nil}
		return call(unix.SYS_EXECVEAT, uintptr(fd), ptr(cstr("")), ptr(&args[0]), 0, unix.AT_EMPTY_PATH)
	}},
	{Name: "library", Group: inPrograms, What: "load a program by uselib or map it executable", FilterOnly: true, Try: func(*Scene) error {
		fd, err := unix.Open("/bin/echo", unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		_, err = unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
		return err
	}},
	{Name: "executable memory", Group: inPrograms, What: "map memory that is writable and executable", FilterOnly: true, Try: func(*Scene) error {
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
		return err
	}},
	{Name: "make executable", Group: inPrograms, What: "make written memory executable", FilterOnly: true, Try: func(*Scene) error {
		b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		return unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
	}},
	{Name: "keyed memory", Group: inPrograms, What: "the same by pkey_mprotect", FilterOnly: true, Try: func(*Scene) error {
		b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		return call(unix.SYS_PKEY_MPROTECT, ptr(&b[0]), 4096, unix.PROT_READ|unix.PROT_EXEC, ^uintptr(0))
	}},
	{Name: "personality", Group: inPrograms, What: "make all its memory executable", FilterOnly: true, Try: func(*Scene) error {
		const readImpliesExec = 0x0400000
		return call(unix.SYS_PERSONALITY, readImpliesExec)
	}},
	{Name: "memory file", Group: inPrograms, What: "make a memory file", FilterOnly: true, Try: func(*Scene) error { return closing(unix.MemfdCreate("x", 0)) }},
	{Name: "secret memory", Group: inPrograms, What: "make memory that the kernel cannot read", FilterOnly: true, Try: func(*Scene) error { return closing(unix.MemfdSecret(0)) }},
	{Name: "session", Group: inPrograms, What: "leave its session", FilterOnly: true, Try: func(*Scene) error {
		_, err := unix.Setsid()
		return err
	}},
	{Name: "outlive parent", Group: inPrograms, What: "drop the death signal of its parent", FilterOnly: true, Try: func(*Scene) error {
		return unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0)
	}},
	{Name: "dumpable", Group: inPrograms, What: "make its memory dumpable and readable", FilterOnly: true, Try: func(*Scene) error {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
			return err
		}
		if on, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || on != 1 {
			return errors.New("without effect")
		}
		return nil
	}},
	{Name: "supervise", Group: inPrograms, What: "take over its own system calls (seccomp user notification)", FilterOnly: true, Try: func(*Scene) error {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
		// Allow everything: the listener is what is wanted.
		filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0x7fff0000}}
		prog := unix.SockFprog{Len: 1, Filter: &filter[0]}
		fd, err := result(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, ptr(&prog))
		return closing(int(fd), err)
	}},
}

// forked makes a process with the namespaces of flags; it ends at once.
func forked(flags uintptr) error {
	r, _, errno := unix.RawSyscall6(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && r == 0 {
		exitNow()
	}
	if errno != 0 {
		return errno
	}
	return reap(int(r))
}

// exitNow is all that a bare clone of a Go process may do.
func exitNow() {
	for {
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

func reap(pid int) error {
	_, err := unix.Wait4(pid, nil, 0, nil)
	return err
}

func become(fd int) error {
	args := []*byte{cstr("echo"), cstr(Passed), nil}
	return call(unix.SYS_EXECVEAT, uintptr(fd), ptr(cstr("")), ptr(&args[0]), 0, unix.AT_EMPTY_PATH)
}
