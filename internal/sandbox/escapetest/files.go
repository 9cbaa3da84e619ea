//go:build linux

package escapetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

const inFiles = "files"

var files = []Attempt{
	{Name: "passwd", Group: inFiles, What: "read /etc/passwd", Try: func(*Scene) error { return openFile("/etc/passwd", unix.O_RDONLY) }},
	{Name: "secret", Group: inFiles, What: "read a file of its user", Try: func(s *Scene) error { return readFD(unix.Open(s.Secret, unix.O_RDONLY, 0)) }},
	{Name: "openat2", Group: inFiles, What: "read it by openat2", Try: func(s *Scene) error {
		return readFD(unix.Openat2(unix.AT_FDCWD, s.Secret, &unix.OpenHow{Flags: unix.O_RDONLY}))
	}},
	{Name: "handle", Group: inFiles, What: "read it by file handle", Root: true, Try: byHandle},
	{Name: "stat", Group: inFiles, What: "learn whether a path exists", Try: func(s *Scene) error { return unix.Stat(s.Secret, &unix.Stat_t{}) }},
	{Name: "open path", Group: inFiles, What: "hold the root by O_PATH", Try: openHostRoot},
	{Name: "list root", Group: inFiles, What: "list /", Try: listRoot},
	{Name: "create", Group: inFiles, What: "create a file", Try: func(s *Scene) error {
		return openFile(filepath.Join(s.Dir, "created"), unix.O_CREAT|unix.O_WRONLY)
	}},
	{Name: "unnamed file", Group: inFiles, What: "create a file without a name", Try: func(s *Scene) error {
		return openFile(s.Dir, unix.O_TMPFILE|unix.O_RDWR)
	}},
	{Name: "mkdir", Group: inFiles, What: "create a directory", Try: func(s *Scene) error { return unix.Mkdir(s.Dir+fmt.Sprint("/d", os.Getpid()), 0o700) }},
	{Name: "link", Group: inFiles, What: "link a file to another name", Try: func(s *Scene) error { return unix.Link(s.Secret, s.Dir+fmt.Sprint("/l", os.Getpid())) }},
	{Name: "symlink", Group: inFiles, What: "plant a symbolic link", Try: func(s *Scene) error {
		return unix.Symlink("/etc/passwd", s.Dir+fmt.Sprint("/s", os.Getpid()))
	}},
	{Name: "chmod", Group: inFiles, What: "change the mode of a file", Try: func(s *Scene) error { return unix.Chmod(s.Secret, 0o644) }},
	{Name: "mknod", Group: inFiles, What: "make a device", Root: true, Try: func(s *Scene) error {
		return unix.Mknod(s.Dir+fmt.Sprint("/n", os.Getpid()), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	}},
	{Name: "chdir", Group: inFiles, What: "leave the root directory", Try: func(s *Scene) error { return unix.Chdir(s.Dir) }},
	{Name: "inotify", Group: inFiles, What: "watch a file", Try: func(s *Scene) error {
		fd, err := unix.InotifyInit1(0)
		if err != nil {
			return err
		}
		_, err = unix.InotifyAddWatch(fd, s.Secret, unix.IN_ACCESS)
		return err
	}},
	{Name: "fanotify", Group: inFiles, What: "watch a file system", Root: true, Try: func(*Scene) error {
		fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF, 0)
		if err != nil {
			return err
		}
		return unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_MOUNT, unix.FAN_OPEN, unix.AT_FDCWD, "/")
	}},
	{Name: "device", Group: inFiles, What: "open /dev/zero", Try: func(*Scene) error { return openFile("/dev/zero", unix.O_RDONLY) }},
	{Name: "kernel log", Group: inFiles, What: "open /dev/kmsg for writing", Root: true, Try: func(*Scene) error { return openFile("/dev/kmsg", unix.O_WRONLY) }},
	{Name: "sysfs", Group: inFiles, What: "read /sys", Try: func(*Scene) error { return openFile("/sys/devices/system/cpu/online", unix.O_RDONLY) }},
	{Name: "core pattern", Group: inFiles, What: "set where core dumps go", Root: true, Try: func(*Scene) error { return rewrite("/proc/sys/kernel/core_pattern") }},
	{Name: "release agent", Group: inFiles, What: "set a program that the kernel starts as root (cgroup release_agent)", Root: true, Try: func(*Scene) error {
		return rewrite("/sys/fs/cgroup/pids/release_agent")
	}},
	{Name: "leave cgroup", Group: inFiles, What: "move itself to the root cgroup", Root: true, Try: leaveGroup},
	{Name: "proc root", Group: inFiles, What: "read through /proc/self/root", Try: func(s *Scene) error {
		return readFD(unix.Open("/proc/self/root"+s.Secret, unix.O_RDONLY, 0))
	}},
	{Name: "parent root", Group: inFiles, What: "read through the root of the parent", Try: func(s *Scene) error {
		return readFD(unix.Open(fmt.Sprintf("/proc/%d/root%s", s.Parent, s.Secret), unix.O_RDONLY, 0))
	}},
	{Name: "parent environment", Group: inFiles, What: "read the parent's environment", Try: func(s *Scene) error {
		return openFile(fmt.Sprintf("/proc/%d/environ", s.Parent), unix.O_RDONLY)
	}},
	{Name: "victim memory", Group: inFiles, What: "read another process by /proc/PID/mem", Try: func(s *Scene) error {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/mem", s.Victim), unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		b := make([]byte, len(Treasure))
		n, err := unix.Pread(fd, b, int64(s.Address))
		return holds(b[:max(n, 0)], err)
	}},
	{Name: "reopen", Group: inFiles, What: "open an inherited descriptor again by /proc/self/fd", Try: func(*Scene) error {
		return openFile(fmt.Sprintf("/proc/self/fd/%d", fileFD), unix.O_RDWR)
	}},
	{Name: "own program", Group: inFiles, What: "read its own program by /proc/self/exe", Try: func(*Scene) error { return openFile("/proc/self/exe", unix.O_RDONLY) }},
}

