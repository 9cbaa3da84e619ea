//go:build linux

package sandbox_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/firekeep/firekeep/internal/sandbox"
)

const (
	notPermitted = "operation not permitted"
	notThere     = "function not implemented"
)

// TestInside shows what a child sees, and what it can still do after it has
// narrowed itself as the engine does.
func TestInside(t *testing.T) {
	tests := []struct{ act, want string }{
		{"env", "ok ONLY=this"},
		{"pid", "ok 1"},
		{"fds", "ok 0 1 2"},
		{"dumpable", "ok 0"},
		{"limits", "ok core 1 files 256 locked 0 queues 0"},
		{"narrow exec", notPermitted},
		{"narrow execself", notPermitted},
		{"narrow clone3", notThere},
		{"narrow open /etc/passwd", notPermitted},
		{"narrow hello", "ok hello"},
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "planted")
	for _, tt := range tests {
		out, exit := try(t, sandbox.Spec{Env: []string{"ONLY=this"}}, strings.Fields(tt.act)...)
		if !strings.HasSuffix(out, tt.want) || !exit.OK() {
			t.Errorf("%s: %q, want %q; %+v", tt.act, out, tt.want, exit)
		}
	}
}

// TestLayersAlone leaves layers out and shows what the remaining ones hold back.
func TestLayersAlone(t *testing.T) {
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	dial := "dial " + host.Addr().String()
	tests := []struct{ without, act, want string }{
		{"seccomp", "open /etc/passwd", "no such file or directory"},
		{"seccomp", "open /proc/self/status", "no such file or directory"},
		{"seccomp", "create /x", "read-only file system"},
		{"seccomp", "list /", "permission denied"},
		{"seccomp", "mount", notPermitted},
		{"seccomp", "remount", notPermitted},
		{"seccomp", "newns", notPermitted},
		{"seccomp", "chroot", notPermitted},
		{"seccomp", "exec", "no such file or directory"},
		{"seccomp", "caps", "ok 0 0 0 0"},
		{"seccomp", "host", "ok engine"},
		{"seccomp", "socket packet", notPermitted},
		{"seccomp", dial, "permission denied"},
		{"seccomp,landlock", dial, "network is unreachable"},
		{"seccomp,landlock", "open /etc/passwd", "no such file or directory"},
		{"seccomp,landlock", "create /x", "read-only file system"},
		{"seccomp,landlock", "killhost", "no such process"},
		{"seccomp,landlock", "setuid", "invalid argument"},
		{"seccomp,landlock", "list /", "ok 0 entries"},
		// A namespace of users would give every capability over a new network.
		{"seccomp,landlock", "cloneuser", "no space left on device"},
		{"seccomp,landlock,no nested namespaces", "cloneuser", "ok"},
	}
	for _, tt := range tests {
		out, exit := tryWith(t, sandbox.Without(preparer, strings.Split(tt.without, ",")...), sandbox.Spec{}, strings.Fields(tt.act)...)
		if !strings.HasSuffix(out, tt.want) || !exit.OK() {
			t.Errorf("without %s, %s: %q, want %q; %+v", tt.without, tt.act, out, tt.want, exit)
		}
	}
}

// TestNotDumpable: another process of the child's user on the host cannot open
// the child's memory, although the child does nothing about it itself. It can
// open that of an ordinary process of that user, so the refusal means something.
func TestNotDumpable(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user owns the namespaces of its children and may look into them")
	}
	as := func(act ...string) *exec.Cmd {
		cmd := exec.Command(probePath, act...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		return cmd
	}
	ordinary := as("wait")
	in, err := ordinary.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ordinary.Start(); err != nil {
		t.Fatal(err)
	}
	defer ordinary.Wait()
	defer in.Close()
	p, _ := waiting(t, sandbox.Spec{})
	for pid, want := range map[int]string{p.Pid(): "permission denied", ordinary.Process.Pid: "input/output error"} { // address 0 holds nothing
		out, err := as("open", fmt.Sprintf("/proc/%d/mem", pid)).Output()
		if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), want) {
			t.Errorf("%q (%v), want %q", out, err, want)
		}
	}
}
