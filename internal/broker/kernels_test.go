package broker_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/wire"
)

// brokenEngine builds the engine with a kernel that is broken on purpose.
func brokenEngine(t *testing.T, how string) *sandbox.Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "firekeep-engine")
	build := exec.Command("go", "build", "-tags", "brokenkernel", "-ldflags", "-X 'github.com/firekeep/firekeep/internal/engine/kernel.broken="+how+"'",
		"-o", path, "github.com/firekeep/firekeep/cmd/firekeep-engine")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p, err := sandbox.OpenProgram(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestBrokenKernelsAreNotUsed: a level whose self-test fails, or ends its
// process, or that the operating system refuses, is left out and named; the next
// one is used.
func TestBrokenKernelsAreNotUsed(t *testing.T) {
	levels := kernel.Detect()
	if len(levels) < 2 {
		t.Skip("this processor has no level that the test builds break")
	}
	fast, next := levels[0].String(), levels[1].String()
	halves := kernel.DetectBF16()
	best, after := halves[0].String(), ""
	if len(halves) > 2 {
		after = halves[1].String()
	}
	for _, c := range []struct {
		how, level, bfloat16, note string
		needs                      kernel.Level
	}{
		{"float32 dies", next, best, fast + " is not used: its self-test ended the process (SIGILL: illegal instruction)", levels[0]},
		{"float32 is wrong", next, best, fast + " is not used: kernel level " + fast + ": Dot", levels[0]},
		{"bfloat16 dies", "avx512", after, "avx512bf16 is not used: its self-test ended the process (SIGILL: illegal instruction)", kernel.LevelAVX512BF16},
		{"bfloat16 is wrong", "avx512", after, "avx512bf16 is not used: kernel level avx512bf16: turning", kernel.LevelAVX512BF16},
		// The system call passes the sandbox' filter: the kernel itself says no.
		{"bfloat16 asks for tiles", "avx512", after, "does not permit the tile registers: operation not supported", kernel.LevelAVX512BF16},
		{"bfloat16 is refused", "avx512", after, "operation not permitted", kernel.LevelAVX512BF16},
	} {
		t.Run(c.how, func(t *testing.T) {
			if c.needs == kernel.LevelAVX512BF16 && halves[0] != c.needs {
				t.Skip("this processor's best level for bfloat16 is not the one that the test build breaks")
			}
			h := host(t)
			h.Engine = brokenEngine(t, c.how)
			k, err := h.Kernels(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if best == "go" {
				c.bfloat16 = ""
			}
			if k.Level != c.level || k.BFloat16 != c.bfloat16 {
				t.Errorf("uses %q and %q, want %q and %q", k.Level, k.BFloat16, c.level, c.bfloat16)
			}
			if !slices.ContainsFunc(k.Notes, func(n string) bool { return strings.Contains(n, c.note) }) {
				t.Errorf("notes %q do not say %q", k.Notes, c.note)
			}
			choice, err := h.Choose(t.Context(), "", broker.PrecisionAuto)
			if err != nil || c.bfloat16 == "" && (choice.Level != c.level || choice.Precision != broker.Float32) {
				t.Errorf("chooses %+v, %v", choice, err)
			}
		})
	}
}

// TestUntestedLevelComputesNothing: a child that is told to use a level tests it first,
// beside what it reads meanwhile, and refuses its task when that fails.
func TestUntestedLevelComputesNothing(t *testing.T) {
	levels := kernel.Detect()
	if len(levels) < 2 {
		t.Skip("this processor has no level that the test builds break")
	}
	h := host(t)
	h.Engine = brokenEngine(t, "float32 is wrong")
	w, _ := tinyWeights(t)
	child := func() *broker.Child {
		c, err := h.Start(t.Context(), broker.Options{Name: "step", Weights: w, Level: levels[0].String()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	_, _, trained := child().Train(t.Context(), stepInput(2), broker.TrainSink{})
	_, sampled := child().StartSampling(t.Context(), wire.SampleTask{MaxSequences: 1, MaxContext: 64, CacheBytes: 16 << 20})
	for what, err := range map[string]error{"a step": trained, "sampling": sampled} {
		if err == nil || !strings.Contains(rft.PublicMessage(err), "Dot") {
			t.Errorf("%s on a level that fails its self-test: %v", what, err)
		}
	}
}

// TestKernelsOfThisHost: what was chosen passed, and what was asked for and is
// not there is refused.
func TestKernelsOfThisHost(t *testing.T) {
	h := host(t)
	k, err := h.Kernels(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", k)
	if want := kernel.Detect()[0].String(); k.Level != want || len(k.Notes) == 0 && k.BFloat16 == "" && len(kernel.DetectBF16()) > 1 {
		t.Errorf("uses %+v, the processor's best is %s", k, want)
	}
	c, err := h.Choose(t.Context(), "", broker.BFloat16)
	if k.BFloat16 == "" {
		if rft.KindOf(err) != rft.KindFailedPrecondition {
			t.Errorf("bfloat16 without a unit gives %+v, %v", c, err)
		}
	} else if err != nil || c.Level != k.BFloat16 || c.Precision != broker.BFloat16 {
		t.Errorf("bfloat16 gives %+v, %v", c, err)
	}
	for _, ask := range []struct {
		level, precision, wantLevel, wantPrecision string
	}{
		{"", broker.Float32, k.Level, broker.Float32}, {"", "", k.Level, broker.Float32}, {"go", "", "go", broker.Float32}, {"go", broker.BFloat16, "go", broker.BFloat16},
		{"avx512bf16", broker.PrecisionAuto, "avx512bf16", broker.BFloat16},
	} {
		if c, err := h.Choose(t.Context(), ask.level, ask.precision); err != nil || c.Level != ask.wantLevel || c.Precision != ask.wantPrecision || c.Reason == "" {
			t.Errorf("%q in %q gives %+v, %v", ask.level, ask.precision, c, err)
		}
	}
	for kept, want := range map[float64]string{1.1: broker.Float32, 1.2: broker.BFloat16} { // whatever was measured now
		h.Speedup = func(string, float64) float64 { return kept }
		c, err := h.Choose(t.Context(), "", broker.PrecisionAuto)
		if k.BFloat16 != "" && (err != nil || c.Precision != want) {
			t.Errorf("auto, with a kept speed of %v, gives %+v, %v", kept, c, err)
		}
	}
	if _, err := h.Choose(t.Context(), "amx", broker.Float32); rft.KindOf(err) != rft.KindFailedPrecondition {
		t.Errorf("tiles in float32: %v", err)
	}
}
