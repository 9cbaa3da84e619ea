package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// firstToDie is a child's oom_score_adj: when the host itself runs out of
// memory, the kernel ends a child before anything else.
const firstToDie = "900"

// hostMemory is the default limit of a child with a memory group: what the host
// has, less a sixteenth, so that a child ends before the host suffers.
func hostMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 1 << 62
	}
	return int64(uint64(info.Totalram) * uint64(info.Unit) / 16 * 15)
}

// swapLayer says whether pages of the child can reach a swap device.
func swapLayer(g *group) Layer {
	l := Layer{Name: LayerNoSwap}
	devices, err := swapDevices("/proc/swaps")
	switch {
	case g.forbidsSwap():
		l.Active, l.Detail = true, "by the memory cgroup"
	case err != nil:
		l.Detail = errText(err).Error()
	case devices == 0:
		l.Active, l.Detail = true, "this host has no swap on"
	default:
		l.Detail = fmt.Sprintf("%d swap devices are on", devices)
	}
	return l
}

// swapDevices counts the lines of /proc/swaps after its heading. A kernel
// without swap has no such file.
func swapDevices(path string) (int, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return max(strings.Count(string(b), "\n")-1, 0), nil
}

// dieFirst makes the process the kernel's choice when memory ends.
func dieFirst(pid int) Layer {
	err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(firstToDie), 0)
	if err != nil {
		return Layer{Name: LayerFirstToDie, Detail: errText(err).Error()}
	}
	return Layer{Name: LayerFirstToDie, Active: true, Detail: "when the host's memory ends"}
}

// EndWriting seals a memory file: nobody changes it any more. The kernel says EBUSY
// while somebody holds a page of it, and that may be the kernel itself, which moves
// pages about.
func EndWriting(f *os.File) error {
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	for tries := 0; ; tries++ {
		_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals)
		if !errors.Is(err, unix.EBUSY) || tries == 40 {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// OnlyToRead reports whether who holds the descriptor cannot change the file: it
// was opened to read, or the file is sealed against writing.
func OnlyToRead(f *os.File) bool {
	if mode, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); err == nil && mode&unix.O_ACCMODE == unix.O_RDONLY {
		return true
	}
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	return err == nil && seals&unix.F_SEAL_WRITE != 0
}
