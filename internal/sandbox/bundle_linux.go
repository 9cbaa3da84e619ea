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

// newBundleFolder makes a folder and locks it. A server that starts in between
// takes it for one that was left, so it is made again when it is gone.
func newBundleFolder() (*bundleFolder, error) {
	for {
		dir, err := os.MkdirTemp("", bundlePrefix)
		if err != nil {
			return nil, err
		}
		lock, err := os.Open(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			lock.Close()
			return nil, err
		}
		if _, err := os.Stat(dir); err == nil {
			return &bundleFolder{dir: dir, lock: lock}, nil
		}
		lock.Close()
	}
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
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() {
			continue
		}
		if s, ok := info.Sys().(*syscall.Stat_t); !ok || int(s.Uid) != os.Geteuid() {
			continue
		}
		lock, err := os.Open(dir)
		if err != nil {
			continue
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			lock.Close()
			continue
		}
		(&bundleFolder{dir: dir, lock: lock}).remove()
	}
}
