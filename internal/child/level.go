package child

import (
	"slices"
	"time"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/wire"
)

// chooseLevel sets level and precision of the process: the level that the task
// names, else the best one; either must pass its self-test here and now, on
// whatever machine this process was started, before anything is computed: who
// computes calls proven first. Imports and validations compute nothing.
func (w *worker) chooseLevel(t wire.Task) error {
	candidates := w.levels
	switch t.Precision {
	case "", wire.Float32:
	case wire.BFloat16:
		w.bf16, candidates = true, w.halves
	default:
		return &engine.Problem{Rule: "precision", Message: "the task names a precision that this engine does not know"}
	}
	if t.Level == "" && w.bf16 { // the oracle is for comparisons only
		candidates = slices.DeleteFunc(slices.Clone(candidates), func(l kernel.Level) bool { return l == kernel.LevelGo })
	}
	if t.Level != "" {
		l, err := kernel.ParseLevel(t.Level)
		if err != nil || !slices.Contains(candidates, l) {
			return &engine.Problem{Rule: "kernel-level", Message: "this host does not have the kernel level that the task names in the precision that it names"}
		}
		candidates = []kernel.Level{l}
	}
	if t.Train == nil && t.Sample == nil && t.Probe == nil {
		return nil
	}
	w.proof = make(chan struct{})
	go func() {
		defer close(w.proof)
		w.unproven = w.contained(func() error { return firstOf(candidates) })
	}()
	return nil
}

// firstOf uses the first level that passes its self-test.
func firstOf(candidates []kernel.Level) error {
	err := error(&engine.Problem{Rule: "precision", Message: "this host has no unit for bfloat16"})
	for _, l := range candidates {
		failed := test(l)
		if failed == nil {
			kernel.Use(l)
			return nil
		}
		err = &engine.Problem{Rule: "self-test", Message: failed.Error()}
	}
	return err
}

// proven waits until the level of the process has passed its self-test.
func (w *worker) proven() error {
	<-w.proof
	return w.unproven
}

// test runs a level's self-test. The oracle has nothing to be compared with.
func test(l kernel.Level) error {
	if l == kernel.LevelGo {
		return nil
	}
	return kernel.SelfTest(l)
}

// precision is how results name it.
func (w *worker) precision() string {
	if w.bf16 {
		return wire.BFloat16
	}
	return wire.Float32
}

// probe measures the level that was chosen: its self-test has passed.
func (w *worker) probe() (any, error) {
	done := wire.ProbeDone{Level: kernel.Active().String(), Precision: w.precision()}
	for range probeRounds { // in turns, since the machine's speed drifts
		done.Float32GFLOPS = max(done.Float32GFLOPS, w.speed(false))
		if w.bf16 {
			done.GFLOPS = max(done.GFLOPS, w.speed(true))
		}
	}
	if !w.bf16 {
		done.GFLOPS, done.Float32GFLOPS = done.Float32GFLOPS, 0
	}
	return done, nil
}

// The measured product has the shape of a small model's MLP for 128 tokens.
const (
	probeRounds                       = 5
	probeRows, probeOuts, probeInputs = 128, 1536, 576
)

// speed is the rate of a forward and a backward product.
func (w *worker) speed(bf16 bool) float64 {
	weights := &kernel.Packed{N: probeOuts, K: probeInputs, Data: make([]float32, kernel.PackedLen(probeOuts, probeInputs))}
	if bf16 {
		weights.BF16 = make([]uint16, kernel.BF16Len(probeOuts, probeInputs))
	}
	x, y := make([]float32, probeRows*probeInputs), make([]float32, probeRows*probeOuts)
	begin := time.Now()
	w.pool.Forward(y, probeOuts, x, probeInputs, weights, probeRows, false)
	w.pool.Backward(x, probeInputs, y, probeOuts, weights, probeRows, false)
	return 4e-9 * probeRows * probeOuts * probeInputs / time.Since(begin).Seconds()
}
