package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"github.com/firekeep/firekeep/internal/sandbox/escapetest"
	"github.com/firekeep/firekeep/internal/sandbox/narrow"
	"golang.org/x/sys/unix"
)

// acts map a name to what the child tries. An act answers "ok ..." when it got
// through and the error otherwise.
var acts = map[string]func([]string) string{
	"hello":  func([]string) string { return "ok hello" },
	"env":    func([]string) string { return "ok " + strings.Join(os.Environ(), " ") },
	"open":   func(a []string) string { return got(os.ReadFile(a[0])) },
	"create": func(a []string) string { return err(os.WriteFile(a[0], []byte("x"), 0o600)) },
	"list":   func(a []string) string { return list(a[0]) },
	"fds":    func([]string) string { return fds() },
	"echo":   func([]string) string { return echo() },
	"socket": socket,
	"dial":   func(a []string) string { c, e := net.Dial("tcp", a[0]); _ = c; return err(e) },
	"exec":   func([]string) string { return err(exec.Command("/bin/true").Run()) },
	"execself": func([]string) string {
		return errno(unix.Syscall6(unix.SYS_EXECVEAT, 5, uintptr(unsafe.Pointer(cstr(""))), 0, 0, unix.AT_EMPTY_PATH, 0))
	},
	"cloneuser": func([]string) string {
		s, _ := escapetest.Find("user namespace")
		return err(s.Try(nil))
	},
	"escape":   func(a []string) string { os.Exit(escapetest.Main(a)); return "" },
	"victim":   func([]string) string { os.Exit(escapetest.Victim()); return "" },
	"say":      func(a []string) string { return a[0] },
	"dumpable": func([]string) string { v, e := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); return number(v, e) },
	"limits":   func([]string) string { return limits() },
	"newns":    func([]string) string { return err(unix.Unshare(unix.CLONE_NEWNS)) },
	"mount":    func([]string) string { return err(unix.Mount("none", "/", "tmpfs", 0, "")) },
	"remount":  func([]string) string { return err(unix.Mount("", "/", "", unix.MS_REMOUNT, "")) },
	"chroot":   func([]string) string { return err(unix.Chroot("/")) },
	"killhost": func([]string) string { return err(unix.Kill(-1, unix.SIGTERM)) },
	"clone3":   raw(unix.SYS_CLONE3),
	"setuid":   func([]string) string { return errno(unix.RawSyscall(unix.SYS_SETUID, 1, 0, 0)) },
	"caps":     func([]string) string { return caps() },
	"threads":  func([]string) string { return threads() },
	"memory":   func([]string) string { return memory() },
	"pid":      func([]string) string { return fmt.Sprint("ok ", os.Getpid()) },
	"host":     func([]string) string { h, _ := os.Hostname(); return "ok " + h },

	"wait":      func([]string) string { fmt.Println("ok ready"); _, _ = io.Copy(io.Discard, os.Stdin); return "ok" },
	"spin":      func([]string) string { fmt.Println("ok ready"); return spin() },
	"writefile": func([]string) string { return bigFile() },
}

func got(b []byte, e error) string {
	if e != nil {
		return e.Error()
	}
	return fmt.Sprintf("ok %d bytes", len(b))
}

func err(e error) string {
	if e != nil {
		return e.Error()
	}
	return "ok"
}

func errno(r, _ uintptr, e syscall.Errno) string {
	if e != 0 {
		return e.Error()
	}
	return fmt.Sprint("ok ", r)
}

func number(v int, e error) string {
	if e != nil {
		return e.Error()
	}
	return fmt.Sprint("ok ", v)
}

func limits() string {
	limit := func(resource int) uint64 {
		var l unix.Rlimit
		_ = unix.Prlimit(0, resource, nil, &l)
		return l.Max
	}
	return fmt.Sprintf("ok core %d files %d locked %d queues %d", limit(unix.RLIMIT_CORE), limit(unix.RLIMIT_NOFILE), limit(unix.RLIMIT_MEMLOCK), limit(unix.RLIMIT_MSGQUEUE))
}

func raw(nr uintptr) func([]string) string {
	return func([]string) string { return errno(unix.Syscall6(nr, 0, 0, 0, 0, 0, 0)) }
}

