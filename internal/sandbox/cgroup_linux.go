package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
)

// groupPrefix begins the names of our cgroups, so that those which a killed
// parent left can be found.
const groupPrefix = "firekeep-"

// controller is one resource that groups bound.
type controller struct {
	name  string // of the kernel
	layer string
	// settings are what a group's files get, in this order.
	settings func(l Limits, unified bool) []setting
	detail   func(l Limits) string
}

// setting is one file of a group. Optional ones are absent on some kernels.
type setting struct {
	file, value string
	optional    bool
}

var controllers = []controller{
	{"memory", LayerMemory, memorySettings, func(l Limits) string { return "at most " + strconv.FormatInt(l.MemoryBytes, 10) + " bytes" }},
	{"pids", LayerPids, pidsSettings, func(l Limits) string { return fmt.Sprintf("at most %d threads", l.Threads) }},
	{"cpu", LayerCPU, cpuSettings, func(l Limits) string {
		if l.CPUs == 0 {
			return "the weight of one group"
		}
		return fmt.Sprintf("at most %d cores", l.CPUs)
	}},
}

// memorySettings bound memory with what is swapped out. Version 2 forbids swap
// altogether.
func memorySettings(l Limits, unified bool) []setting {
	limit := strconv.FormatInt(l.MemoryBytes, 10)
	if unified {
		return []setting{{"memory.swap.max", "0", true}, {"memory.max", limit, false}}
	}
	return []setting{{"memory.limit_in_bytes", limit, false}, {"memory.memsw.limit_in_bytes", limit, true}, {"memory.swappiness", "0", true}}
}

func pidsSettings(l Limits, _ bool) []setting {
	return []setting{{"pids.max", strconv.Itoa(l.Threads), false}}
}

// cpuPeriod is the time over which a quota of cores is counted, in microseconds.
const cpuPeriod = 100_000

// hostCores is a variable for tests.
var hostCores = runtime.NumCPU()

// cpuSettings give a child the weight of as many threads as it may have cores,
// however many threads it starts. Where that is less than all cores, it gets no
// more time than that either.
func cpuSettings(l Limits, unified bool) []setting {
	if l.CPUs == 0 {
		return nil
	}
	weight := []setting{{"cpu.shares", strconv.Itoa(1024 * l.CPUs), true}}
	quota := strconv.Itoa(l.CPUs * cpuPeriod)
	bound := []setting{{"cpu.cfs_period_us", strconv.Itoa(cpuPeriod), false}, {"cpu.cfs_quota_us", quota, false}}
	if unified {
		weight = []setting{{"cpu.weight", strconv.Itoa(min(100*l.CPUs, 10_000)), true}}
		bound = []setting{{"cpu.max", fmt.Sprintf("%s %d", quota, cpuPeriod), false}}
	}
	if l.CPUs >= hostCores {
		return weight
	}
	return append(weight, bound...)
}

// place is where groups with a controller can be made.
type place struct {
	dir     string // "" = nowhere
	why     string // nowhere
	unified bool   // version 2
}

// cgroups are the places of this host, by controller.
type cgroups struct {
	places map[string]place
	next   atomic.Int64
}

// group is one child's groups. A nil or empty group limits nothing.
type group struct {
	dirs   []string
	memory place // of the child's own group; dir is "" without
}

// newCgroups looks for writable hierarchies below the process's own groups and
// removes groups that an earlier process left.
func newCgroups() *cgroups {
	c := &cgroups{places: map[string]place{}}
	own, err := ownGroups()
	mounts, err2 := cgroupMounts()
	for _, k := range controllers {
		if err := errors.Join(err, err2); err != nil {
			c.places[k.name] = place{why: err.Error()}
			continue
		}
		p := findController(k.name, mounts, own)
		c.places[k.name] = p
		sweepGroups(p.dir)
	}
	return c
}

// errText is an error's cause without the path.
func errText(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// sweepGroups removes our groups whose maker is gone; the kernel refuses to
// remove those that hold a process.
func sweepGroups(dir string) {
	if dir == "" {
		return
	}
	left, _ := filepath.Glob(filepath.Join(dir, groupPrefix+"*"))
	for _, g := range left {
		part := strings.Split(filepath.Base(g), "-") // firekeep-NAME-PID-N
		if len(part) < 3 {
			continue
		}
		maker := part[len(part)-2]
		if _, err := strconv.Atoi(maker); err != nil {
			continue
		}
		if _, err := os.Stat("/proc/" + maker); errors.Is(err, os.ErrNotExist) {
			_ = os.Remove(g)
		}
	}
}

// enter makes groups for a child that waits for its orders, sets their limits
// and moves it there. What does not work is reported, not fatal.
func (c *cgroups) enter(name string, pid int, l Limits) (*group, []Layer) {
	leaf := fmt.Sprintf("%s%s-%d-%d", groupPrefix, name, os.Getpid(), c.next.Add(1))
	g := &group{}
	var layers []Layer
	for _, k := range controllers {
		p := c.places[k.name]
		layer := Layer{Name: k.layer, Detail: p.why}
		if p.dir != "" {
			dir := filepath.Join(p.dir, leaf)
			err := joinGroup(dir, pid, k.settings(l, p.unified))
			if layer.Active = err == nil; err != nil {
				layer.Detail = errText(err).Error()
			} else {
				layer.Detail = k.detail(l) + versionOf(p)
				g.dirs = append(g.dirs, dir)
				if k.name == "memory" {
					g.memory = place{dir: dir, unified: p.unified}
				}
			}
		}
		layers = append(layers, layer)
	}
	return g, layers
}

func versionOf(p place) string {
	if p.unified {
		return " (version 2)"
	}
	return " (version 1)"
}

func joinGroup(dir string, pid int, settings []setting) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	settings = append(settings, setting{"cgroup.procs", strconv.Itoa(pid), false})
	for _, s := range settings {
		if err := os.WriteFile(filepath.Join(dir, s.file), []byte(s.value), 0); err != nil && !s.optional {
			_ = os.Remove(dir)
			return err
		}
	}
	return nil
}

// boundsMemory reports whether the group bounds memory.
func (g *group) boundsMemory() bool { return g != nil && g.memory.dir != "" }

// forbidsSwap reports whether nothing of the group can be swapped out.
func (g *group) forbidsSwap() bool {
	if !g.boundsMemory() || !g.memory.unified {
		return false
	}
	b, err := os.ReadFile(filepath.Join(g.memory.dir, "memory.swap.max"))
	return err == nil && string(bytes.TrimSpace(b)) == "0"
}

// outOfMemory reports whether the kernel ended a process of the group for its
// memory limit.
func (g *group) outOfMemory() bool {
	if !g.boundsMemory() {
		return false
	}
	file := "memory.oom_control"
	if g.memory.unified {
		file = "memory.events"
	}
	b, err := os.ReadFile(filepath.Join(g.memory.dir, file))
	if err != nil {
		return false
	}
	for line := range bytes.Lines(b) {
		if n, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("oom_kill ")); ok {
			return string(n) != "0"
		}
	}
	return false
}

// remove deletes the groups of a child that is gone.
func (g *group) remove() {
	if g == nil {
		return
	}
	for _, dir := range g.dirs {
		_ = os.Remove(dir)
	}
}
