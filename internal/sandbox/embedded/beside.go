//go:build !embedengine

package embedded

import "github.com/firekeep/firekeep/internal/sandbox"

var engine []byte

func fromMemory() (*sandbox.Program, error) { panic("no engine inside this build") }
