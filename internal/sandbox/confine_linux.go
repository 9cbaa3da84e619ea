package sandbox

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dieWithParent asks for SIGKILL when the launcher's thread ends. The process
// that becomes the program keeps the request: it gains no privilege on the way.
func (p *preparing) dieWithParent() (string, error) {
	return "SIGKILL", unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
}

// mountPoints are directories that an empty file system can be put over, in
// this namespace only, on any host.
var mountPoints = []string{"/tmp", "/run", "/mnt", "/dev", "/var", "/etc"}

// emptyRoot makes the root an empty, read-only file system and lets go of the
// host's. There is no /proc, no /dev, nothing.
func (p *preparing) emptyRoot() (string, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("private mounts: %w", err)
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	at, err := "", error(unix.ENOENT)
	for _, at = range mountPoints {
		if err = unix.Mount("none", at, "tmpfs", flags, "size=4096,nr_inodes=1,mode=0555"); err == nil {
			break
		}
	}
	if err != nil {
		return "", fmt.Errorf("mount: %w", err)
	}
	if err := unix.Chdir(at); err != nil {
		return "", fmt.Errorf("enter: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return "", fmt.Errorf("pivot: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return "", fmt.Errorf("detach: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return "", fmt.Errorf("enter: %w", err)
	}
	if err := unix.Mount("none", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|flags, ""); err != nil {
		return "", fmt.Errorf("read-only: %w", err)
	}
	return "read-only, no /proc", nil
}

// forbidNested leaves the child no namespace to make: one of users would hand
// it every capability over the others.
func (p *preparing) forbidNested() (string, error) {
	for _, kind := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"} {
		err := os.WriteFile("/proc/sys/user/max_"+kind+"_namespaces", []byte("0"), 0)
		if err != nil && !(kind == "time" && errors.Is(err, os.ErrNotExist)) { // kernels before 5.6
			return "", fmt.Errorf("%s: %w", kind, errText(err))
		}
	}
	return "none may be made", nil
}

// newKeyring leaves the session's keys behind.
func (p *preparing) newKeyring() (string, error) {
	_, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	return "empty", err
}

// notDumpable covers the time until the program starts. The start resets the
// attribute; after it the kernel keeps the memory closed because the program's
// file cannot be read (LoadProgram).
func (p *preparing) notDumpable() (string, error) {
	return "the program cannot be read", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

func (p *preparing) hideHostName() (string, error) {
	if err := unix.Setdomainname(nil); err != nil {
		return "", err
	}
	return "engine", unix.Sethostname([]byte("engine"))
}

// limit sets the resource limits. Without a memory cgroup the writable private
// memory is bounded: Go reserves address space that it never touches, so the
// address space itself says nothing.
func (p *preparing) limit() (string, error) {
	l := p.order.Limits
	set := []struct {
		resource int
		value    uint64
	}{
		// One byte: too small for a file, and the only value at which the kernel
		// does not start a pipe's program either.
		{unix.RLIMIT_CORE, 1},
		{unix.RLIMIT_NOFILE, uint64(max(l.OpenFiles, p.program+1))},
		{unix.RLIMIT_FSIZE, uint64(l.FileBytes)},
		{unix.RLIMIT_NPROC, uint64(l.Threads)},
		{unix.RLIMIT_MEMLOCK, 0},
		{unix.RLIMIT_MSGQUEUE, 0},
		{unix.RLIMIT_RTPRIO, 0},
		{unix.RLIMIT_NICE, 0},
	}
	detail := "core, files, sizes, threads"
	if p.order.Confine && l.MemoryBytes > 0 {
		set = append(set, struct {
			resource int
			value    uint64
		}{unix.RLIMIT_DATA, uint64(l.MemoryBytes)})
		detail += ", memory"
	}
	for _, s := range set {
		if err := setLimit(s.resource, s.value); err != nil {
			return "", fmt.Errorf("resource %d: %w", s.resource, err)
		}
	}
	return detail, nil
}

// setLimit lowers a limit to value; one that is lower already stays.
func setLimit(resource int, value uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(resource, &now); err != nil {
		return err
	}
	value = min(value, now.Max)
	return unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value})
}

// closeDescriptors marks everything but the program's own descriptors to be
// closed by its start. Orders, status and program are marked already.
func (p *preparing) closeDescriptors() (string, error) {
	first := uint(3 + p.order.Files)
	return fmt.Sprintf("%d passed", first), unix.CloseRange(first, ^uint(0)>>32, unix.CLOSE_RANGE_CLOEXEC)
}

func (p *preparing) noNewPrivileges() (string, error) {
	return "", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// secureBits keep user 0 from getting capabilities back by any start, for good:
// NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, each with its lock.
const secureBits = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<6 | 1<<7

// dropCapabilities empties every capability set.
func (p *preparing) dropCapabilities() (string, error) {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return "", fmt.Errorf("ambient: %w", err)
	}
	dropped := 0
	for c := uintptr(0); ; c++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			break // beyond the last one that this kernel has
		}
		if err != nil {
			return "", fmt.Errorf("bounding set: %w", err)
		}
		dropped++
	}
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, secureBits, 0, 0, 0); err != nil {
		return "", fmt.Errorf("secure bits: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return "", fmt.Errorf("capset: %w", err)
	}
	return fmt.Sprintf("%d dropped", dropped), nil
}

// landlockAttr is struct landlock_ruleset_attr as of ABI 6.
type landlockAttr struct{ fs, net, scoped uint64 }

// landlockRights are the rights known at an ABI. All are handled and none is
// granted.
func landlockRights(abi int) (a landlockAttr, size uintptr) {
	a, size = landlockAttr{fs: 1<<13 - 1}, 8
	if abi >= 2 {
		a.fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		a.fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 4 {
		a.net, size = unix.LANDLOCK_ACCESS_NET_BIND_TCP|unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, 16
	}
	if abi >= 5 {
		a.fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if abi >= 6 {
		a.scoped, size = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET|unix.LANDLOCK_SCOPE_SIGNAL, 24
	}
	return a, size
}

// landlock forbids every path, every TCP port, and signals and abstract sockets
// that leave the child, as far as the kernel knows these.
func (p *preparing) landlock() (string, error) {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return "", fmt.Errorf("not in this kernel: %w", errno)
	}
	attr, size := landlockRights(int(abi))
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return "", fmt.Errorf("rules: %w", errno)
	}
	defer unix.Close(int(fd))
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return "", fmt.Errorf("restrict: %w", errno)
	}
	return fmt.Sprintf("ABI %d, nothing allowed", abi), nil
}
