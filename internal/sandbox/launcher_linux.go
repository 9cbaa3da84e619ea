package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"golang.org/x/sys/unix"
)

// nobody is the host's user and group of children that root starts.
const nobody = 65534

// Defaults of Limits. A Go program reserves memory lazily, so the default
// bound is generous; the runner sets the real one.
const (
	defaultThreads   = 512
	defaultOpenFiles = 256
	defaultFileBytes = 64 << 20
)

// New returns the launcher of this host, of LevelProcess alone.
func New() Launcher { return NewWith(Options{}) }

// NewWith returns the launcher of this host with what o adds.
func NewWith(o Options) Launcher {
	return &linux{cgroups: newCgroups(), gvisor: newGVisor(o.GVisor), stage: o.Stage}
}

type linux struct {
	cgroups *cgroups
	gvisor  *gvisor
	stage   *Program
	// without names layers to leave out, so that tests can show what the others
	// hold back on their own. Nothing in the product sets it.
	without []string
}

// order is what the parent tells the preparing child, over a pipe that doubles
// as the starting signal: it is written when cgroups are in place.
type order struct {
	Args    []string `json:"args"`
	Env     []string `json:"env"`
	Files   int      `json:"files"` // descriptors 3 to 3+Files-1 belong to the program
	Limits  Limits   `json:"limits"`
	Confine bool     `json:"confineMemory"` // by rlimit, for want of a cgroup
	Require []string `json:"require"`
	Layers  []Layer  `json:"layers"` // those that the parent has set up
	Without []string `json:"without,omitempty"`
}

// answer is what the preparing child reports before the program starts, and
// once more when the start fails.
type answer struct {
	Layers []Layer `json:"layers"`
	// Step and Problem name what failed; Missing names a required layer that
	// the host cannot give.
	Step    string `json:"step,omitempty"`
	Problem string `json:"problem,omitempty"`
	Missing bool   `json:"missing,omitempty"`
}

// Start implements Launcher.
func (l *linux) Start(ctx context.Context, s Spec) (Process, error) {
	begin := time.Now()
	switch err := s.check(); {
	case err != nil:
		return nil, err
	case s.Level == LevelGVisor:
		return l.gvisor.start(ctx, s, l.cgroups)
	}
	orders, status, p, err := l.spawn(s)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.Kill() })
	last, err := l.prepare(s, p, orders, status)
	if !stop() {
		err = notStarted(ctx, s)
	}
	if err != nil {
		_ = p.Kill()
		p.Wait()
		return nil, err
	}
	p.report = Report{Level: LevelProcess, Layers: last.Layers, Took: time.Since(begin)}
	return p, nil
}

// notStarted is the error of a start whose context has ended.
func notStarted(ctx context.Context, s Spec) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return rft.Wrap(rft.KindDeadlineExceeded, ctx.Err(), "the deadline passed before %s had started", s.Name)
	}
	return rft.Wrap(rft.KindCancelled, ctx.Err(), "sandbox: start of %s cancelled", s.Name)
}

func (s Spec) check() error {
	switch {
	case s.Program == nil || len(s.Args) == 0:
		return rft.Errorf(rft.KindInternal, "sandbox: a child needs a program and its name")
	case s.Level != "" && s.Level != LevelProcess && s.Level != LevelGVisor:
		return rft.Errorf(rft.KindFailedPrecondition, "sandbox: the job demands isolation level %q; this host isolates at level %q or %q", s.Level, LevelProcess, LevelGVisor)
	}
	return nil
}

// spawn starts the stage, or this executable again, in its new namespaces as
// the preparing child. It waits for its orders on the returned pipe.
func (l *linux) spawn(s Spec) (orders, status *os.File, _ *process, _ error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, nil, rft.Wrap(rft.KindInternal, err, "sandbox: cannot open %s", os.DevNull)
	}
	defer null.Close()
	ordersR, ordersW, err := os.Pipe()
	if err != nil {
		return nil, nil, nil, rft.Wrap(rft.KindInternal, err, "sandbox: cannot make a pipe")
	}
	statusR, statusW, err := os.Pipe()
	if err != nil {
		closeAll(ordersR, ordersW)
		return nil, nil, nil, rft.Wrap(rft.KindInternal, err, "sandbox: cannot make a pipe")
	}
	defer closeAll(ordersR, statusW)
	files := []*os.File{orElse(s.Stdin, null), orElse(s.Stdout, null), orElse(s.Stderr, null)}
	files = append(files, s.Files...)
	files = append(files, ordersR, statusW, s.Program.file)
	executable := "/proc/self/exe"
	if l.stage != nil { // its descriptor is behind the program's and closes with the program's start
		executable = "/proc/self/fd/" + strconv.Itoa(len(files))
		files = append(files, l.stage.file)
	}
	attr := &os.ProcAttr{Dir: "/", Env: []string{}, Files: files, Sys: namespaces(os.Geteuid(), os.Getegid())}
	proc, err := onLauncherThread(func() (*os.Process, error) {
		return os.StartProcess(executable, []string{initName, strconv.Itoa(len(s.Files))}, attr)
	})
	if err != nil {
		closeAll(ordersW, statusR)
		return nil, nil, nil, startError(err)
	}
	return ordersW, statusR, &process{proc: proc, done: make(chan struct{})}, nil
}

