//go:build linux

package sandbox_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"golang.org/x/sys/unix"
)

// waiting starts a child that says it is ready and then waits for the end of
// its input, which stop closes.
func waiting(t *testing.T, s sandbox.Spec) (p sandbox.Process, stop func()) {
	t.Helper()
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.Name, s.Program, s.Args, s.Stdin, s.Stdout = "test", probe, []string{"probe", "wait"}, inR, outW
	p, err = product().Start(context.Background(), s)
	inR.Close()
	outW.Close()
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(outR).ReadString('\n'); line != "ok ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	t.Cleanup(func() { inW.Close(); _ = p.Kill(); p.Wait(); outR.Close() })
	return p, func() { inW.Close() }
}

// TestSeenFromHost checks the child by the host's own eyes.
func TestSeenFromHost(t *testing.T) {
	p, _ := waiting(t, sandbox.Spec{})
	status := statusOf(t, p.Pid())
	want := map[string]string{
		"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapBnd": "0000000000000000",
		"CapAmb": "0000000000000000", "CapInh": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
	}
	if os.Geteuid() == 0 {
		want["Uid"], want["Gid"], want["Groups"] = "65534 65534 65534 65534", "65534 65534 65534 65534", ""
	}
	for k, v := range want {
		if status[k] != v {
			t.Errorf("%s is %q, want %q", k, status[k], v)
		}
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.Pid()))
	if err != nil || !slices.Equal(strings.Fields(lineOf(limits, "Max core file size"))[4:6], []string{"1", "1"}) {
		t.Errorf("core limit %q (%v)", lineOf(limits, "Max core file size"), err)
	}
	t.Logf("started in %v: %v", p.Report().Took, p.Report().Layers)
	if os.Geteuid() != 0 {
		return // the rest cannot be read of a process that is not dumpable
	}
	for _, ns := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"} {
		mine, err1 := os.Readlink("/proc/self/ns/" + ns)
		its, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", p.Pid(), ns))
		if err1 != nil || err2 != nil || mine == its {
			t.Errorf("%s namespace: %s and %s (%v, %v)", ns, mine, its, err1, err2)
		}
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", p.Pid()))
	if err != nil || bytes.Count(mounts, []byte("\n")) != 1 || !bytes.Contains(mounts, []byte("none / tmpfs ro,")) {
		t.Errorf("mounts %q (%v)", mounts, err)
	}
	if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.Pid())); err != nil || len(env) != 0 {
		t.Errorf("environment %q (%v)", env, err)
	}
}

// statusOf reads /proc/PID/status with single blanks between words.
func statusOf(t *testing.T, pid int) map[string]string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	status := map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(line, ":")
		status[k] = strings.Join(strings.Fields(v), " ")
	}
	return status
}

func lineOf(b []byte, prefix string) string {
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return "0 0 0 0 missing missing"
}

func TestWait(t *testing.T) {
	p, stop := waiting(t, sandbox.Spec{})
	stop()
	if exit := p.Wait(); !exit.OK() || exit.MaxRSS == 0 {
		t.Errorf("%+v", exit)
	}
	if exit := p.Wait(); !exit.OK() {
		t.Errorf("second wait: %+v", exit)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("kill after the end: %v", err)
	}
}

func TestKill(t *testing.T) {
	p, _ := waiting(t, sandbox.Spec{})
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if exit := p.Wait(); exit.OK() || exit.Signal != "killed" || exit.OOM {
		t.Errorf("%+v", exit)
	}
}

// TestDescriptors passes two pipes and checks that they are 3 and 4, that they
// work, and that nothing else came along.
func TestDescriptors(t *testing.T) {
	extra, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0) // without close-on-exec, on purpose
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(extra)
	inR, inW, _ := os.Pipe()
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer outR.Close()
	go func() { _, _ = io.WriteString(inW, strings.Repeat("frame", 1<<16)); inW.Close() }()
	back := make(chan int)
	go func() { b, _ := io.ReadAll(outR); back <- len(b) }()
	out, exit := try(t, sandbox.Spec{Files: []*os.File{inR, outW}}, "echo")
	inR.Close()
	outW.Close()
	if n := <-back; n != 5<<16 || out != fmt.Sprint("ok ", 5<<16) || !exit.OK() {
		t.Errorf("%d bytes came back; %q, %+v", n, out, exit)
	}
	if out, _ := try(t, sandbox.Spec{Files: []*os.File{os.Stdin}}, "fds"); out != "ok 0 1 2 3" {
		t.Errorf("descriptors: %q", out)
	}
}

