package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"golang.org/x/sys/unix"
)

// gvisor starts children under runsc, whose kernel answers their system calls
// in user space. There is no network, no file but an empty root, and the
// program comes as a descriptor, as at LevelProcess.
type gvisor struct{ runsc string }

func newGVisor(path string) *gvisor {
	if path != "" {
		sweepBundles()
	}
	return &gvisor{runsc: path}
}

// gvisorInitName is argv[0] of the process that becomes runsc.
const gvisorInitName = "firekeep-gvisor-init"

// bundle is an OCI runtime configuration, as far as it is used here.
type bundle struct {
	Version string `json:"ociVersion"`
	Process struct {
		User            struct{ UID, GID int } `json:"user"`
		Args            []string               `json:"args"`
		Env             []string               `json:"env"`
		Cwd             string                 `json:"cwd"`
		Capabilities    struct{}               `json:"capabilities"`
		Limits          []bundleLimit          `json:"rlimits"`
		NoNewPrivileges bool                   `json:"noNewPrivileges"`
	} `json:"process"`
	Root struct {
		Path     string `json:"path"`
		ReadOnly bool   `json:"readonly"`
	} `json:"root"`
	Hostname string `json:"hostname"`
	Linux    struct {
		Namespaces []bundleNamespace `json:"namespaces"`
	} `json:"linux"`
}

type bundleLimit struct {
	Type string `json:"type"`
	Hard uint64 `json:"hard"`
	Soft uint64 `json:"soft"`
}

type bundleNamespace struct {
	Type string `json:"type"`
}

func bundleOf(s Spec, l Limits) bundle {
	b := bundle{Version: "1.0.0", Hostname: "engine"}
	b.Process.Args, b.Process.Env, b.Process.Cwd, b.Process.NoNewPrivileges = s.Args, s.Env, "/", true
	b.Process.Limits = []bundleLimit{
		{"RLIMIT_CORE", 0, 0}, {"RLIMIT_NOFILE", uint64(l.OpenFiles), uint64(l.OpenFiles)}, {"RLIMIT_FSIZE", uint64(l.FileBytes), uint64(l.FileBytes)},
	}
	b.Root.Path, b.Root.ReadOnly = "root", true
	for _, kind := range []string{"pid", "network", "ipc", "uts", "mount"} {
		b.Linux.Namespaces = append(b.Linux.Namespaces, bundleNamespace{kind})
	}
	return b
}

// start implements Launcher for LevelGVisor.
func (g *gvisor) start(ctx context.Context, s Spec, groups *cgroups) (Process, error) {
	begin := time.Now()
	if g.runsc == "" {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "sandbox: this host cannot give %s: no runsc is configured; the job demands isolation level %q", LayerGVisor, LevelGVisor)
	}
	if ctx.Err() != nil {
		return nil, notStarted(ctx, s)
	}
	limits := s.Limits.orDefault()
	folder, err := writeBundle(bundleOf(s, limits))
	if err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "sandbox: gvisor: the bundle cannot be written")
	}
	p := &gvisorProcess{process: process{done: make(chan struct{})}, folder: folder}
	orders, err := g.spawn(s, p)
	if err != nil {
		folder.remove()
		return nil, err
	}
	group, layers := groups.enter(s.Name, p.proc.Pid, limits.bounded())
	p.group = group
	layers = append([]Layer{{Name: LayerGVisor, Active: true, Detail: "systrap, no network"}}, append(layers, swapLayer(group), dieFirst(p.proc.Pid))...)
	for _, name := range []string{LayerUser, LayerNetwork, LayerRoot, LayerHostName, LayerNoPrivileges, LayerCapabilities, LayerDeathSignal, LayerDescriptors, LayerSeccomp} {
		layers = append(layers, Layer{Name: name, Active: true, Detail: "by runsc"})
	}
	p.report = Report{Level: LevelGVisor, Layers: layers}
	if err := missing(s.Require, layers); err != nil {
		orders.Close()
		_ = p.Kill()
		p.Wait()
		return nil, err
	}
	err = json.NewEncoder(orders).Encode(runscOrder{Path: g.runsc, Args: g.args(folder.dir, len(s.Files))})
	if closed := orders.Close(); err == nil {
		err = closed
	}
	if err != nil {
		_ = p.Kill()
		p.Wait()
		return nil, rft.Wrap(rft.KindUnavailable, err, "sandbox: the child ended while it was prepared")
	}
	p.report.Took = time.Since(begin)
	return p, nil
}

