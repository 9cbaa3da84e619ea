package escapetest

import "golang.org/x/sys/unix"

func ioports(*Scene) error { return unix.Iopl(3) }

// int80 makes system call nr by the 32-bit gate.
func int80(nr uint32) uint32

// gates are other ways into the kernel than the one that is filtered.
var gates = []Attempt{
	{Name: "i386 gate", Group: "other gates", What: "call the kernel by the 32-bit gate", FilterOnly: true, Try: func(*Scene) error {
		if r := int32(int80(20)); r < 0 { // getpid there
			return unix.Errno(-r)
		}
		return nil
	}},
	{Name: "x32 gate", Group: "other gates", What: "call the kernel by x32 numbers", FilterOnly: true, Try: func(*Scene) error {
		return call(0x40000000 + unix.SYS_GETPID)
	}},
	{Name: "segments", Group: "other gates", What: "read its segment table (modify_ldt)", FilterOnly: true, Try: func(*Scene) error {
		var b [64]byte
		return call(unix.SYS_MODIFY_LDT, 0, ptr(&b[0]), 64)
	}},
	{Name: "old fork", Group: "other gates", What: "make a process by fork", FilterOnly: true, Try: func(*Scene) error {
		r, _, errno := unix.RawSyscall(unix.SYS_FORK, 0, 0, 0)
		if errno == 0 && r == 0 {
			exitNow()
		}
		if errno != 0 {
			return errno
		}
		return reap(int(r))
	}},
}