func TestFileLimit(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out, exit := try(t, sandbox.Spec{Files: []*os.File{f}, Limits: sandbox.Limits{FileBytes: 3 << 20}}, "writefile")
	if exit.OK() && out != "3 MiB: file too large" || out == "ok" {
		t.Errorf("%q, %+v", out, exit)
	}
	if info, err := f.Stat(); err != nil || info.Size() > 3<<20 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestMemoryLimit fills 4 GiB within 256 MiB. By cgroup the kernel ends the
// child; by rlimit the runtime gives up, in one way or another.
func TestMemoryLimit(t *testing.T) {
	for _, l := range []struct {
		name     string
		launcher sandbox.Launcher
	}{{"host", product()}, {"rlimit", sandbox.Without(preparer, "cgroup")}} {
		t.Run(l.name, func(t *testing.T) {
			out, exit := tryWith(t, l.launcher, sandbox.Spec{Limits: sandbox.Limits{MemoryBytes: 256 << 20}}, "memory")
			if exit.OK() || strings.Contains(out, "blocks") || exit.MaxRSS > 400<<20 {
				t.Errorf("%.200q, %+v", out, exit)
			}
			if l.name == "rlimit" && exit.OOM {
				t.Errorf("no group could have ended it: %+v", exit)
			}
		})
	}
}

func TestThreadLimit(t *testing.T) {
	for _, l := range []sandbox.Launcher{product(), sandbox.Without(preparer, "cgroup")} {
		out, exit := tryWith(t, l, sandbox.Spec{Limits: sandbox.Limits{Threads: 64}}, "threads")
		if exit.OK() || !strings.Contains(out, "failed to create new OS thread") {
			t.Errorf("%.200q, %+v", out, exit)
		}
	}
}

func TestRefused(t *testing.T) {
	tests := []struct {
		name string
		spec sandbox.Spec
		kind rft.Kind
		text string
	}{
		{"level", sandbox.Spec{Program: probe, Args: []string{"probe"}, Level: sandbox.LevelVM}, rft.KindFailedPrecondition, "vm"},
		{"gvisor", sandbox.Spec{Program: probe, Args: []string{"probe"}, Level: sandbox.LevelGVisor}, rft.KindFailedPrecondition, "gvisor"},
		{"layer", sandbox.Spec{Program: probe, Args: []string{"probe"}, Require: []string{"moat"}}, rft.KindFailedPrecondition, "moat"},
		{"no program", sandbox.Spec{Args: []string{"probe"}}, rft.KindInternal, "program"},
		{"zero byte", sandbox.Spec{Program: probe, Args: []string{"a\x00b"}}, rft.KindInternal, "zero byte"},
	}
	for _, tt := range tests {
		p, err := product().Start(context.Background(), tt.spec)
		if p != nil || rft.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %v, %v", tt.name, p, err)
		}
	}
	junk, err := sandbox.LoadProgram("junk", strings.NewReader("not a program"))
	if err != nil {
		t.Fatal(err)
	}
	defer junk.Close()
	if _, err := product().Start(context.Background(), sandbox.Spec{Program: junk, Args: []string{"junk"}}); rft.KindOf(err) != rft.KindInternal {
		t.Errorf("junk: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := product().Start(ctx, sandbox.Spec{Program: probe, Args: []string{"probe", "wait"}}); rft.KindOf(err) != rft.KindCancelled {
		t.Errorf("cancelled: %v", err)
	}
}

func TestRequire(t *testing.T) {
	all := []string{sandbox.LayerUser, sandbox.LayerRoot, sandbox.LayerCapabilities, sandbox.LayerNoPrivileges, sandbox.LayerNotDumpable, sandbox.LayerSeccomp}
	out, _ := try(t, sandbox.Spec{Require: all}, "hello")
	if out != "ok hello" {
		t.Error(out)
	}
}

// TestEveryLayer requires each layer by itself: it holds, or the refusal names it.
func TestEveryLayer(t *testing.T) {
	names := map[string]bool{}
	for _, l := range sandbox.Probe(context.Background(), sandbox.Options{}) {
		names[l.Name] = l.Active
		if l.Active && l.Advice() != "" {
			t.Errorf("%s is active and has advice", l.Name)
		}
	}
	for _, layer := range sandbox.Layers() {
		active, known := names[layer]
		if !known {
			t.Errorf("the probe does not know %q", layer)
			continue
		}
		p, err := product().Start(context.Background(), sandbox.Spec{Name: "test", Program: probe, Args: []string{"probe", "hello"}, Require: []string{layer}})
		if err == nil {
			p.Wait()
		}
		switch {
		case active && err != nil:
			t.Errorf("%s: %v", layer, err)
		case !active && (rft.KindOf(err) != rft.KindFailedPrecondition || !strings.Contains(rft.PublicMessage(err), layer)):
			t.Errorf("%s: %v", layer, err)
		}
	}
}

func TestProgramIsSealed(t *testing.T) {
	p, err := sandbox.OpenProgram(probePath)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if len(p.SHA256()) != 64 || p.SHA256() != probe.SHA256() {
		t.Errorf("digest %q", p.SHA256())
	}
}

const (
	parentMode  = "parent-of-a-child"
	parentLevel = "FIREKEEP_TEST_LEVEL" // of its child
)

// parent starts a child, prints its pid and waits to be killed.
func parent() {
	var err error
	if probe, err = sandbox.OpenProgram(probePath); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	l, level := product(), sandbox.Level(os.Getenv(parentLevel))
	if level == sandbox.LevelGVisor {
		l = sandbox.NewWith(sandbox.Options{GVisor: gvisorPath})
	}
	p, err := l.Start(context.Background(), sandbox.Spec{Name: "orphan", Program: probe, Args: []string{"probe", "spin"}, Level: level})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(p.Pid())
	p.Wait() // longer than the test
}

// killParent starts a parent and kills it with SIGKILL; its child must go too,
// although it computes and reads nothing.
func killParent(t *testing.T, env ...string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", parentMode)
	cmd.Env = append(append(os.Environ(), "FIREKEEP_TEST_PROBE="+probePath), env...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(line, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(line)
	}
	if state := statusOf(t, pid)["State"]; strings.HasPrefix(state, "Z") {
		t.Fatal("the child ended by itself")
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// The descriptor becomes readable when the process is gone.
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
	if n != 1 || err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		t.Fatalf("the child lives on: %d, %v", n, err)
	}
}

func TestParentKilled(t *testing.T) { killParent(t) }

// TestAsNobody runs the tests of this package as an ordinary user.
func TestAsNobody(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("ordinary user already")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^(TestInside|TestSeenFromHost|TestWait|TestDescriptors|TestMemoryLimit|TestParentKilled|TestLayersAlone|TestProbe)$")
	cmd.Env = []string{"FIREKEEP_TEST_PROBE=" + probePath, "TMPDIR=/tmp"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("PASS")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestNoGroupsLeft checks that children take their cgroups with them.
func TestNoGroupsLeft(t *testing.T) {
	for range 3 {
		try(t, sandbox.Spec{Limits: sandbox.Limits{MemoryBytes: 1 << 30}}, "hello")
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/firekeep-test-*", "/sys/fs/cgroup/firekeep-test-*"} {
		left, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range left {
			if strings.Contains(g, fmt.Sprintf("-%d-", os.Getpid())) {
				t.Errorf("left: %s", g)
			}
		}
	}
}

func TestProbe(t *testing.T) {
	layers := sandbox.Probe(context.Background(), sandbox.Options{})
	for _, name := range []string{"sealed memory file", "user namespace", "empty root", "capabilities", "seccomp", "child"} {
		i := slices.IndexFunc(layers, func(l sandbox.Layer) bool { return l.Name == name })
		if i < 0 || !layers[i].Active {
			t.Errorf("%s: %+v", name, layers)
		}
	}
	for _, l := range layers {
		t.Logf("%-45s %-5v %s", l.Name, l.Active, l.Detail)
	}
}