// namespaces are the attributes of the preparing child. It is user 0 of its
// own user namespace, which is nobody on the host when root starts it, and the
// same ordinary user otherwise.
func namespaces(uid, gid int) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
			unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
		Pdeathsig:  syscall.SIGKILL,
		Setsid:     true,
		Credential: &syscall.Credential{Uid: 0, Gid: 0, NoSetGroups: true},
	}
	if uid == 0 {
		uid, gid = nobody, nobody
		attr.GidMappingsEnableSetgroups = true
		attr.Credential.NoSetGroups = false
	}
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	return attr
}

func startError(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EUSERS) {
		return rft.Wrap(rft.KindFailedPrecondition, err,
			"sandbox: this host does not let Firekeep make user namespaces (%v); see user.max_user_namespaces and kernel.unprivileged_userns_clone", err)
	}
	return rft.Wrap(rft.KindInternal, err, "sandbox: cannot start a child")
}

// prepare puts the child into its cgroups, gives it its orders and reads what
// came of them. The status pipe ends when the program has been started.
func (l *linux) prepare(s Spec, p *process, orders, status *os.File) (answer, error) {
	defer status.Close()
	groups := l.cgroups
	if slices.Contains(l.without, "cgroup") {
		groups = &cgroups{}
	}
	limits := s.Limits.orDefault()
	group, layers := groups.enter(s.Name, p.proc.Pid, limits.bounded())
	p.group = group
	layers = append(layers, swapLayer(group), dieFirst(p.proc.Pid))
	o := order{Args: s.Args, Env: s.Env, Files: len(s.Files), Limits: limits, Confine: !group.boundsMemory(), Require: s.Require, Layers: layers, Without: l.without}
	err := json.NewEncoder(orders).Encode(o)
	if closed := orders.Close(); err == nil {
		err = closed
	}
	last, readErr := readAnswers(status)
	switch {
	case last.Missing:
		return last, rft.Errorf(rft.KindFailedPrecondition, "sandbox: this host cannot give %s: %s", last.Step, last.Problem)
	case last.Step != "":
		return last, rft.Errorf(rft.KindInternal, "sandbox: %s: %s", last.Step, last.Problem)
	case err != nil || readErr != nil || len(last.Layers) == 0:
		// It said nothing, so it was killed from outside: trying again may help.
		return last, rft.Wrap(rft.KindUnavailable, errors.Join(err, readErr), "sandbox: the child ended while it was prepared")
	}
	return last, nil
}

func readAnswers(status io.Reader) (answer, error) {
	var last answer
	dec := json.NewDecoder(io.LimitReader(status, 1<<16))
	for {
		switch err := dec.Decode(&last); {
		case errors.Is(err, io.EOF):
			return last, nil
		case err != nil:
			return last, err
		}
	}
}

func (l Limits) orDefault() Limits {
	if l.Threads == 0 {
		l.Threads = defaultThreads
	}
	if l.OpenFiles == 0 {
		l.OpenFiles = defaultOpenFiles
	}
	if l.FileBytes == 0 {
		l.FileBytes = defaultFileBytes
	}
	return l
}

// bounded is what a memory group gets: it has a limit always.
func (l Limits) bounded() Limits {
	if l.MemoryBytes == 0 {
		l.MemoryBytes = hostMemory()
	}
	return l
}

// process implements Process.
type process struct {
	proc   *os.Process
	group  *group
	report Report
	once   sync.Once
	done   chan struct{}
	exit   Exit
}

func (p *process) Pid() int       { return p.proc.Pid }
func (p *process) Report() Report { return p.report }

// Kill implements Process. The child is process 1 of its namespace: with it
// goes everything inside.
func (p *process) Kill() error {
	if err := p.proc.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sandbox: kill: %w", err)
	}
	return nil
}

// Wait implements Process.
func (p *process) Wait() Exit {
	p.once.Do(func() {
		defer close(p.done)
		state, err := p.proc.Wait()
		p.exit = exitOf(state, err)
		p.exit.OOM = p.group.outOfMemory()
		p.group.remove()
	})
	<-p.done
	return p.exit
}

func exitOf(state *os.ProcessState, err error) Exit {
	if err != nil {
		return Exit{Code: -1, Signal: "unknown"}
	}
	e := Exit{Code: state.ExitCode(), CPU: state.UserTime() + state.SystemTime()}
	if u, ok := state.SysUsage().(*syscall.Rusage); ok {
		e.MaxRSS = u.Maxrss << 10
	}
	if w, ok := state.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		e.Signal = w.Signal().String()
	}
	return e
}

// launcherThread runs every fork of this package. The kernel sends the signal
// of a dying parent when the thread that forked ends, so that thread must live
// as long as the process.
var launcherThread = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

func onLauncherThread(start func() (*os.Process, error)) (p *os.Process, err error) {
	done := make(chan struct{})
	launcherThread() <- func() {
		defer close(done)
		p, err = start()
	}
	<-done
	return p, err
}

func orElse(f, other *os.File) *os.File {
	if f == nil {
		return other
	}
	return f
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