func cstr(s string) *byte { b, _ := unix.BytePtrFromString(s); return b }

func list(dir string) string {
	d, e := os.ReadDir(dir)
	if e != nil {
		return e.Error()
	}
	return fmt.Sprintf("ok %d entries", len(d))
}

// fds counts open descriptors without /proc.
func fds() string {
	var open []string
	for fd := range 1024 {
		flags, e := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if e == nil && flags&unix.FD_CLOEXEC == 0 {
			open = append(open, fmt.Sprint(fd))
		}
	}
	return "ok " + strings.Join(open, " ")
}

// echo copies descriptor 3 to descriptor 4.
func echo() string {
	n, e := io.Copy(os.NewFile(4, "out"), os.NewFile(3, "in"))
	if e != nil {
		return e.Error()
	}
	return fmt.Sprintf("ok %d", n)
}

var families = map[string][3]int{
	"inet": {unix.AF_INET, unix.SOCK_STREAM, 0}, "inet6": {unix.AF_INET6, unix.SOCK_STREAM, 0},
	"udp": {unix.AF_INET, unix.SOCK_DGRAM, 0}, "unix": {unix.AF_UNIX, unix.SOCK_STREAM, 0},
	"mptcp": {unix.AF_INET, unix.SOCK_STREAM, 262}, "raw": {unix.AF_INET, unix.SOCK_RAW, 1},
	"packet": {unix.AF_PACKET, unix.SOCK_RAW, 0}, "netlink": {unix.AF_NETLINK, unix.SOCK_RAW, 0},
	"vsock": {unix.AF_VSOCK, unix.SOCK_STREAM, 0}, "alg": {unix.AF_ALG, unix.SOCK_SEQPACKET, 0},
	"xdp": {unix.AF_XDP, unix.SOCK_RAW, 0}, "bluetooth": {unix.AF_BLUETOOTH, unix.SOCK_RAW, 0},
}

func socket(a []string) string {
	if a[0] == "pair" {
		_, e := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		return err(e)
	}
	f := families[a[0]]
	_, e := unix.Socket(f[0], f[1], f[2])
	return err(e)
}

func caps() string {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if e := unix.Capget(&h, &d[0]); e != nil {
		return e.Error()
	}
	bounding := 0
	for c := uintptr(0); c < 64; c++ {
		if on, e := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); e == nil && on == 1 {
			bounding++
		}
	}
	return fmt.Sprintf("ok %x %x %x %d", d[0].Effective|d[1].Effective, d[0].Permitted|d[1].Permitted, d[0].Inheritable|d[1].Inheritable, bounding)
}

// threads starts OS threads until that fails; the runtime then gives up.
func threads() string {
	var started, hold sync.WaitGroup
	hold.Add(1)
	for range 2000 {
		started.Add(1)
		go func() { runtime.LockOSThread(); started.Done(); hold.Wait() }()
		started.Wait()
	}
	return "ok 2000 threads"
}

func memory() string {
	var keep [][]byte
	for range 64 {
		b := make([]byte, 64<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		keep = append(keep, b)
	}
	return fmt.Sprintf("ok %d blocks", len(keep))
}

// narrowed narrows itself and tries act, on another thread too.
func narrowed(a []string) string {
	if e := narrow.Self(); e != nil {
		return "narrow: " + e.Error()
	}
	there := make(chan string)
	go func() { runtime.LockOSThread(); there <- acts[a[0]](a[1:]) }()
	here := acts[a[0]](a[1:])
	if other := <-there; other != here {
		return here + " | " + other
	}
	return here
}

func bigFile() string {
	f := os.NewFile(3, "file")
	for n := 0; ; n++ {
		if _, e := f.Write(make([]byte, 1<<20)); e != nil {
			return fmt.Sprintf("%d MiB: %v", n, errors.Unwrap(e))
		}
		if n > 100 {
			return "ok"
		}
	}
}

// spin computes without an end. It must not wait instead: where every goroutine
// waits, Go ends the program, and it would seem to have been killed.
func spin() string {
	for {
		runtime.Gosched()
	}
}
