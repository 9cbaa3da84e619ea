//go:build brokenkernel

package kernel

import "syscall"

// broken, set by the linker, names what a test build of the engine breaks.
var broken string

// illegal is an instruction that no processor has.
func illegal()

// A program must fall back from kernels like these; internal/broker tests it.
func init() {
	best := &avx2Table
	if Detect()[0] == LevelAVX512 {
		best = &avx512Table
	}
	switch broken {
	case "float32 dies":
		best.tile = func([]float32, int, []float32, int, int, []float32, int, int, int, int, pile, soon, bool) { illegal() }
	case "float32 is wrong":
		best.dot = func(a, b []float32) float32 { return 0 }
	case "bfloat16 dies":
		dies := avx512BF16
		dies.strip = func([]float32, int, []uint16, int, []uint16, int, int, int, int, bool, ahead) { illegal() }
		avx512BF16Table.bf16 = &dies
	case "bfloat16 is wrong":
		wrong := avx512BF16
		wrong.turn = func(dst, src []uint16) { copy(dst, src) }
		avx512BF16Table.bf16 = &wrong
	case "bfloat16 is refused":
		refused := avx512BF16
		refused.permit = func() error { return syscall.EPERM }
		avx512BF16Table.bf16 = &refused
	case "bfloat16 asks for tiles":
		asks := avx512BF16
		asks.permit = permitAMX
		avx512BF16Table.bf16 = &asks
	}
}
