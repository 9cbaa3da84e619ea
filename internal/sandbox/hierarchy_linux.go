package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

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

// findController is where groups with this controller can be made.
func findController(name string, mounts map[string][2]string, own map[string]string) place {
	if at, ok := mounts[name]; ok {
		dir, why := writableGroup(at, own[name])
		return place{dir: dir, why: why}
	}
	at, ok := mounts[""]
	if !ok {
		return place{why: "no cgroup file system is mounted"}
	}
	dir, why := writableGroup(at, own[""])
	if dir != "" {
		why = enableController(dir, name)
	}
	if why != "" {
		return place{why: why, unified: true}
	}
	return place{dir: dir, unified: true}
}

// enableController lets groups below dir, of version 2, have the controller; it
// returns why they cannot.
func enableController(dir, name string) (why string) {
	if !listed(filepath.Join(dir, "cgroup.controllers"), name) {
		return "the controller is not delegated to this process"
	}
	control := filepath.Join(dir, "cgroup.subtree_control")
	if listed(control, name) {
		return ""
	}
	err := os.WriteFile(control, []byte("+"+name), 0)
	if errors.Is(err, unix.EBUSY) && stepAside(dir) == nil {
		// A group that bounds others may hold no process itself.
		err = os.WriteFile(control, []byte("+"+name), 0)
	}
	if err != nil {
		return fmt.Sprintf("the controller cannot be enabled for children (%v)", errText(err))
	}
	return ""
}

// stepAside moves this process to a group of its own below dir, when it is
// alone in dir: others are not ours to move.
func stepAside(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	self := strconv.Itoa(os.Getpid())
	if !slices.Equal(strings.Fields(string(b)), []string{self}) {
		return unix.EBUSY
	}
	own := filepath.Join(dir, groupPrefix+"serve")
	if err := os.Mkdir(own, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte(self), 0)
}

func writableGroup(at [2]string, own string) (dir, why string) {
	rel, err := filepath.Rel(at[0], own)
	if err != nil || strings.HasPrefix(rel, "..") {
		rel = "."
	}
	dir = filepath.Join(at[1], rel)
	// A process that stepped aside makes its groups beside its own.
	if filepath.Base(dir) == groupPrefix+"serve" {
		dir = filepath.Dir(dir)
	}
	probe := filepath.Join(dir, groupPrefix+"probe-"+strconv.Itoa(os.Getpid())+"-0")
	if err := os.Mkdir(probe, 0o755); err != nil {
		return "", fmt.Sprintf("groups cannot be made (%v)", errText(err))
	}
	_ = os.Remove(probe)
	return dir, ""
}

func listed(file, word string) bool {
	b, err := os.ReadFile(file)
	return err == nil && slices.Contains(strings.Fields(string(b)), word)
}
