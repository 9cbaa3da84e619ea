//go:build linux

package sandbox_test

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/sandbox/escapetest"
)

// withGVisor is a launcher of the stronger level.
func withGVisor(t *testing.T) sandbox.Launcher {
	t.Helper()
	if _, err := os.Stat(gvisorPath); gvisorPath == "" || err != nil && os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
		t.Skip("host lacks runsc: FIREKEEP_RUNSC names none")
	}
	return sandbox.NewWith(sandbox.Options{GVisor: gvisorPath})
}

// underGVisor runs one act of the probe at LevelGVisor.
func underGVisor(t *testing.T, l sandbox.Launcher, files []*os.File, act ...string) (string, sandbox.Exit) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := l.Start(context.Background(), sandbox.Spec{Name: "test", Program: probe, Args: append([]string{"probe"}, act...), Env: []string{"HOME=/"}, Stdout: w, Stderr: w, Files: files,
		Level: sandbox.LevelGVisor, Limits: sandbox.Limits{MemoryBytes: 512 << 20, Threads: 256}})
	w.Close()
	if err != nil {
		t.Fatalf("start: %v (%v)", err, cause(err))
	}
	if p.Report().Level != sandbox.LevelGVisor || !p.Report().Active(sandbox.LayerGVisor) {
		t.Errorf("%+v", p.Report())
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out)), p.Wait()
}

// TestGVisor shows that a child at the stronger level works and sees nothing of
// the host.
func TestGVisor(t *testing.T) {
	l := withGVisor(t)
	tests := []struct{ act, want string }{
		{"hello", "ok hello"},
		{"env", "ok HOME=/"},
		{"host", "ok engine"},
		{"open /etc/passwd", "no such file or directory"},
		{"narrow open /etc/passwd", "no such file or directory"},
		{"narrow exec", "operation not permitted"},
	}
	for _, tt := range tests {
		out, exit := underGVisor(t, l, nil, strings.Fields(tt.act)...)
		if !strings.HasSuffix(out, tt.want) || !exit.OK() {
			t.Errorf("%s: %q, want %q; %+v", tt.act, out, tt.want, exit)
		}
	}
}

// TestGVisorEscape makes the attempts that reach for the host at the stronger
// level. Those that touch the child alone may pass: the kernel that answers
// them is gVisor's, not the host's.
func TestGVisorEscape(t *testing.T) {
	l := withGVisor(t)
	s := newStage(t)
	reaching := []string{"secret", "openat2", "proc root", "parent environment", "victim memory", "open descriptor", "environment", "parent id", "host name",
		"ptrace", "read memory", "write memory", "take descriptor", "signal parent", "exec", "mount", "setns", "core pattern", "release agent", "kernel log",
		"load module", "kexec", "bpf", "io_uring", "tcp", "tcp6", "mptcp", "dns", "raw", "packet", "unix", "abstract unix", "vsock", "type at terminal"}
	for _, name := range reaching {
		t.Run(name, func(t *testing.T) {
			out, exit := underGVisor(t, l, nil, "escape", name, s.json)
			if verdict(out, exit) == escapetest.Passed {
				t.Errorf("ESCAPED: %s", name)
			}
			if !exit.OK() {
				t.Errorf("the attempt did not end by itself: %q, %+v", out, exit)
			}
			t.Log(out)
		})
	}
}

func TestGVisorDescriptors(t *testing.T) {
	l := withGVisor(t)
	inR, inW, _ := os.Pipe()
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer outR.Close()
	go func() { _, _ = io.WriteString(inW, strings.Repeat("frame", 1<<10)); inW.Close() }()
	back := make(chan int)
	go func() { b, _ := io.ReadAll(outR); back <- len(b) }()
	out, exit := underGVisor(t, l, []*os.File{inR, outW}, "echo")
	inR.Close()
	outW.Close()
	if n := <-back; n != 5<<10 || !exit.OK() {
		t.Errorf("%d bytes came back; %q, %+v", n, out, exit)
	}
}

// TestGVisorKilled: the end of runsc is the end of everything it started.
func TestGVisorKilled(t *testing.T) {
	l := withGVisor(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := l.Start(context.Background(), sandbox.Spec{Name: "test", Program: probe, Args: []string{"probe", "spin"}, Stdout: w, Level: sandbox.LevelGVisor})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, len("ok ready\n"))
	if _, err := io.ReadFull(r, ready); err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	// The pipe ends when the last process that holds it is gone.
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if exit := p.Wait(); exit.OK() {
		t.Errorf("%+v", exit)
	}
}

// TestGVisorRequire: layers of the host's kernel alone are refused at a level
// that does not use them.
func TestGVisorRequire(t *testing.T) {
	l := withGVisor(t)
	spec := sandbox.Spec{Name: "test", Program: probe, Args: []string{"probe", "hello"}, Level: sandbox.LevelGVisor, Require: []string{sandbox.LayerLandlock}}
	if _, err := l.Start(context.Background(), spec); rft.KindOf(err) != rft.KindFailedPrecondition {
		t.Errorf("%v", err)
	}
	layers := sandbox.Probe(context.Background(), sandbox.Options{GVisor: gvisorPath})
	if i := slices.IndexFunc(layers, func(l sandbox.Layer) bool { return l.Name == sandbox.LayerGVisor }); i < 0 || !layers[i].Active {
		t.Errorf("%+v", layers)
	}
}
