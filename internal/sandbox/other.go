//go:build !linux

package sandbox

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/firekeep/firekeep/internal/rft"
)

// Init does nothing: only Linux starts children by way of itself.
func Init() {}

// New returns a launcher that refuses every child.
func New() Launcher { return refuser{} }

// NewWith returns the same.
func NewWith(Options) Launcher { return refuser{} }

type refuser struct{}

func (refuser) Start(context.Context, Spec) (Process, error) {
	return nil, rft.Errorf(rft.KindFailedPrecondition, "sandbox: this operating system has no launcher; use Linux")
}

// OnlyToRead cannot tell here; nothing starts anyway.
func OnlyToRead(*os.File) bool { return true }

// LoadProgram fails: there are no memory files.
func LoadProgram(string, io.Reader) (*Program, error) {
	return nil, errors.New("sandbox: programs need Linux")
}

// Probe reports that nothing is available.
func Probe(context.Context, Options) []Layer {
	return []Layer{{Name: "linux", Detail: "another operating system"}}
}
