package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bundlePrefix begins the names of the folders that runsc starts from, in the
// host's folder for temporary files.
const bundlePrefix = "firekeep-gvisor-"

// bundleFolder is one child's folder. Its maker holds a lock on it, which the
// kernel takes away when the maker ends however it ends: a folder without a
// lock is nobody's, also where several servers share the host's folder and do
// not see each other's processes.
type bundleFolder struct {
	dir  string
	lock *os.File
}

// errForeign says that a folder of our name is not the one we made.
var errForeign = errors.New("sandbox: the folder is another user's, or no longer there")

// newBundleFolder makes a folder and locks it. A server that starts in between
// takes it for one that was left, so another is made when it is gone.
func newBundleFolder() (folder *bundleFolder, err error) {
	for range 100 {
		var dir string
		if dir, err = os.MkdirTemp("", bundlePrefix); err != nil {
			return nil, err
		}
		if folder, err = holdBundle(dir, unix.LOCK_EX); !errors.Is(err, errForeign) {
			return folder, err
		}
	}
	return nil, err
}

// holdBundle locks the folder dir, as how says (LOCK_EX, with LOCK_NB or without).
// Anybody may write where it lies, the host's folder for temporary files: once it
// is swept, another user can put a folder or a link of that name there, and lock
// it. So nobody's but this user's is waited for, and afterwards the name must still
// stand for what was locked; nobody but this user takes it away then.
func holdBundle(dir string, how int) (*bundleFolder, error) {
	lock, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return nil, errForeign
	case err != nil:
		return nil, err
	}
	held, err := lock.Stat()
	if err == nil && !ours(held) {
		err = errForeign
	}
	if err == nil {
		err = unix.Flock(int(lock.Fd()), how)
	}
	if err == nil {
		if named, gone := os.Lstat(dir); gone != nil || !os.SameFile(held, named) {
			err = errForeign
		}
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &bundleFolder{dir: dir, lock: lock}, nil
}

// ours says whether a folder is this user's.
func ours(info os.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.IsDir() && int(s.Uid) == os.Geteuid()
}

// remove deletes the folder after its child. Run by root, runsc pins the empty
// network namespace of its file server by a mount at state/null-netns, in this
// process's mount namespace, and does not take it away; a folder that holds a
// mount cannot be deleted. What a killed runsc had started may still write
// into its state for a moment.
func (f *bundleFolder) remove() {
	defer f.lock.Close()
	for range 100 {
		for unix.Unmount(filepath.Join(f.dir, "state", "null-netns"), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
		}
		if os.RemoveAll(f.dir) == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// sweepBundles removes what servers left that were killed: folders of this user
// with our name that nobody holds.
func sweepBundles() {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), bundlePrefix+"*"))
	for _, dir := range left {
		if folder, err := holdBundle(dir, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			folder.remove()
		}
	}
}