func openFile(path string, flags int) error {
	fd, err := unix.Open(path, flags, 0o600)
	return closing(fd, err)
}

// rewrite writes a setting back as it is.
func rewrite(path string) error {
	fd, err := unix.Open(path, unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	b := make([]byte, 4096)
	n, err := unix.Read(fd, b)
	if err != nil {
		return err
	}
	if n == 0 {
		b, n = []byte("\n"), 1
	}
	_, err = unix.Pwrite(fd, b[:n], 0)
	return err
}

func leaveGroup(*Scene) error {
	err := error(unix.ENOENT)
	for _, path := range []string{"/sys/fs/cgroup/pids/cgroup.procs", "/sys/fs/cgroup/cgroup.procs"} {
		var fd int
		if fd, err = unix.Open(path, unix.O_WRONLY, 0); err == nil {
			defer unix.Close(fd)
			_, err = unix.Write(fd, []byte("0"))
			return err
		}
	}
	return err
}

// openHostRoot succeeds when the root holds anything: the sandbox's is empty.
func openHostRoot(*Scene) error {
	fd, err := unix.Open("/", unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Faccessat(fd, "etc", unix.F_OK, 0)
}

func listRoot(*Scene) error {
	fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	n, err := unix.Getdents(fd, make([]byte, 4096))
	if err == nil && n < 100 { // . and .. take 48 bytes
		return errors.New("empty")
	}
	return err
}

func byHandle(s *Scene) error {
	type handle struct {
		bytes uint32
		kind  int32
		data  [128]byte
	}
	h := handle{bytes: 128}
	var mount int32
	if err := call(unix.SYS_NAME_TO_HANDLE_AT, atCWD, ptr(cstr(s.Secret)), ptr(&h), ptr(&mount), 0); err != nil {
		return err
	}
	dir, err := unix.Open(filepath.Dir(s.Secret), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	fd, err := result(unix.SYS_OPEN_BY_HANDLE_AT, uintptr(dir), ptr(&h), unix.O_RDONLY)
	return readFD(int(fd), err)
}

// atCWD is AT_FDCWD as an argument.
const atCWD = ^uintptr(99)

// kept holds what the kernel was given the address of: it must neither move nor go.
var kept []any

func ptr[T any](v *T) uintptr {
	kept = append(kept, v)
	return uintptr(unsafe.Pointer(v))
}
