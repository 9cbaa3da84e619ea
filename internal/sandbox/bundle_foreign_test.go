//go:build linux

package sandbox_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/sandbox"
	"golang.org/x/sys/unix"
)

// refuses fails when dir can be held as a folder that children start from.
func refuses(t *testing.T, what, dir string) {
	t.Helper()
	if free, err := sandbox.HoldBundle(dir); err == nil {
		free()
		t.Errorf("%s is taken for a folder of ours", what)
	}
}

// TestBundleIsOurs: where anybody may write, what has the name of our folder may be
// another's by the time it is opened.
func TestBundleIsOurs(t *testing.T) {
	dir := t.TempDir()
	free, err := sandbox.HoldBundle(dir)
	if err != nil {
		t.Fatal(err)
	}
	free()
	link, file := filepath.Join(dir, "link"), filepath.Join(dir, "file")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, "a link", link)
	refuses(t, "a pipe", file)
	refuses(t, "nothing", filepath.Join(dir, "nothing"))
	foreign := "/" // root's
	if os.Geteuid() == 0 {
		foreign = filepath.Join(dir, "foreign")
		if err := os.Mkdir(foreign, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(foreign, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	refuses(t, "another user's folder", foreign)
}

// TestBundleReplaced: a folder that is swept, and made again by somebody else, while
// its maker waits for the lock is not the maker's.
func TestBundleReplaced(t *testing.T) {
	parent, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "folder")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	sweeper, err := sandbox.HoldBundle(dir)
	if err != nil {
		t.Fatal(err)
	}
	taken := make(chan bool)
	go func() {
		free, err := sandbox.HoldBundle(dir)
		if err == nil {
			free()
		}
		taken <- err == nil
	}()
	for begin := time.Now(); openOf(t, dir) < 2; time.Sleep(time.Millisecond) {
		if time.Since(begin) > 30*time.Second {
			t.Fatal("the folder is not opened")
		}
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	sweeper()
	if <-taken {
		t.Error("a folder that was put in its place is taken for ours")
	}
}

// openOf counts the descriptors of this process on dir.
func openOf(t *testing.T, dir string) (n int) {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range open {
		if at, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && at == dir {
			n++
		}
	}
	return n
}
