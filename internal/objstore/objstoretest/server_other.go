//go:build !linux

package objstoretest

import "syscall"

func dieWithParent() *syscall.SysProcAttr { return nil }
