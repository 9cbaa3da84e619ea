package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxProgramBytes bounds what LoadProgram keeps in memory.
const maxProgramBytes = 512 << 20

// LoadProgram copies a statically linked executable into a sealed memory file.
func LoadProgram(name string, r io.Reader) (*Program, error) {
	f, err := memfile("firekeep-program")
	if err != nil {
		return nil, err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(r, maxProgramBytes+1))
	if err == nil && n > maxProgramBytes {
		err = fmt.Errorf("sandbox: program %s is larger than %d bytes", name, maxProgramBytes)
	}
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &Program{file: f, name: name, sha256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// memfile makes an empty memory file that may be sealed and executed. Kernels
// before 6.3 do not know the flag that says so and allow it anyway.
func memfile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("sandbox: memory file: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
