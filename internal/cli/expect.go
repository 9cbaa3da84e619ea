package cli

import "runtime"

// What a step should reach on this host, by the rates that its self-test
// measured: an orientation before the first job, not a promise.

// expectation is the speed and the memory of a step of a model of some size.
type expectation struct {
	Parameters      float64 `json:"parameters"`
	TokensPerSecond float64 `json:"tokensPerSecond"` // prompt and completion of every sample
	MemoryBytes     int64   `json:"memoryBytes"`     // weights included
}

const (
	// stepShare is the part of the kernels' rate that a whole step reaches
	// (docs/performance.md).
	stepShare = 0.7
	// unroundedShare is the part of a step in float32 that takes as long in bfloat16:
	// measured with AMX, where products are 5.7 times as fast and the step is 2.1 times.
	unroundedShare = 0.36
	// flopPerParameter is the work per token and parameter of a step with 8
	// samples per prompt, 256 + 128 tokens: 4 (forward, and the gradient of the
	// input) for the 1280 of 3072 tokens that are not shared, and a fifth more
	// for LoRA, attention and a head that sees completions only.
	flopPerParameter = 4 * 1280. / 3072 * 1.2
	// bytesPerParameter holds float32 weights and what grows with them: acts of
	// 512 tokens, LoRA with its moments.
	bytesPerParameter = 4 * 1.35
	programBytes      = 200 << 20
)

// expect says what a step of models of common sizes should reach with gflops
// per thread in float32, and products that are speedup times as fast, 1 = float32.
func expect(gflops float64, threads int, speedup float64) []expectation {
	var out []expectation
	gflops /= unroundedShare + (1-unroundedShare)/speedup
	for _, parameters := range []float64{135e6, 0.5e9, 1.7e9} {
		out = append(out, expectation{Parameters: parameters,
			TokensPerSecond: gflops * 1e9 * float64(threads) * stepShare / (flopPerParameter * parameters),
			MemoryBytes:     int64(bytesPerParameter*parameters) + programBytes})
	}
	return out
}

// threads is how many cores the engine's children share.
func (c Config) threads() int {
	if c.Cores > 0 {
		return min(c.Cores, runtime.NumCPU())
	}
	return runtime.NumCPU()
}
