//go:build embedengine

package embedded

import (
	"bytes"
	_ "embed"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
)

// engine is cmd/firekeep-engine as `make build` compiled it, stage is
// cmd/firekeep-stage.
var (
	//go:embed engine.bin
	engine []byte
	//go:embed stage.bin
	stage []byte
)

func fromMemory(name string, program []byte) (*sandbox.Program, error) {
	p, err := sandbox.LoadProgram(name, bytes.NewReader(program))
	if err != nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "engine: cannot load the embedded program %s", name)
	}
	return p, nil
}
