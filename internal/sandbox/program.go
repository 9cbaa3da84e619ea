package sandbox

import "os"

// Program is an executable held in a sealed memory file: nobody can change it
// between the check and the start, and no path leads to it. It is safe for use
// by several goroutines.
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

// OpenProgram loads the executable at path.
func OpenProgram(path string) (*Program, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return LoadProgram(path, f)
}
