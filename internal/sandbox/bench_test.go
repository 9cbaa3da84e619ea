//go:build linux

package sandbox_test

import (
	"context"
	"os"
	"testing"

	"github.com/firekeep/firekeep/internal/sandbox"
)

// BenchmarkStart is the whole life of a child that ends at once, through every
// layer; "start-ms" is the part until its program runs.
func BenchmarkStart(b *testing.B) {
	launcher := product()
	ready := 0.0
	for b.Loop() {
		p, err := launcher.Start(context.Background(), sandbox.Spec{Name: "bench", Program: probe, Args: []string{"probe", "hello"}, Limits: sandbox.Limits{MemoryBytes: 1 << 30, CPUs: 2}})
		if err != nil {
			b.Fatal(err)
		}
		ready += p.Report().Took.Seconds() * 1000
		if exit := p.Wait(); !exit.OK() {
			b.Fatal(exit)
		}
	}
	b.ReportMetric(ready/float64(b.N), "start-ms")
}

// gvisorPath is where runsc lies, "" without.
var gvisorPath = os.Getenv("FIREKEEP_RUNSC")
