package cli

import (
	"fmt"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
)

// doctorCmd says what this host gives.
type doctorCmd struct{}

// Run implements a command.
func (doctorCmd) Run(a *app) error {
	return rft.Errorf(rft.KindUnimplemented, "not yet")
}

var _ = fmt.Sprint
var _ = sandbox.Probe
