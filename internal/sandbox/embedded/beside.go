//go:build !embedengine

package embedded

import "github.com/firekeep/firekeep/internal/sandbox"

var engine, stage []byte

func fromMemory(string, []byte) (*sandbox.Program, error) { panic("no program inside this build") }
