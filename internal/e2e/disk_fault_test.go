package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite"

	"github.com/firekeep/firekeep/api"
)

// faulty is a server whose disk is about to fail: a step that has begun, and the
// adapter that it makes when nothing is wrong.
type faulty struct {
	*instance
	want  string
	users []string // acknowledged while the disk failed
}

func newFaulty(t *testing.T, options ...func(*instance)) *faulty {
	t.Helper()
	f := &faulty{instance: newInstance(t, options...)}
	f.importTiny()
	f.dataset("crash", rows(120, 4, "hello")...)
	f.begin("quiet")
	f.finish("quiet")
	f.want = f.adapterDigest("quiet")
	return f
}

func (f *faulty) begin(id string) {
	f.t.Helper()
	if _, err := f.api.CreateStep(context.Background(), "main", id, crashSpec(id)); err != nil {
		f.t.Fatal(err)
	}
}

// poke makes users, and remembers those that were acknowledged.
func (f *faulty) poke(name string) {
	for i := range 5 {
		id := fmt.Sprintf("%s-%d", name, i)
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		if _, err := f.once().CreateUser(ctx, "main", id, &api.User{Role: "user", DisplayName: id}); err == nil {
			f.users = append(f.users, id)
		}
		cancel()
	}
}

// settled ends a fault: after a restart the home verifies, what was acknowledged
// is there, and the step has completed with the right adapter or failed with a
// message that names the cause; then the same step can be run again.
func (f *faulty) settled(id string, causes ...string) {
	f.t.Helper()
	f.kill()
	f.fsck()
	f.start()
	for _, u := range f.users {
		if _, err := f.api.CreateUser(context.Background(), "main", u, &api.User{Role: "user"}); err == nil || !alreadyThere(err) {
			f.t.Errorf("user %s was acknowledged and is lost: %v", u, err)
		}
	}
	waitFor(f.t, 2*time.Minute, id+" to end", func() bool { j := f.step(id); return j.State == "JOB_STATE_COMPLETED" || j.State == "JOB_STATE_FAILED" })
	j := f.step(id)
	f.t.Logf("%s: %s %s; %d users acknowledged", id, j.State, j.Status.Message, len(f.users))
	if j.State == "JOB_STATE_FAILED" {
		named := false
		for _, c := range causes {
			named = named || strings.Contains(j.Status.Message, c)
		}
		if !named {
			f.t.Errorf("%s failed with %q, which names none of %q", id, j.Status.Message, causes)
		}
		id += "-again"
		f.begin(id)
		f.finish(id)
	}
	if f.adapterDigest(id) != f.want {
		f.t.Errorf("%s: another adapter", id)
	}
}

func alreadyThere(err error) bool {
	var e *api.Error
	return errors.As(err, &e) && e.Kind == "ALREADY_EXISTS"
}

// TestFullDisk fills the disk of the home while a step writes resume points.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=32m,mode=700"); err != nil {
		t.Skipf("host lacks the right to mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	f := newFaulty(t, func(s *instance) {
		s.home = filepath.Join(dir, "home")
		s.config["fileRoots"] = []string{dir, filepath.Dir(s.roots)}
	})
	f.begin("full")
	updates(t, f.instance, "full", 1)
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	f.poke("full")
	waitFor(t, time.Minute, "the full disk to be met", func() bool {
		log, _ := os.ReadFile(f.log)
		return bytes.Contains(log, []byte("full"))
	})
	f.poke("later")
	f.kill()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	f.settled("full", "full")
}

// fill writes until the file system has no byte left.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for size := 1 << 20; size > 0; {
		if _, err := file.Write(make([]byte, size)); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			size /= 2
		}
	}
}

// TestDiskErrors lets system calls of a running server fail as a broken disk
// does: what is written, made durable or named is refused with EIO.
func TestDiskErrors(t *testing.T) {
	strace := requireStrace(t)
	f := newFaulty(t)
	for _, c := range []struct {
		name string
		args []string
	}{
		{"fsync", inject("fsync,fdatasync", "EIO")},
		{"rename", inject("rename,renameat,renameat2,link,linkat", "EIO")},
		{"write", append(inject("write,pwrite64", "EIO"), "-P", filepath.Join(f.home, "firekeep.db-wal"), "-P", filepath.Join(f.home, "firekeep.db"))},
		{"some-fsync", inject("fsync,fdatasync", "EIO:when=5+7")},
	} {
		f.begin(c.name)
		updates(t, f.instance, c.name, 1)
		record := filepath.Join(t.TempDir(), "strace")
		tracer := exec.Command(strace, append([]string{"-f", "-q", "-o", record, "-p", fmt.Sprint(f.cmd.Process.Pid)}, c.args...)...)
		tracer.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := tracer.Start(); err != nil {
			t.Fatal(err)
		}
		struck := func() int { b, _ := os.ReadFile(record); return bytes.Count(b, []byte("(INJECTED)")) }
		waitFor(t, 30*time.Second, c.name+" to fail", func() bool {
			f.poke(c.name + fmt.Sprint(struck()))
			return struck() >= 3 || f.stateOf(c.name) == "JOB_STATE_COMPLETED"
		})
		n := struck()
		_ = tracer.Process.Signal(syscall.SIGINT) // lets go of the server
		_ = tracer.Wait()
		if n == 0 {
			t.Errorf("%s: nothing failed", c.name)
		}
		t.Logf("%s: %d calls failed", c.name, n)
		f.settled(c.name, "disk", "file system", "database")
	}
}

// stateOf is the state of a step, "" while the server does not say.
func (f *faulty) stateOf(id string) string {
	j, err := f.once().GetStep(context.Background(), "main", id)
	if err != nil {
		return ""
	}
	return j.State
}

func inject(calls, how string) []string {
	return []string{"-e", "trace=" + calls, "-e", "inject=" + calls + ":error=" + how}
}

// requireStrace finds strace, which scripts/install-strace installs.
func requireStrace(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		if os.Getuid() != 0 || os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" || exec.Command("apt-get", "--version").Run() != nil {
			t.Skip("host lacks strace")
		}
		t.Fatal("strace is missing; run scripts/install-strace, or set FIREKEEP_WITHOUT_ORACLES=1 to leave this out")
	}
	if out, err := exec.Command(path, "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true").CombinedOutput(); err != nil {
		t.Skipf("host lacks ptrace with injection: %s", out)
	}
	return path
}

// TestLockedDatabase holds the database's write lock in another process' place:
// nothing is acknowledged meanwhile, nothing fails, and all goes on afterwards.
func TestLockedDatabase(t *testing.T) {
	f := newFaulty(t)
	f.begin("locked")
	updates(t, f.instance, "locked", 1)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(f.home, "firekeep.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	answer := make(chan error, 1)
	go func() {
		_, err := f.once().CreateUser(context.Background(), "main", "patient", &api.User{Role: "user"})
		answer <- err
	}()
	select {
	case err := <-answer:
		t.Errorf("answered while the database was locked: %v", err)
	case <-time.After(time.Second): // long enough to have been answered if nobody waited for the lock
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; err != nil {
		t.Errorf("after the lock: %v", err)
	}
	f.users = append(f.users, "patient")
	f.finish("locked")
	f.settled("locked")
}
