//go:build !linux

package catalog

import (
	"errors"
	"os"
)

// memory needs Linux: private bases do not run elsewhere.
type memory struct{ locked bool }

var errNoMemory = errors.New("memory files need Linux")

func newMemory(int64) (*memory, error)       { return nil, errNoMemory }
func (*memory) Write([]byte) (int, error)    { return 0, errNoMemory }
func (*memory) seal() error                  { return errNoMemory }
func (*memory) duplicate() (*os.File, error) { return nil, errNoMemory }
func (*memory) close()                       {}
