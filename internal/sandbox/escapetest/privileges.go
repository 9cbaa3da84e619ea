//go:build linux

package escapetest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

const inPrivileges = "privileges and namespaces"

var privileges = []Attempt{
	{Name: "setuid", Group: inPrivileges, What: "become another user", Root: true, Try: func(*Scene) error { return call(unix.SYS_SETUID, 1) }},
	{Name: "setgroups", Group: inPrivileges, What: "take other groups", Root: true, Try: func(*Scene) error {
		group := uint32(1)
		return call(unix.SYS_SETGROUPS, 1, ptr(&group))
	}},
	{Name: "capset", Group: inPrivileges, What: "take a capability", Root: true, Try: func(*Scene) error {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		data := [2]unix.CapUserData{{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}}
		return unix.Capset(&header, &data[0])
	}},
	{Name: "user namespace", Group: inPrivileges, What: "make a user namespace, where it would be root", Try: func(*Scene) error { return forked(unix.CLONE_NEWUSER) }},
	{Name: "mount namespace", Group: inPrivileges, What: "make a mount namespace", Try: func(*Scene) error { return forked(unix.CLONE_NEWUSER | unix.CLONE_NEWNS) }},
	{Name: "network namespace", Group: inPrivileges, What: "make a network namespace", Try: func(*Scene) error { return forked(unix.CLONE_NEWUSER | unix.CLONE_NEWNET) }},
	{Name: "pid namespace", Group: inPrivileges, What: "make a process namespace", Try: func(*Scene) error { return forked(unix.CLONE_NEWUSER | unix.CLONE_NEWPID) }},
	{Name: "unshare", Group: inPrivileges, What: "leave its mount namespace", Root: true, Try: func(*Scene) error {
		runtime.LockOSThread()
		return unix.Unshare(unix.CLONE_NEWNS)
	}},
	{Name: "setns", Group: inPrivileges, What: "enter the parent's namespaces by pidfd", Root: true, Try: func(s *Scene) error {
		runtime.LockOSThread()
		fd, err := unix.PidfdOpen(s.Parent, 0)
		if err != nil {
			return err
		}
		return unix.Setns(fd, unix.CLONE_NEWUTS)
	}},
	{Name: "setns by path", Group: inPrivileges, What: "enter the parent's network namespace", Root: true, Try: func(s *Scene) error {
		runtime.LockOSThread()
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", s.Parent), unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		return unix.Setns(fd, unix.CLONE_NEWNET)
	}},
	{Name: "chroot", Group: inPrivileges, What: "change its root", Root: true, Try: func(s *Scene) error { return unix.Chroot(s.Dir) }},
	{Name: "pivot root", Group: inPrivileges, What: "exchange the root", Root: true, Try: pivot},
	{Name: "mount", Group: inPrivileges, What: "mount a file system", Root: true, Try: func(s *Scene) error {
		at, err := freshDir(s)
		if err != nil {
			at = "/" // let the mount answer
		}
		if err := unix.Mount("none", at, "tmpfs", 0, "size=4096"); err != nil {
			return err
		}
		return unix.Unmount(at, unix.MNT_DETACH)
	}},
	{Name: "unmount", Group: inPrivileges, What: "unmount what hides the host", Root: true, Try: func(s *Scene) error {
		if err := unix.Unmount("/nowhere", unix.MNT_DETACH); err != unix.ENOENT {
			return err
		}
		at, err := freshDir(s)
		if err != nil {
			return err
		}
		if err := unix.Mount("none", at, "tmpfs", 0, "size=4096"); err != nil {
			return err
		}
		return unix.Unmount(at, unix.MNT_DETACH)
	}},
	{Name: "new mounts", Group: inPrivileges, What: "mount by fsopen, fsconfig, fsmount, move_mount", Root: true, Try: newMount},
	{Name: "open tree", Group: inPrivileges, What: "copy the mounts by open_tree", Root: true, Try: func(*Scene) error {
		return closing(unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE))
	}},
	{Name: "writable root", Group: inPrivileges, What: "make its root writable by mount_setattr", Root: true, Try: func(s *Scene) error {
		at, err := freshDir(s)
		if err != nil {
			at = "/"
		} else if err := unix.Mount(at, at, "", unix.MS_BIND, ""); err == nil {
			defer unix.Unmount(at, unix.MNT_DETACH)
		}
		return unix.MountSetattr(unix.AT_FDCWD, at, 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
	}},
	{Name: "key", Group: inPrivileges, What: "make and read a key", FilterOnly: true, Try: func(*Scene) error {
		// Its keyring is that of the thread: another one may not read the key.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		id, err := unix.AddKey("user", "firekeep-escape", []byte(Treasure), unix.KEY_SPEC_PROCESS_KEYRING)
		if err != nil {
			return err
		}
		_, err = unix.KeyctlBuffer(unix.KEYCTL_READ, id, make([]byte, 64), 0)
		return err
	}},
	{Name: "session keyring", Group: inPrivileges, What: "join a session keyring", FilterOnly: true, Try: func(*Scene) error {
		_, err := unix.KeyctlJoinSessionKeyring("firekeep-escape")
		return err
	}},
}

func freshDir(s *Scene) (string, error) {
	at := filepath.Join(s.Dir, fmt.Sprintf("mount-%d", os.Getpid()))
	return at, unix.Mkdir(at, 0o700)
}

// pivot asks first with a path that does not exist, so that the answer is that
// of pivot_root itself where it is forbidden, then does it in a namespace of
// its own.
func pivot(s *Scene) error {
	runtime.LockOSThread()
	if err := unix.PivotRoot("/nowhere", "/nowhere"); err != unix.ENOENT {
		return err
	}
	at, err := freshDir(s)
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount(at, at, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := unix.Chdir(at); err != nil {
		return err
	}
	return unix.PivotRoot(".", ".")
}

func newMount(s *Scene) error {
	fs, err := unix.Fsopen("tmpfs", 0)
	if err != nil {
		return err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return err
	}
	mount, err := unix.Fsmount(fs, 0, 0)
	if err != nil {
		return err
	}
	defer unix.Close(mount)
	at, err := freshDir(s)
	if err != nil {
		return err
	}
	if err := unix.MoveMount(mount, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	return unix.Unmount(at, unix.MNT_DETACH)
}
