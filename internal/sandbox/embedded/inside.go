//go:build embedengine

package embedded

import (
	"bytes"
	_ "embed"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
)

// engine is cmd/firekeep-engine as `make build` compiled it.
//
//go:embed engine.bin
var engine []byte

func fromMemory() (*sandbox.Program, error) {
	p, err := sandbox.LoadProgram(fileName, bytes.NewReader(engine))
	if err != nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "engine: cannot load the embedded program")
	}
	return p, nil
}
