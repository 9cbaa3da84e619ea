//go:build linux

package escapetest

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

const inResources = "exhaustion"

// Limits that the tests set inside; outside, what the attempts use fits any host.
const (
	LimitMemory  = 128 << 20
	LimitThreads = 64
	LimitFiles   = 64
	LimitFile    = 1 << 20
)

var resources = []Attempt{
	{Name: "fork bomb", Group: inResources, What: "have 200 processes at once", Try: forkBomb},
	{Name: "thread bomb", Group: inResources, What: "have 200 threads at once", Try: threadBomb},
	{Name: "memory bomb", Group: inResources, What: "use 320 MiB of memory", Try: func(*Scene) error { return useMemory(320<<20, unix.MAP_ANON|unix.MAP_PRIVATE) }},
	{Name: "shared memory bomb", Group: inResources, What: "use 320 MiB of shared memory", Try: func(*Scene) error { return useMemory(320<<20, unix.MAP_ANON|unix.MAP_SHARED) }},
	{Name: "stack memory bomb", Group: inResources, What: "use 320 MiB that counts as stack", Try: func(*Scene) error {
		return useMemory(320<<20, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_GROWSDOWN)
	}},
	{Name: "descriptor bomb", Group: inResources, What: "have 500 descriptors open", Try: func(*Scene) error {
		for range 500 {
			if _, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 0); err != nil {
				return err
			}
		}
		return nil
	}},
	{Name: "pipe bomb", Group: inResources, What: "let a pipe hold 1 MiB of the kernel's memory", FilterOnly: true, Try: func(*Scene) error {
		var p [2]int
		if err := unix.Pipe2(p[:], 0); err != nil {
			return err
		}
		_, err := unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, 1<<20)
		return err
	}},
	{Name: "file bomb", Group: inResources, What: "write 4 MiB to a file it was given", Try: func(*Scene) error {
		for range 4 {
			b := make([]byte, 1<<20)
			for len(b) > 0 {
				n, err := unix.Write(fileFD, b)
				if err != nil {
					return err
				}
				b = b[n:]
			}
		}
		return nil
	}},
	{Name: "grow file", Group: inResources, What: "make a file it was given huge (ftruncate, fallocate)", Try: func(*Scene) error { return unix.Ftruncate(fileFD, 1<<30) }},
	{Name: "raise limits", Group: inResources, What: "raise its own limits", Try: func(*Scene) error {
		var l unix.Rlimit
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &l); err != nil {
			return err
		}
		if l.Max < 1000 {
			l.Max = 1000
		}
		l.Cur = l.Max
		return unix.Prlimit(0, unix.RLIMIT_NOFILE, &l, nil)
	}},
	{Name: "core dump", Group: inResources, What: "allow a core dump of itself", Try: func(*Scene) error {
		var l unix.Rlimit
		if err := unix.Prlimit(0, unix.RLIMIT_CORE, nil, &l); err != nil {
			return err
		}
		if l.Max < 1<<20 {
			return unix.EPERM
		}
		return unix.Prlimit(0, unix.RLIMIT_CORE, &unix.Rlimit{Cur: l.Max, Max: l.Max}, nil)
	}},
	{Name: "lock memory", Group: inResources, What: "lock memory that others need", Try: func(*Scene) error {
		b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		return unix.Mlock(b)
	}},
	{Name: "real time", Group: inResources, What: "take the cores from everybody (real-time scheduling)", Root: true, Try: func(*Scene) error {
		priority := int32(1)
		return call(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO, ptr(&priority))
	}},
	{Name: "go first", Group: inResources, What: "raise its own priority", Root: true, Try: func(*Scene) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -5) }},
	{Name: "timers", Group: inResources, What: "arm a timer that signals", FilterOnly: true, Try: func(*Scene) error {
		var id int32
		return call(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, 0, ptr(&id))
	}},
}

func forkBomb(*Scene) error {
	var err error
	started := 0
	for ; started < 200; started++ {
		r, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno == 0 && r == 0 {
			exitNow() // until it is waited for it counts
		}
		if errno != 0 {
			err = errno
			break
		}
	}
	for range started {
		_, _ = unix.Wait4(-1, nil, 0, nil)
	}
	return err
}

// threadBomb ends in the runtime's own panic where threads are limited.
func threadBomb(*Scene) error {
	var started, hold sync.WaitGroup
	hold.Add(1)
	for range 200 {
		started.Add(1)
		go func() { runtime.LockOSThread(); started.Done(); hold.Wait() }()
		started.Wait()
	}
	return nil
}

func useMemory(bytes, flags int) error {
	b, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	if b[0] != 1 {
		return errors.New(fmt.Sprint("lost ", b[0]))
	}
	return nil
}
