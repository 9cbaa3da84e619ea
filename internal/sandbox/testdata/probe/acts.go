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
		return errno(unix.Syscall6(unix.SYS_EXECVEAT, 0, uintptr(unsafe.Pointer(cstr(""))), 0, 0, unix.AT_EMPTY_PATH, 0))
	},
	"fork":      func([]string) string { return errno(unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)) },
	"newuser":   func([]string) string { return err(unix.Unshare(unix.CLONE_NEWUSER)) },
	"newns":     func([]string) string { return err(unix.Unshare(unix.CLONE_NEWNS)) },
	"setns":     func([]string) string { return err(unix.Setns(0, 0)) },
	"mount":     func([]string) string { return err(unix.Mount("none", "/", "tmpfs", 0, "")) },
	"remount":   func([]string) string { return err(unix.Mount("", "/", "", unix.MS_REMOUNT, "")) },
	"chroot":    func([]string) string { return err(unix.Chroot("/")) },
	"ptrace":    func([]string) string { return err(unix.PtraceAttach(1)) },
	"killhost":  func([]string) string { return err(unix.Kill(-1, unix.SIGTERM)) },
	"kill2":     func([]string) string { return err(unix.Tgkill(2, 2, 0)) },
	"bpf":       raw(unix.SYS_BPF),
	"keyctl":    raw(unix.SYS_KEYCTL),
	"iouring":   raw(unix.SYS_IO_URING_SETUP),
	"userfault": raw(unix.SYS_USERFAULTFD),
	"perf":      raw(unix.SYS_PERF_EVENT_OPEN),
	"procread":  raw(unix.SYS_PROCESS_VM_READV),
	"pidfd":     raw(unix.SYS_PIDFD_OPEN),
	"memfd":     func([]string) string { fd, e := unix.MemfdCreate("x", 0); return got(fmt.Append(nil, fd), e) },
	"handle":    raw(unix.SYS_OPEN_BY_HANDLE_AT),
	"clone3":    raw(unix.SYS_CLONE3),
	"unknown":   raw(999),
	"setuid":    func([]string) string { return errno(unix.RawSyscall(unix.SYS_SETUID, 1, 0, 0)) },
	"raiselimit": func([]string) string {
		return err(unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1}))
	},
	"ioctl":   func([]string) string { _, e := unix.IoctlGetInt(0, unix.TIOCGPGRP); return err(e) },
	"execmem": func([]string) string { return execmem() },
	"wx": func([]string) string {
		b, e := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if e != nil {
			return e.Error()
		}
		return err(unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC))
	},
	"caps":    func([]string) string { return caps() },
	"threads": func([]string) string { return threads() },
	"x32":     func([]string) string { return errno(unix.RawSyscall(0x40000000+unix.SYS_GETPID, 0, 0, 0)) },
	"i386":    func([]string) string { return i386() },
	"memory":  func([]string) string { return memory() },
	"pid":     func([]string) string { return fmt.Sprint("ok ", os.Getpid(), " ", os.Getppid()) },
	"host":    func([]string) string { h, _ := os.Hostname(); return "ok " + h },
	"uname":   func([]string) string { return uname() },

	"wait":      func([]string) string { fmt.Println("ok ready"); _, _ = io.Copy(io.Discard, os.Stdin); return "ok" },
	"spin":      func([]string) string { fmt.Println("ok ready"); select {} },
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

func execmem() string {
	_, e := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
	return err(e)
}

func caps() string {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if e := unix.Capget(&h, &d[0]); e != nil {
		return e.Error()
	}
	return fmt.Sprintf("ok %x %x %x", d[0].Effective|d[1].Effective, d[0].Permitted|d[1].Permitted, d[0].Inheritable|d[1].Inheritable)
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

func uname() string {
	var u unix.Utsname
	if e := unix.Uname(&u); e != nil {
		return e.Error()
	}
	return "ok " + unix.ByteSliceToString(u.Nodename[:])
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