// missing names the first required layer that is not active.
func missing(required []string, layers []Layer) error {
	for _, name := range required {
		i := slices.IndexFunc(layers, func(l Layer) bool { return l.Name == name })
		switch {
		case i < 0:
			return rft.Errorf(rft.KindFailedPrecondition, "sandbox: this host cannot give %s: unknown at this level", name)
		case !layers[i].Active:
			return rft.Errorf(rft.KindFailedPrecondition, "sandbox: this host cannot give %s: %s", name, layers[i].Detail)
		}
	}
	return nil
}

func writeBundle(b bundle) (*bundleFolder, error) {
	folder, err := newBundleFolder()
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(b)
	if err == nil {
		err = os.WriteFile(filepath.Join(folder.dir, "config.json"), config, 0o600)
	}
	for _, sub := range []string{"root", "state"} {
		if err == nil {
			err = os.Mkdir(filepath.Join(folder.dir, sub), 0o700)
		}
	}
	if err != nil {
		folder.remove()
		return nil, err
	}
	return folder, nil
}

// args are runsc's: descriptors 3 to 3+files-1 are the child's, the one after
// them is its program.
func (g *gvisor) args(dir string, files int) []string {
	args := []string{"runsc", "--root=" + filepath.Join(dir, "state"), "--rootless", "--network=none", "--platform=systrap", "--ignore-cgroups",
		"--overlay2=none", "--host-uds=none", "--log=/dev/null", "run", "--bundle=" + dir}
	for fd := 3; fd < 3+files; fd++ {
		args = append(args, fmt.Sprintf("--pass-fd=%d:%d", fd, fd))
	}
	return append(args, fmt.Sprintf("--exec-fd=%d", 3+files), filepath.Base(dir))
}

// spawn starts the process that waits for its groups and becomes runsc.
func (g *gvisor) spawn(s Spec, p *gvisorProcess) (orders *os.File, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "sandbox: cannot open %s", os.DevNull)
	}
	defer null.Close()
	ordersR, ordersW, err := os.Pipe()
	if err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "sandbox: cannot make a pipe")
	}
	defer ordersR.Close()
	files := []*os.File{orElse(s.Stdin, null), orElse(s.Stdout, null), orElse(s.Stderr, null)}
	files = append(append(files, s.Files...), s.Program.file, ordersR)
	attr := &os.ProcAttr{Dir: "/", Env: []string{}, Files: files, Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}}
	p.proc, err = onLauncherThread(func() (*os.Process, error) {
		return os.StartProcess("/proc/self/exe", []string{gvisorInitName, strconv.Itoa(len(s.Files))}, attr)
	})
	if err != nil {
		ordersW.Close()
		return nil, rft.Wrap(rft.KindInternal, err, "sandbox: cannot start a child")
	}
	return ordersW, nil
}

// runscOrder is what the waiting process is told.
type runscOrder struct {
	Path string   `json:"path"`
	Args []string `json:"args"`
}

// gvisorInit is the waiting process. An early end of its orders means that the
// parent is gone or has changed its mind.
func gvisorInit(files int) {
	runtime.LockOSThread()
	pipe := os.NewFile(uintptr(4+files), "orders")
	var o runscOrder
	if unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0) != nil || json.NewDecoder(io.LimitReader(pipe, 1<<16)).Decode(&o) != nil {
		os.Exit(125)
	}
	if setLimit(unix.RLIMIT_CORE, 1) != nil || unix.CloseRange(uint(4+files), ^uint(0)>>32, unix.CLOSE_RANGE_CLOEXEC) != nil {
		os.Exit(125)
	}
	_ = unix.Exec(o.Path, o.Args, []string{})
	os.Exit(125)
}

// gvisorProcess is a process whose end frees the bundle too.
type gvisorProcess struct {
	process
	folder *bundleFolder
}

// Wait implements Process.
func (p *gvisorProcess) Wait() Exit {
	p.once.Do(func() {
		defer close(p.done)
		state, err := p.proc.Wait()
		p.exit = exitOf(state, err)
		// runsc tells a signal as a shell does.
		if n := p.exit.Code - 128; n > 0 && n < 32 {
			p.exit.Code, p.exit.Signal = -1, syscall.Signal(n).String()
		}
		p.exit.OOM = p.group.outOfMemory()
		p.group.removeWhenEmpty()
		p.folder.remove()
	})
	<-p.done
	return p.exit
}

// removeWhenEmpty deletes the groups once what runsc started has followed it.
func (g *group) removeWhenEmpty() {
	if g == nil {
		return
	}
	for _, dir := range g.dirs {
		for range 100 {
			if err := os.Remove(dir); !errors.Is(err, unix.EBUSY) {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}
