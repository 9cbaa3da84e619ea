//go:build linux

package sandbox_test

import (
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/sandbox"
)

const (
	notPermitted = "operation not permitted"
	notThere     = "function not implemented"
)

// TestEscape tries each act from inside. Each names what must come of it; the
// same acts pass outside the sandbox (TestOutside), so a refusal means something.
func TestEscape(t *testing.T) {
	tests := []struct {
		act  string
		want string
	}{
		{"open /etc/passwd", notPermitted},
		{"open /proc/self/status", notPermitted},
		{"open /dev/null", notPermitted},
		{"open .", notPermitted},
		{"create /x", notPermitted},
		{"list /", notPermitted},
		{"socket inet", notPermitted},
		{"socket inet6", notPermitted},
		{"socket udp", notPermitted},
		{"socket unix", notPermitted},
		{"socket pair", notPermitted},
		{"socket mptcp", notPermitted},
		{"socket raw", notPermitted},
		{"socket packet", notPermitted},
		{"socket netlink", notPermitted},
		{"socket vsock", notPermitted},
		{"socket alg", notPermitted},
		{"socket xdp", notPermitted},
		{"socket bluetooth", notPermitted},
		{"exec", notPermitted},
		{"execself", notPermitted},
		{"fork", notPermitted},
		{"newuser", notPermitted},
		{"newns", notPermitted},
		{"setns", notPermitted},
		{"mount", notPermitted},
		{"remount", notPermitted},
		{"chroot", notPermitted},
		{"ptrace", notPermitted},
		{"killhost", notPermitted},
		{"kill2", notPermitted},
		{"bpf", notPermitted},
		{"keyctl", notPermitted},
		{"iouring", notPermitted},
		{"userfault", notPermitted},
		{"perf", notPermitted},
		{"procread", notPermitted},
		{"pidfd", notPermitted},
		{"memfd", notPermitted},
		{"handle", notPermitted},
		{"clone3", notThere},
		{"unknown", notPermitted},
		{"setuid", notPermitted},
		{"raiselimit", notPermitted},
		{"ioctl", notPermitted},
		{"execmem", notPermitted},
		{"wx", notPermitted},
		{"env", "ok ONLY=this"},
		{"pid", "ok 1 0"},
		{"host", "ok engine"},
		{"uname", "ok engine"},
		{"fds", "ok 0 1 2"},
		{"narrow exec", notPermitted},
		{"narrow execself", notPermitted},
		{"narrow fork", notPermitted},
		{"narrow clone3", notThere},
		{"narrow open /etc/passwd", notPermitted},
		{"narrow hello", "ok hello"},
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "planted")
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(tt.act, "/", "_"), func(t *testing.T) {
			out, exit := try(t, sandbox.Spec{Env: []string{"ONLY=this"}}, strings.Fields(tt.act)...)
			if !strings.HasSuffix(out, tt.want) || !exit.OK() {
				t.Errorf("%q, want %q; %+v", out, tt.want, exit)
			}
		})
	}
}

// TestOutside runs the same acts without a sandbox: those that must be refused
// inside get through here, so the refusals above mean something.
func TestOutside(t *testing.T) {
	acts := []string{"open /etc/passwd", "open /proc/self/status", "list /", "socket inet", "socket unix", "socket pair",
		"exec", "memfd", "execmem", "wx", "hello"}
	for _, act := range acts {
		out, err := exec.Command(probePath, strings.Fields(act)...).Output()
		if err != nil || !strings.HasPrefix(string(out), "ok") {
			t.Errorf("%s: %q, %v", act, out, err)
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
	tests := []struct {
		without string
		act     string
		want    string
	}{
		{"seccomp", "open /etc/passwd", "no such file or directory"},
		{"seccomp", "open /proc/self/status", "no such file or directory"},
		{"seccomp", "create /x", "read-only file system"},
		{"seccomp", "list /", "permission denied"},
		{"seccomp", "mount", notPermitted},
		{"seccomp", "remount", notPermitted},
		{"seccomp", "newns", notPermitted},
		{"seccomp", "chroot", notPermitted},
		{"seccomp", "exec", "no such file or directory"},
		{"seccomp", "caps", "ok 0 0 0"},
		{"seccomp", "socket packet", notPermitted},
		{"seccomp", dial, "permission denied"},
		{"seccomp,landlock", dial, "network is unreachable"},
		{"seccomp,landlock", "open /etc/passwd", "no such file or directory"},
		{"seccomp,landlock", "create /x", "read-only file system"},
		{"seccomp,landlock", "killhost", "no such process"},
		{"seccomp,landlock", "setuid", "invalid argument"},
		{"seccomp,landlock", "list /", "ok 0 entries"},
	}
	for _, tt := range tests {
		out, exit := tryWith(t, sandbox.Without(strings.Split(tt.without, ",")...), sandbox.Spec{}, strings.Fields(tt.act)...)
		if !strings.HasSuffix(out, tt.want) || !exit.OK() {
			t.Errorf("without %s, %s: %q, want %q; %+v", tt.without, tt.act, out, tt.want, exit)
		}
	}
}
