//go:build linux

package sandbox

// Without is a launcher that leaves layers out.
func Without(layers ...string) Launcher {
	l := New().(*linux)
	l.without = layers
	return l
}
