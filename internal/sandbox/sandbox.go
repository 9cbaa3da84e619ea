// Package sandbox is seam 2: it starts programs that cannot reach anything but
// the descriptors they are given. The comments of Launcher are the contract.
//
// On Linux a child gets its own user, mount, pid, network, ipc, uts and cgroup
// namespaces, an empty read-only root without /proc, no capabilities, Landlock
// with nothing allowed, a seccomp allow-list, resource limits, and dies with
// its parent. Programs that use Linux must call Init first thing in main: the
// launcher starts its own executable again to prepare the child.
package sandbox

import (
	"context"
	"os"
	"time"
)

// Level names how strongly a host separates a child from itself.
type Level string

const (
	// LevelProcess is the level of Linux: namespaces, seccomp, Landlock.
	LevelProcess Level = "process"
	// LevelGVisor puts a kernel of its own between the child and the host's,
	// where runsc is installed.
	LevelGVisor Level = "gvisor"
	// LevelVM is named by policies; no launcher of this package gives it, so
	// jobs that ask for it are refused.
	LevelVM Level = "vm"
)

// strength orders the levels.
var strength = map[Level]int{"": 0, LevelProcess: 0, LevelGVisor: 1, LevelVM: 2}

// ParseLevel checks the name of a level; "" is LevelProcess.
func ParseLevel(s string) (Level, bool) {
	_, known := strength[Level(s)]
	if s == "" {
		return LevelProcess, true
	}
	return Level(s), known
}

// Strictest is the stronger of two levels.
func Strictest(a, b Level) Level {
	if strength[a] > strength[b] {
		return a
	}
	return b
}

// Options of NewWith; the zero value gives LevelProcess alone.
type Options struct {
	// GVisor is the path of runsc, "" = none.
	GVisor string
	// Stage is cmd/firekeep-stage, which prepares children faster than this
	// executable started again, which does it when Stage is nil.
	Stage *Program
}

// Limits bound a child. Zero means the launcher's default.
type Limits struct {
	MemoryBytes int64 // by cgroup, else by the writable private memory of the process
	CPUs        int   // cores' worth of time and weight, by cgroup; 0 = the weight of one group
	Threads     int   // by cgroup, else by RLIMIT_NPROC
	OpenFiles   int
	FileBytes   int64 // the largest file it may write; it can create none anyway
}

// Spec describes a child. The launcher passes Args, Env and descriptors exactly:
// nothing of the parent's environment or descriptor table comes along.
type Spec struct {
	Name    string   // for logs and cgroup names: "step", "sample", ...
	Program *Program // statically linked
	Args    []string // argv, the program's name first
	Env     []string
	// Stdin, Stdout and Stderr are /dev/null when nil.
	Stdin, Stdout, Stderr *os.File
	// Files become descriptors 3, 4, ... The caller keeps and closes its own.
	Files  []*os.File
	Limits Limits
	// Level is the least level that will do; "" is LevelProcess.
	Level Level
	// Require names layers (Layer.Name) that must be active, beyond those that
	// the level always demands.
	Require []string
}

// Launcher starts children. Errors are *rft.Error: FAILED_PRECONDITION when the
// host cannot give what the Spec demands (the message names the layer),
// INTERNAL when a step of the preparation failed. A child that Start returned
// runs the program; ctx bounds the start only.
type Launcher interface {
	Start(ctx context.Context, s Spec) (Process, error)
}

// Process is a running child.
type Process interface {
	// Pid is its id in the parent's namespace.
	Pid() int
	// Kill ends the child and everything it started; it may be called at any
	// time, more than once.
	Kill() error
	// Wait blocks until the child is gone and its resources are freed. It may
	// be called from several goroutines; each gets the same answer.
	Wait() Exit
	// Report says which layers hold the child.
	Report() Report
}

// Exit says how a child ended.
type Exit struct {
	Code   int           // exit code, -1 when a signal ended it
	Signal string        // "killed", "segmentation fault", ... or ""
	OOM    bool          // the memory limit ended it
	CPU    time.Duration // user and system time
	MaxRSS int64         // bytes
}

// ForbiddenCall is the Signal of a child that the filter ended: it made a system
// call that no engine makes.
const ForbiddenCall = "bad system call"

// OK reports a clean exit.
func (e Exit) OK() bool { return e.Code == 0 && e.Signal == "" }

// Report lists the layers around a child, for logs and provenance.
type Report struct {
	Level  Level         `json:"level"`
	Layers []Layer       `json:"layers"`
	Took   time.Duration `json:"took"` // Start until the program runs
}

// Active reports whether the named layer holds.
func (r Report) Active(name string) bool {
	for _, l := range r.Layers {
		if l.Name == name {
			return l.Active
		}
	}
	return false
}

// Layer is one means of separation.
type Layer struct {
	Name   string `json:"name"` // "user namespace", "seccomp", "landlock", ...
	Active bool   `json:"active"`
	Detail string `json:"detail,omitempty"` // "ABI 7", or why it is not active
}
