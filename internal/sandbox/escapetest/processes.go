//go:build linux

package escapetest

import (
	"errors"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

const inProcesses = "other processes"

var processes = []Attempt{
	{Name: "ptrace", Group: inProcesses, What: "trace another process", Try: func(s *Scene) error {
		runtime.LockOSThread()
		if err := unix.PtraceSeize(s.Victim); err != nil {
			return err
		}
		return nil // the tracer's end lets the victim go
	}},
	{Name: "traced by parent", Group: inProcesses, What: "become a tracee of the parent", FilterOnly: true, Try: func(*Scene) error {
		runtime.LockOSThread()
		return call(unix.SYS_PTRACE, unix.PTRACE_TRACEME)
	}},
	{Name: "read memory", Group: inProcesses, What: "read another process by process_vm_readv", Try: func(s *Scene) error {
		b := make([]byte, len(Treasure))
		n, err := unix.ProcessVMReadv(s.Victim, iovec(b), remote(s), 0)
		return holds(b[:max(n, 0)], err)
	}},
	{Name: "write memory", Group: inProcesses, What: "write to another process by process_vm_writev", Try: func(s *Scene) error {
		_, err := unix.ProcessVMWritev(s.Victim, iovec([]byte(Treasure)), remote(s), 0)
		return err
	}},
	{Name: "open process", Group: inProcesses, What: "hold another process by pidfd_open", Try: func(s *Scene) error {
		return closing(unix.PidfdOpen(s.Victim, 0))
	}},
	{Name: "take descriptor", Group: inProcesses, What: "copy a descriptor of another process by pidfd_getfd", Try: func(s *Scene) error {
		fd, err := unix.PidfdOpen(s.Victim, 0)
		if err != nil {
			return err
		}
		return closing(unix.PidfdGetfd(fd, 0, 0))
	}},
	{Name: "signal by descriptor", Group: inProcesses, What: "signal another process by pidfd_send_signal", Try: func(s *Scene) error {
		fd, err := unix.PidfdOpen(s.Victim, 0)
		if err != nil {
			return err
		}
		return unix.PidfdSendSignal(fd, 0, nil, 0)
	}},
	{Name: "signal parent", Group: inProcesses, What: "signal the parent by kill", Try: func(s *Scene) error { return unix.Kill(s.Parent, 0) }},
	{Name: "signal thread", Group: inProcesses, What: "signal another process by tgkill", Try: func(s *Scene) error { return unix.Tgkill(s.Victim, s.Victim, 0) }},
	{Name: "signal all", Group: inProcesses, What: "signal every process it may", Try: func(*Scene) error { return unix.Kill(-1, 0) }},
	{Name: "queued signal", Group: inProcesses, What: "signal another process by rt_sigqueueinfo", Try: func(s *Scene) error {
		info := [128]byte{8: 0xff, 9: 0xff, 10: 0xff, 11: 0xff} // si_code -1: SI_QUEUE
		return call(unix.SYS_RT_SIGQUEUEINFO, uintptr(s.Victim), uintptr(unix.SIGWINCH), ptr(&info[0]))
	}},
	{Name: "signal by pipe", Group: inProcesses, What: "let a descriptor signal the parent (F_SETOWN)", Try: func(s *Scene) error {
		_, err := unix.FcntlInt(socketFD, unix.F_SETOWN, s.Parent)
		return err
	}},
	{Name: "compare", Group: inProcesses, What: "compare itself with another process by kcmp", Try: func(s *Scene) error {
		return call(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(s.Victim), 0, 0, 0)
	}},
	{Name: "priority", Group: inProcesses, What: "slow another process down", Try: func(s *Scene) error {
		return unix.Setpriority(unix.PRIO_PROCESS, s.Victim, 19) // allowed whatever it has
	}},
	{Name: "pin", Group: inProcesses, What: "pin another process to cores", Try: func(s *Scene) error {
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(s.Victim, &set); err != nil {
			return err
		}
		return unix.SchedSetaffinity(s.Victim, &set)
	}},
	{Name: "limits", Group: inProcesses, What: "read the limits of another process", Try: func(s *Scene) error {
		var l unix.Rlimit
		return unix.Prlimit(s.Victim, unix.RLIMIT_NOFILE, nil, &l)
	}},
	{Name: "robust list", Group: inProcesses, What: "learn an address of another process", Try: func(s *Scene) error {
		var head, size uintptr
		return call(unix.SYS_GET_ROBUST_LIST, uintptr(s.Victim), ptr(&head), ptr(&size))
	}},
	{Name: "parent id", Group: inProcesses, What: "learn the parent's process id", Try: func(s *Scene) error {
		if os.Getppid() != s.Parent {
			return errors.New("another id")
		}
		return nil
	}},
	{Name: "host name", Group: inProcesses, What: "learn the host's name", Try: func(s *Scene) error {
		var u unix.Utsname
		if err := unix.Uname(&u); err != nil {
			return err
		}
		if unix.ByteSliceToString(u.Nodename[:]) != s.Host {
			return errors.New("another name")
		}
		return nil
	}},
	{Name: "environment", Group: inProcesses, What: "find a secret in its environment", Try: func(*Scene) error {
		if !strings.Contains(strings.Join(os.Environ(), "\n"), Treasure) {
			return errors.New("nothing there")
		}
		return nil
	}},
	{Name: "open descriptor", Group: inProcesses, What: "use a descriptor that the parent forgot to close", Try: func(s *Scene) error {
		b := make([]byte, len(Treasure))
		n, err := unix.Pread(s.Open, b, 0)
		return holds(b[:max(n, 0)], err)
	}},
}

func iovec(b []byte) []unix.Iovec {
	v := []unix.Iovec{{Base: &b[0]}}
	v[0].SetLen(len(b))
	return v
}

func remote(s *Scene) []unix.RemoteIovec {
	return []unix.RemoteIovec{{Base: s.Address, Len: len(Treasure)}}
}
