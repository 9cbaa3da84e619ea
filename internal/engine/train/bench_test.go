package train

import (
	"context"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/rows"
)

// stepShape is the shape of an optimiser batch of synthetic tokens.
type stepShape struct {
	groups, samples, prompt, completion int
}

// BenchmarkStep measures one GRPO update of the demo model with LoRA r16 on all
// linear layers. tok/s counts prompt and completion of every sample; peakMB is
// the process's, weights included; cpu-s/op its processor time.
func BenchmarkStep(b *testing.B) {
	b.Run("1x8x256+128", func(b *testing.B) { benchmarkStep(b, stepShape{1, 8, 256, 128}) })
	b.Run("4x8x256+128", func(b *testing.B) { benchmarkStep(b, stepShape{4, 8, 256, 128}) })
	b.Run("2x8x1024+128", func(b *testing.B) { benchmarkStep(b, stepShape{2, 8, 1024, 128}) })
	b.Run("8x1x256+128", func(b *testing.B) { benchmarkStep(b, stepShape{8, 1, 256, 128}) })
}

func benchmarkStep(b *testing.B, shape stepShape) {
	m := imported(b, demoGGUF(b))
	debug.FreeOSMemory()
	spec := engine.DefaultSpec("GRPO")
	spec.LoraRank, spec.LoraAlpha, spec.Baseline = 16, 32, "constant"
	spec.BatchSize, spec.Epochs, spec.LearningRate, spec.MaxContextLength = 1<<30, 1, 1e-5, 2048
	r := rand.New(rand.NewPCG(1, 2))
	var groups []*rows.Encoded
	for range shape.groups {
		g := &rows.Encoded{Line: 1}
		shared := randomIDs(r, m.Config.Vocab, shape.prompt)
		for i := range shape.samples {
			s := rows.EncodedSample{IDs: append(append([]int32{}, shared...), randomIDs(r, m.Config.Vocab, shape.completion)...), Prompt: shape.prompt, Reward: 0.25 + float64(i)}
			s.Scored = make([]bool, len(s.IDs))
			for t := shape.prompt; t < len(s.IDs); t++ {
				s.Scored[t] = true
			}
			g.Samples = append(g.Samples, s)
		}
		groups = append(groups, g)
	}
	threads := runtime.NumCPU()
	trainer, err := New(kernel.NewPool(threads), m, spec, Options{BaseName: "base"})
	if err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	debug.FreeOSMemory()
	os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // resets the peak, which the import of the model raised
	cpu := cpuSeconds()
	tokens := shape.groups * shape.samples * (shape.prompt + shape.completion)
	for b.Loop() {
		trainer.totals, trainer.at = totals{}, cursor{} // every iteration is a first update: no pass for the old policy
		log := &recorder{}
		if _, err := trainer.Run(context.Background(), sourceOf(groups, 1, 0), log); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(tokens*b.N)/b.Elapsed().Seconds(), "tok/s")
	b.ReportMetric((cpuSeconds()-cpu)/float64(b.N), "cpu-s/op")
	b.ReportMetric(peakMB(), "peakMB")
	b.Logf("kernel level %v, %d threads", kernel.Active(), threads)
}

// cpuSeconds is what all threads used so far: on a busy machine it says more
// than the clock.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// peakMB is the highest resident size of this process, 0 where unknown.
func peakMB() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb / 1024
		}
	}
	return 0
}
