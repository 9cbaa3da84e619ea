// Package embedded finds the engine program: inside this executable when it was
// built with the tag embedengine, otherwise in the file firekeep-engine beside it.
package embedded

import (
	"os"
	"path/filepath"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
)

// fileName is the engine's name beside the main program.
const fileName = "firekeep-engine"

// Engine loads the engine program into a sealed memory file. Load it once and
// share it. path, when not "", is an operator's choice and overrides both.
func Engine(path string) (*sandbox.Program, error) {
	if path == "" && len(engine) > 0 {
		return fromMemory()
	}
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, rft.Wrap(rft.KindFailedPrecondition, err, "engine: cannot tell where this program lies")
		}
		path = filepath.Join(filepath.Dir(self), fileName)
	}
	p, err := sandbox.OpenProgram(path)
	if err != nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "engine: cannot load %s; build it with `make build` or put it beside firekeep", path)
	}
	return p, nil
}
