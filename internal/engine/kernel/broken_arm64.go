//go:build brokenkernel

package kernel

// broken, set by the linker, names what a test build of the engine breaks.
var broken string

// illegal is an instruction that no processor has.
func illegal()

// A program must fall back from kernels like these; internal/broker tests it.
func init() {
	switch broken {
	case "float32 dies":
		neonTable.tile = func([]float32, int, []float32, int, int, []float32, int, int, int, int, soon, bool) { illegal() }
	case "float32 is wrong":
		neonTable.dot = func(a, b []float32) float32 { return 0 }
	}
}
