//go:build linux && amd64

package broker_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/firekeep/firekeep/internal/sandbox/seccomp"
	"golang.org/x/sys/unix"
)

// rare are calls that the filter allows although a short run does not make
// them, with the reason.
var rare = map[uint32]string{
	unix.SYS_RESTART_SYSCALL: "the kernel makes it for a sleep that a signal interrupted",
	unix.SYS_CLOCK_GETTIME:   "where the kernel gives no clock by vDSO",
	unix.SYS_SCHED_YIELD:     "the runtime's locks under contention",
	unix.SYS_RT_SIGRETURN:    "the end of a signal, when a thread is preempted",
	unix.SYS_TGKILL:          "to preempt a thread that computes",
	unix.SYS_GETRANDOM:       "where the kernel gives no random bytes by vDSO",
	unix.SYS_EXIT:            "the end of a thread",
	unix.SYS_CLONE3:          "answered with ENOSYS",
	unix.SYS_EXECVEAT:        "the start of the program itself",
	unix.SYS_MUNMAP:          "memory given back",
	unix.SYS_MINCORE:         "where no auxiliary vector tells the page size",
	unix.SYS_MPROTECT:        "weights that came by stream become read-only",
}

// tracedCall matches a line of strace -f -Y -n: process and its program, number, name.
var tracedCall = regexp.MustCompile(`^\d+<([^>]*)> +\[ *(\d+)\] (\w+)\(`)

// TestAllowList traces the real engine through every kind of task and holds the
// filter's list against what it called: nothing is allowed without a use.
func TestAllowList(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("host lacks strace")
	}
	path := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-qq", "-Y", "-n", "-e", "signal=none", "-o", path,
		self(t), "-test.run=^(TestTrain|TestValidate|TestSamplerRefusesAndCancels)$")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	used := engineCalls(t, path)
	if len(used) < 10 {
		t.Fatalf("the trace shows %d calls of the engine only: %v", len(used), used)
	}
	allowed := seccomp.Engine(3).Allowed()
	for _, nr := range allowed {
		if used[nr] == "" && rare[nr] == "" {
			t.Errorf("call %d is allowed, but the engine does not make it", nr)
		}
	}
	for nr, name := range used {
		if !slices.Contains(allowed, nr) {
			t.Logf("refused to the engine, which goes on without: %s", name)
		}
	}
	t.Logf("%d calls allowed, %d seen", len(allowed), len(used))
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// engineCalls reads the calls of processes that run the engine's memory file.
func engineCalls(t *testing.T, path string) map[uint32]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	used := map[uint32]string{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m := tracedCall.FindStringSubmatch(lines.Text())
		if m == nil || !regexp.MustCompile(`^(memfd:|\d+$)`).MatchString(m[1]) {
			continue
		}
		nr, err := strconv.ParseUint(m[2], 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		used[uint32(nr)] = m[3]
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return used
}
