// Command firekeep-engine is the sandboxed main: it computes what it is told
// over its standard input and output and can do nothing else. It reads no
// environment, no arguments and no file.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/firekeep/firekeep/internal/child"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/sandbox/narrow"
)

// version is set by the linker.
var version = "unknown"

// gcPercent: the live heap is small beside activations and weights, which the
// collector does not see, so collecting early costs little and keeps it small.
const gcPercent = 50

func main() {
	if err := run(); err != nil {
		// The broker was told over the wire; the text is for a person who runs
		// this program by hand.
		fmt.Fprintln(os.Stderr, "firekeep-engine:", err)
		os.Exit(3)
	}
}

func run() error {
	if err := narrow.Self(); err != nil {
		return err
	}
	debug.SetGCPercent(gcPercent)
	return child.Run(context.Background(), stdio{}, child.Options{Build: version, Levels: kernel.Detect(), BFloat16: kernel.DetectBF16()})
}

// stdio is the connection: standard input and output.
type stdio struct{}

func (stdio) Read(p []byte) (int, error)  { return os.Stdin.Read(p) }
func (stdio) Write(p []byte) (int, error) { return os.Stdout.Write(p) }
func (stdio) Close() error                { return errors.Join(os.Stdin.Close(), os.Stdout.Close()) }
