package cli

import "syscall"

// forbidCores keeps the memory of the server, which sees rows, prompts and keys
// pass, out of core files. A limit of one byte is less than any core file has,
// and the one limit that the kernel heeds where it pipes cores to a program.
func forbidCores() {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{Cur: 1, Max: 1})
}
