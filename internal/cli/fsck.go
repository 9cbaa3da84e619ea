package cli

import "github.com/firekeep/firekeep/internal/rft"

// fsckCmd verifies a home.
type fsckCmd struct{}

// Run implements a command.
func (fsckCmd) Run(a *app) error { return rft.Errorf(rft.KindUnimplemented, "not yet") }
