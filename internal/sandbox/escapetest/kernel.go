//go:build linux

package escapetest

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

const inKernel = "the kernel's interfaces"

var kernel = []Attempt{
	{Name: "io_uring", Group: inKernel, What: "make a ring, which makes calls that no filter sees", FilterOnly: true, Try: func(*Scene) error {
		var params [120]byte
		fd, err := result(unix.SYS_IO_URING_SETUP, 1, ptr(&params[0]))
		return closing(int(fd), err)
	}},
	{Name: "userfaultfd", Group: inKernel, What: "stop the kernel at a page of its choice", FilterOnly: true, Try: func(*Scene) error {
		const userModeOnly = 1
		fd, err := result(unix.SYS_USERFAULTFD, userModeOnly)
		return closing(int(fd), err)
	}},
	{Name: "bpf", Group: inKernel, What: "put a map into the kernel", Root: true, FilterOnly: true, Try: func(*Scene) error {
		attr := struct{ kind, key, value, entries uint32 }{2, 4, 4, 1}
		fd, err := result(unix.SYS_BPF, unix.BPF_MAP_CREATE, ptr(&attr), unsafe.Sizeof(attr))
		return closing(int(fd), err)
	}},
	{Name: "performance events", Group: inKernel, What: "count events", FilterOnly: true, Try: func(*Scene) error {
		attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK, Bits: unix.PerfBitDisabled | unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv}
		attr.Size = uint32(unsafe.Sizeof(attr))
		return closing(unix.PerfEventOpen(&attr, 0, -1, -1, 0))
	}},
	{Name: "load module", Group: inKernel, What: "load a kernel module", Root: true, Try: func(*Scene) error {
		return call(unix.SYS_INIT_MODULE, ptr(cstr("")), 0, ptr(cstr("")))
	}},
	{Name: "load module by descriptor", Group: inKernel, What: "load a kernel module from a file", Root: true, Try: func(*Scene) error {
		return call(unix.SYS_FINIT_MODULE, 0, ptr(cstr("")), 0)
	}},
	{Name: "kexec", Group: inKernel, What: "replace the kernel", Root: true, Try: func(*Scene) error {
		return call(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0) // no segments: unloads
	}},
	{Name: "reboot", Group: inKernel, What: "change what the keyboard does to the host (reboot)", Root: true, Try: func(*Scene) error {
		return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF)
	}},
	{Name: "swap", Group: inKernel, What: "let memory be written to a file of its choice (swapon)", Root: true, Try: swap},
	{Name: "accounting", Group: inKernel, What: "turn process accounting off", Root: true, Try: func(*Scene) error { return call(unix.SYS_ACCT, 0) }},
	{Name: "rename host", Group: inKernel, What: "set the host's name", Root: true, Try: func(s *Scene) error { return unix.Sethostname([]byte(s.Host)) }},
	{Name: "clock", Group: inKernel, What: "adjust the clock", Root: true, Try: func(*Scene) error {
		var t unix.Timex
		if _, err := unix.Adjtimex(&t); err != nil { // modes 0 reads
			return err
		}
		t.Modes = unix.ADJ_FREQUENCY // as it is
		_, err := unix.Adjtimex(&t)
		return err
	}},
	{Name: "read kernel log", Group: inKernel, What: "read the kernel's log", FilterOnly: true, Root: true, Try: func(*Scene) error {
		const readAll = 3
		_, err := unix.Klogctl(readAll, make([]byte, 4096))
		return err
	}},
	{Name: "ports", Group: inKernel, What: "reach the hardware's ports", Root: true, Try: ioports},
	{Name: "shared memory", Group: inKernel, What: "make System V shared memory", FilterOnly: true, Try: func(*Scene) error {
		id, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4096, unix.IPC_CREAT|0o600)
		if err != nil {
			return err
		}
		_, err = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
		return err
	}},
	{Name: "semaphore", Group: inKernel, What: "make a System V semaphore", FilterOnly: true, Try: func(*Scene) error {
		id, err := result(unix.SYS_SEMGET, unix.IPC_PRIVATE, 1, unix.IPC_CREAT|0o600)
		if err != nil {
			return err
		}
		return call(unix.SYS_SEMCTL, id, 0, unix.IPC_RMID)
	}},
	{Name: "message queue", Group: inKernel, What: "make a POSIX message queue", FilterOnly: true, Try: func(*Scene) error {
		name := cstr(fmt.Sprintf("firekeep-%d", os.Getpid()))
		_, err := result(unix.SYS_MQ_OPEN, ptr(name), unix.O_CREAT|unix.O_RDWR, 0o600, 0)
		if err != nil {
			return err
		}
		return call(unix.SYS_MQ_UNLINK, ptr(name))
	}},
	{Name: "type at terminal", Group: inKernel, What: "type a command at an inherited terminal (TIOCSTI)", Root: true, Try: func(*Scene) error {
		letter := byte('x')
		return call(unix.SYS_IOCTL, terminalFD, unix.TIOCSTI, ptr(&letter))
	}},
	{Name: "ioctl", Group: inKernel, What: "control an inherited descriptor (ioctl)", FilterOnly: true, Try: func(*Scene) error {
		_, err := unix.IoctlGetWinsize(terminalFD, unix.TIOCGWINSZ)
		return err
	}},
	{Name: "splice", Group: inKernel, What: "put its pages into a pipe (vmsplice)", FilterOnly: true, Try: func(*Scene) error {
		var p [2]int
		if err := unix.Pipe2(p[:], 0); err != nil {
			return err
		}
		_, err := unix.Vmsplice(p[1], iovec([]byte(Treasure)), 0)
		return err
	}},
	{Name: "unknown", Group: inKernel, What: "make system call 999 (ENOSYS proves nothing outside)", FilterOnly: true, Try: func(*Scene) error { return call(999) }},
	{Name: "system facts", Group: inKernel, What: "read load and memory of the host", FilterOnly: true, Try: func(*Scene) error { return unix.Sysinfo(&unix.Sysinfo_t{}) }},
}

// swap turns a small file into swap space and back.
func swap(s *Scene) error {
	const page, pages = 4096, 16
	if err := call(unix.SYS_SWAPON, ptr(cstr("/nowhere")), 0); err != unix.ENOENT {
		return err
	}
	b := make([]byte, page*pages)
	binary.LittleEndian.PutUint32(b[1024:], 1)
	binary.LittleEndian.PutUint32(b[1028:], pages-1)
	copy(b[page-10:], "SWAPSPACE2")
	at := filepath.Join(s.Dir, fmt.Sprintf("swap-%d", os.Getpid()))
	if err := os.WriteFile(at, b, 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(at, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	f.Close()
	if err := call(unix.SYS_SWAPON, ptr(cstr(at)), 0); err != nil {
		return err
	}
	return call(unix.SYS_SWAPOFF, ptr(cstr(at)))
}
