package sandbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
)

// groupPrefix begins the names of our cgroups, so that those which a killed
// parent left can be found.
const groupPrefix = "firekeep-"

// cgroups are the places where groups for children can be made: one directory
// per hierarchy of version 1 that has a controller we want, or one of version 2.
type cgroups struct {
	memoryDir, pidsDir string // parent directories; "" = not available
	memoryWhy, pidsWhy string // why not
	unified            bool   // memory is a controller of version 2
	next               atomic.Int64
}

// group is one child's groups. A nil or empty group limits nothing.
type group struct {
	memoryDir, pidsDir string
	unified            bool
}

// newCgroups looks for writable hierarchies below the process's own groups and
// removes empty groups that an earlier process left.
func newCgroups() *cgroups {
	c := &cgroups{}
	own, err := ownGroups()
	mounts, err2 := cgroupMounts()
	if err = errors.Join(err, err2); err != nil {
		c.memoryWhy, c.pidsWhy = err.Error(), err.Error()
		return c
	}
	c.memoryDir, c.memoryWhy = findController("memory", mounts, own)
	c.pidsDir, c.pidsWhy = findController("pids", mounts, own)
	_, v1 := mounts["memory"]
	c.unified = !v1
	for _, dir := range []string{c.memoryDir, c.pidsDir} {
		sweepGroups(dir)
	}
	return c
}

// ownGroups reads /proc/self/cgroup: controller (or "" for version 2) to path.
func ownGroups() (map[string]string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	own := map[string]string{}
	for line := range strings.Lines(string(b)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		for controller := range strings.SplitSeq(part[1], ",") {
			own[controller] = part[2]
		}
	}
	return own, nil
}

// cgroupMounts reads /proc/self/mountinfo: controller (or "" for version 2) to
// the mount's root and point.
func cgroupMounts() (map[string][2]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	mounts := map[string][2]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		at := [2]string{left[3], left[4]}
		switch right[0] {
		case "cgroup2":
			mounts[""] = at
		case "cgroup":
			for option := range strings.SplitSeq(right[2], ",") {
				mounts[option] = at
			}
		}
	}
	return mounts, lines.Err()
}

// findController is the directory below which groups with this controller can
// be made, or why there is none.
func findController(name string, mounts map[string][2]string, own map[string]string) (dir, why string) {
	if at, ok := mounts[name]; ok {
		return writableGroup(at, own[name])
	}
	at, ok := mounts[""]
	if !ok {
		return "", "no cgroup file system is mounted"
	}
	dir, why = writableGroup(at, own[""])
	if dir == "" {
		return "", why
	}
	if !listed(filepath.Join(dir, "cgroup.controllers"), name) {
		return "", "the controller is not delegated to this process"
	}
	if !listed(filepath.Join(dir, "cgroup.subtree_control"), name) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0); err != nil {
			return "", fmt.Sprintf("the controller cannot be enabled for children (%v); start Firekeep in a delegated group of its own", errText(err))
		}
	}
	return dir, ""
}

func writableGroup(at [2]string, own string) (dir, why string) {
	rel, err := filepath.Rel(at[0], own)
	if err != nil || strings.HasPrefix(rel, "..") {
		rel = "."
	}
	dir = filepath.Join(at[1], rel)
	probe := filepath.Join(dir, groupPrefix+"probe-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(probe, 0o755); err != nil {
		return "", fmt.Sprintf("groups cannot be made (%v)", errText(err))
	}
	_ = os.Remove(probe)
	return dir, ""
}

// errText is an error's cause without the path.
func errText(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

func listed(file, word string) bool {
	b, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	for f := range strings.FieldsSeq(string(b)) {
		if f == word {
			return true
		}
	}
	return false
}

// sweepGroups removes our groups that hold no process; the kernel refuses to
// remove the others.
func sweepGroups(dir string) {
	if dir == "" {
		return
	}
	left, _ := filepath.Glob(filepath.Join(dir, groupPrefix+"*"))
	for _, g := range left {
		_ = os.Remove(g)
	}
}

// enter makes groups for a child that waits for its orders, sets their limits
// and moves it there. What does not work is reported, not fatal.
func (c *cgroups) enter(name string, pid int, l Limits) (*group, []Layer) {
	l = l.orDefault()
	leaf := fmt.Sprintf("%s%s-%d-%d", groupPrefix, name, os.Getpid(), c.next.Add(1))
	g := &group{unified: c.unified}
	memory := Layer{Name: "memory cgroup", Detail: c.memoryWhy}
	if c.memoryDir != "" {
		dir := filepath.Join(c.memoryDir, leaf)
		err := joinGroup(dir, pid, memorySettings(c.unified, l.MemoryBytes))
		memory.Active, memory.Detail = err == nil, limitDetail(l.MemoryBytes, err)
		if err == nil {
			g.memoryDir = dir
		}
	}
	pids := Layer{Name: "pids cgroup", Detail: c.pidsWhy}
	if c.pidsDir != "" {
		dir := filepath.Join(c.pidsDir, leaf)
		err := joinGroup(dir, pid, map[string]int64{"pids.max": int64(l.Threads)})
		pids.Active, pids.Detail = err == nil, limitDetail(int64(l.Threads), err)
		if err == nil {
			g.pidsDir = dir
		}
	}
	return g, []Layer{memory, pids}
}

func memorySettings(unified bool, limit int64) map[string]int64 {
	switch {
	case limit <= 0:
		return nil
	case unified:
		return map[string]int64{"memory.max": limit, "memory.swap.max": 0}
	}
	return map[string]int64{"memory.limit_in_bytes": limit}
}

func limitDetail(limit int64, err error) string {
	switch {
	case err != nil:
		return errText(err).Error()
	case limit == 0:
		return "no limit asked for"
	}
	return "at most " + strconv.FormatInt(limit, 10)
}

func joinGroup(dir string, pid int, settings map[string]int64) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for file, value := range settings {
		err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.FormatInt(value, 10)), 0)
		if err != nil && file != "memory.swap.max" { // absent where swap is not accounted
			_ = os.Remove(dir)
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		_ = os.Remove(dir)
		return err
	}
	return nil
}

// memory reports whether the group bounds memory.
func (g *group) memory() bool { return g != nil && g.memoryDir != "" }

// outOfMemory reports whether the kernel ended a process of the group for its
// memory limit.
func (g *group) outOfMemory() bool {
	if !g.memory() {
		return false
	}
	file := "memory.oom_control"
	if g.unified {
		file = "memory.events"
	}
	b, err := os.ReadFile(filepath.Join(g.memoryDir, file))
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
	for _, dir := range []string{g.memoryDir, g.pidsDir} {
		if dir != "" {
			_ = os.Remove(dir)
		}
	}
}
