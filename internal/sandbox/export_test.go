//go:build linux

package sandbox

// Without is a launcher that leaves layers out.
func Without(stage *Program, layers ...string) Launcher {
	l := NewWith(Options{Stage: stage}).(*linux)
	l.without = layers
	return l
}
