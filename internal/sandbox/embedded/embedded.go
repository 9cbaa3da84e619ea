// Package embedded finds the programs of children: inside this executable when
// it was built with the tag embedengine, otherwise the engine in the file
// firekeep-engine beside it.
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
		return fromMemory(fileName, engine)
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

// Stage loads the program that prepares children. It is nil in a build without
// programs inside, which prepares them itself.
func Stage() (*sandbox.Program, error) {
	if len(stage) == 0 {
		return nil, nil
	}
	return fromMemory("firekeep-stage", stage)
}
