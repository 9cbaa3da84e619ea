//go:build linux

package sandbox

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSwapDevices reads tables of the form that the kernel writes.
func TestSwapDevices(t *testing.T) {
	heading := "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
	for want, text := range []string{heading, heading + "/dev/sda2 partition 8388604 0 -2\n", heading + "/a file 1 0 -2\n/b file 1 0 -3\n"} {
		path := filepath.Join(t.TempDir(), "swaps")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := swapDevices(path); n != want || err != nil {
			t.Errorf("%d, %v; want %d", n, err, want)
		}
	}
	if n, err := swapDevices("/nowhere"); n != 0 || err != nil {
		t.Errorf("a kernel without swap: %d, %v", n, err)
	}
}

// TestOnlyToRead tells descriptors that a child could write to.
func TestOnlyToRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weights")
	for flags, want := range map[int]bool{os.O_RDONLY | os.O_CREATE: true, os.O_RDWR | os.O_CREATE: false, os.O_WRONLY | os.O_CREATE: false} {
		f, err := os.OpenFile(path, flags, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if OnlyToRead(f) != want {
			t.Errorf("flags %#x: %v", flags, !want)
		}
		f.Close()
	}
	f, err := memfile("weights")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if OnlyToRead(f) {
		t.Error("a memory file that can be written")
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE); err != nil {
		t.Fatal(err)
	}
	if !OnlyToRead(f) {
		t.Error("a sealed memory file")
	}
}

// TestSettings are what both versions of cgroups are told.
func TestSettings(t *testing.T) {
	defer func(n int) { hostCores = n }(hostCores)
	hostCores = 4
	l := Limits{MemoryBytes: 1 << 30, Threads: 64, CPUs: 3}
	for _, tt := range []struct {
		controller string
		unified    bool
		want       []setting
	}{
		{"memory", true, []setting{{"memory.swap.max", "0", true}, {"memory.max", "1073741824", false}}},
		{"memory", false, []setting{{"memory.limit_in_bytes", "1073741824", false}, {"memory.memsw.limit_in_bytes", "1073741824", true}, {"memory.swappiness", "0", true}}},
		{"pids", true, []setting{{"pids.max", "64", false}}},
		{"pids", false, []setting{{"pids.max", "64", false}}},
		{"cpu", true, []setting{{"cpu.weight", "300", true}, {"cpu.max", "300000 100000", false}}},
		{"cpu", false, []setting{{"cpu.shares", "3072", true}, {"cpu.cfs_period_us", "100000", false}, {"cpu.cfs_quota_us", "300000", false}}},
	} {
		i := slices.IndexFunc(controllers, func(c controller) bool { return c.name == tt.controller })
		if got := controllers[i].settings(l, tt.unified); !slices.Equal(got, tt.want) {
			t.Errorf("%s unified %v: %v", tt.controller, tt.unified, got)
		}
	}
}

// TestAllCores: a child that may use every core has a weight and no bound.
func TestAllCores(t *testing.T) {
	if got := cpuSettings(Limits{CPUs: hostCores}, false); len(got) != 1 || got[0].file != "cpu.shares" {
		t.Errorf("%v", got)
	}
}

// TestDelegated plays a delegated group of version 2 with ordinary files: no
// kernel answers, so this shows what is written, not what it does.
func TestDelegated(t *testing.T) {
	dir := t.TempDir()
	write := func(file, text string) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cgroup.controllers", "cpu memory\n")
	write("cgroup.subtree_control", "cpu\n")
	if why := enableController(dir, "pids"); why == "" {
		t.Error("a controller that is not delegated was enabled")
	}
	if why := enableController(dir, "cpu"); why != "" {
		t.Error(why)
	}
	if why := enableController(dir, "memory"); why != "" {
		t.Error(why)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control")); string(b) != "+memory" {
		t.Errorf("%q was written", b)
	}
	write("cgroup.procs", "1\n2\n")
	if stepAside(dir) == nil {
		t.Error("other processes were left behind")
	}
}

// TestSweep removes groups whose maker is gone and no others.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	for _, g := range []string{"firekeep-step-4194999-1", "firekeep-step-1-1", "firekeep-serve", "other-4194999-1"} {
		if err := os.Mkdir(filepath.Join(dir, g), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	sweepGroups(dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{"firekeep-serve", "firekeep-step-1-1", "other-4194999-1"}; !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
}

// TestCheckRequired demands layers that are there, that failed and that nobody
// knows. A host that has every layer cannot show the refusal otherwise.
func TestCheckRequired(t *testing.T) {
	layers := []Layer{{Name: LayerRoot, Active: true}, {Name: LayerLandlock, Detail: "function not implemented"}}
	for _, tt := range []struct{ require, missing, why string }{
		{require: LayerRoot},
		{require: LayerSeccomp}, // still to come, and never left out
		{LayerLandlock, LayerLandlock, "function not implemented"},
		{"moat", "moat", "unknown layer"},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p := preparing{status: w, layers: layers, order: order{Require: []string{LayerRoot, tt.require}}}
		ok := p.checkRequired()
		w.Close()
		last, err := readAnswers(r)
		r.Close()
		if err != nil || ok != (tt.missing == "") || last.Missing == ok || last.Step != tt.missing || last.Problem != tt.why {
			t.Errorf("%s: %v, %+v, %v", tt.require, ok, last, err)
		}
	}
}
