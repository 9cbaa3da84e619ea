package sandbox

import "os"

// Program is an executable held in a sealed memory file: nobody can change it
// between the check and the start, and no path leads to it.
type Program struct {
	file   *os.File
	name   string
	sha256 string
}

// Name is the name given at load.
func (p *Program) Name() string { return p.name }

// SHA256 is the digest of the executable in hex.
func (p *Program) SHA256() string { return p.sha256 }

// Close frees the memory once no child runs it any more.
func (p *Program) Close() error { return p.file.Close() }
