package catalog

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/firekeep/firekeep/internal/sandbox"
)

// memory is a file that exists in memory only. It is locked there before the
// first byte comes, so that nothing of it is ever written to swap, is left out of
// core dumps, and can be changed by nobody once it is sealed.
type memory struct {
	writer *os.File // until it is sealed
	reader *os.File
	pages  []byte // our mapping, which holds the lock
	locked bool
}

// newMemory makes a memory file of size bytes.
func newMemory(size int64) (*memory, error) {
	fd, err := unix.MemfdCreate("firekeep-weights", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("firekeep-weights", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("memory file: %w", err)
	}
	m := &memory{writer: os.NewFile(uintptr(fd), "weights")}
	if err := m.prepare(size); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *memory) prepare(size int64) error {
	if err := m.writer.Truncate(size); err != nil {
		return err
	}
	// Children get a descriptor that was opened for reading: kernels before 6.7
	// let only such be mapped shared once writing is sealed.
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", m.writer.Fd()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("memory file: %w", err)
	}
	m.reader = os.NewFile(uintptr(fd), "weights")
	if m.pages, err = unix.Mmap(fd, 0, int(size), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("memory file: map: %w", err)
	}
	_ = unix.Madvise(m.pages, unix.MADV_DONTDUMP) // a core dump of ours is forbidden already
	m.locked = unix.Mlock(m.pages) == nil
	return nil
}

// Write implements io.Writer.
func (m *memory) Write(p []byte) (int, error) { return m.writer.Write(p) }

// seal ends writing for good.
func (m *memory) seal() error {
	err := sandbox.EndWriting(m.writer)
	if err != nil {
		return fmt.Errorf("memory file: seal: %w", err)
	}
	err = m.writer.Close()
	m.writer = nil
	return err
}

// duplicate is another descriptor of the file, the caller's to close.
func (m *memory) duplicate() (*os.File, error) {
	fd, err := unix.FcntlInt(m.reader.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("memory file: %w", err)
	}
	return os.NewFile(uintptr(fd), "weights"), nil
}

// close gives the memory back, as far as no child maps it.
func (m *memory) close() {
	if m.pages != nil {
		_ = unix.Munmap(m.pages) // which also ends the lock
		m.pages = nil
	}
	for _, f := range []*os.File{m.writer, m.reader} {
		if f != nil {
			_ = f.Close()
		}
	}
	m.writer, m.reader = nil, nil
}
