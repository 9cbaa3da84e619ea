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
	var only *os.File
	if err == nil {
		only, err = seal(f)
	}
	_ = f.Close()
	if err != nil {
		return nil, err
	}
	return &Program{file: only, name: name, sha256: hex.EncodeToString(sum.Sum(nil))}, nil
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

// seal ends the writing of a program. The descriptor it returns can run the
// file and read it; no other can be had, since nobody may read the file: a
// program that its user cannot read runs with a memory that is not dumpable,
// from its first instruction on and whatever it asks for.
func seal(f *os.File) (*os.File, error) {
	only, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("sandbox: memory file: %w", err)
	}
	err = f.Chmod(0o111)
	if err == nil {
		err = EndWriting(f)
	}
	if err != nil {
		_ = only.Close()
		return nil, fmt.Errorf("sandbox: memory file: %w", err)
	}
	return only, nil
}
