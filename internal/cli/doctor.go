package cli

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/sandbox/embedded"
)

// doctorCmd says what this host gives, by trying: it starts a child in the
// sandbox and asks the engine which kernels passed their self-test.
type doctorCmd struct {
	Engine string `help:"Engine program instead of the one inside." placeholder:"PATH" hidden:""`
}

// diagnosis is what doctor prints.
type diagnosis struct {
	Version string        `json:"version"`
	Host    string        `json:"host"`
	Cores   int           `json:"cores"`
	Lacks   string        `json:"lacks,omitempty"` // what this processor has less of, or is not shown on it
	Level   sandbox.Level `json:"level"`           // of isolation, by config.json
	Sandbox []layerReport `json:"sandbox"`
	Engine  *engineReport `json:"engine,omitempty"`
	Problem string        `json:"problem,omitempty"`
}

// layerReport is a layer of the sandbox and, where it is missing, what to do.
type layerReport struct {
	sandbox.Layer
	Advice string `json:"advice,omitempty"`
}

type engineReport struct {
	Build        string   `json:"build"`
	SHA256       string   `json:"sha256"`
	Capabilities []string `json:"capabilities"`
	Levels       []string `json:"levels"` // that the processor claims, best first
	Level        string   `json:"level"`  // the best that passed its self-test
	GFLOPS       float64  `json:"gflops"` // of one thread at it, in float32

	BFloat16Levels []string `json:"bfloat16Levels"` // that the processor claims
	BFloat16       string   `json:"bfloat16"`       // the best that passed, "" = none
	Speedup        float64  `json:"bfloat16Speedup,omitempty"`
	// What steps and chats compute on by config.json, and why.
	Precision string `json:"precision"`
	Uses      string `json:"uses"`
	Reason    string `json:"reason"`
	// Notes say which levels are not used, and why.
	Notes []string `json:"notes,omitempty"`

	Threads int           `json:"threads"`
	Expect  []expectation `json:"expect"` // of a step, by model size
}

// Run implements a command.
func (c *doctorCmd) Run(a *app) error {
	ctx, cancel := context.WithTimeout(a.ctx, time.Minute)
	defer cancel()
	config, err := loadConfig(a.home)
	if err != nil {
		return err
	}
	policy := config.Sandbox
	options := policy.options()
	if options.Stage, err = embedded.Stage(); err != nil {
		return err
	}
	if options.Stage != nil {
		defer options.Stage.Close()
	}
	layers := sandbox.Probe(ctx, options)
	d := diagnosis{Version: a.Version, Host: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(), Lacks: lacks(runtime.GOARCH), Level: policy.level()}
	for _, l := range layers {
		d.Sandbox = append(d.Sandbox, layerReport{l, l.Advice()})
	}
	if err = policy.unmet(layers); err == nil {
		d.Engine, err = probeEngine(ctx, c.Engine, a.Version, config, openSpeedups(a.home, nil))
	}
	if err != nil {
		d.Problem = rft.PublicMessage(err)
	}
	if a.json {
		if e := a.printJSON(d); e != nil {
			return e
		}
	} else {
		a.printDiagnosis(d)
	}
	if err != nil {
		return &quiet{err, a.json}
	}
	return nil
}

// lacks says in a sentence what an architecture lacks of what amd64 has, "" =
// nothing.
func lacks(arch string) string {
	if arch == "amd64" {
		return ""
	}
	kernels := "the kernels are scalar"
	if arch == "arm64" {
		kernels = "the kernels for NEON are tested in an emulator and were never timed"
	}
	return fmt.Sprintf("%s: no products in bfloat16; %s; no test of the sandbox has run on this architecture", arch, kernels)
}

func probeEngine(ctx context.Context, path, version string, config Config, known *speedups) (*engineReport, error) {
	policy := config.Sandbox
	program, launcher, free, err := policy.programs(path)
	if err != nil {
		return nil, err
	}
	defer free()
	host := &broker.Host{Launcher: launcher, Engine: program, Build: version, Isolation: policy.level(), Require: policy.RequireLayers, Speedup: known.keep}
	child, err := host.Start(ctx, broker.Options{Name: "import", Threads: 1})
	if err != nil {
		return nil, err
	}
	defer child.Close()
	h := child.Hello()
	k, err := host.Kernels(ctx)
	if err != nil {
		return nil, err
	}
	choice, err := host.Choose(ctx, config.KernelLevel, config.precision())
	if err != nil {
		return nil, err
	}
	speedup := 1.
	if choice.Precision == broker.BFloat16 {
		speedup = max(k.Speedup, 1)
	}
	return &engineReport{Build: h.Build, SHA256: program.SHA256(), Capabilities: h.Capabilities, Levels: h.Levels, Level: k.Level, GFLOPS: k.GFLOPS,
		BFloat16Levels: slices.DeleteFunc(h.BFloat16Levels, func(l string) bool { return l == "go" }), BFloat16: k.BFloat16, Speedup: k.Speedup,
		Precision: choice.Precision, Uses: choice.Level, Reason: choice.Reason, Notes: k.Notes,
		Threads: config.threads(), Expect: expect(k.GFLOPS, config.threads(), speedup)}, nil
}

func (a *app) printDiagnosis(d diagnosis) {
	fmt.Fprintf(a.Stdout, "firekeep %s on %s, %d cores\n", d.Version, d.Host, d.Cores)
	if d.Lacks != "" {
		fmt.Fprintln(a.Stdout, d.Lacks)
	}
	fmt.Fprintf(a.Stdout, "\nsandbox, level %s\n", d.Level)
	for _, l := range d.Sandbox {
		mark := "no "
		if l.Active {
			mark = "yes"
		}
		fmt.Fprintf(a.Stdout, "  %s  %-40s %s\n", mark, l.Name, l.Detail)
		if l.Advice != "" {
			fmt.Fprintf(a.Stdout, "       %-40s -> %s\n", "", l.Advice)
		}
	}
	fmt.Fprintln(a.Stdout, "\nengine")
	if d.Engine == nil {
		fmt.Fprintf(a.Stdout, "  not started: %s\n", d.Problem)
		return
	}
	a.printEngine(d.Engine)
}

func (a *app) printEngine(e *engineReport) {
	claims := append(slices.Clone(e.BFloat16Levels), e.Levels...)
	fmt.Fprintf(a.Stdout, "  build      %s\n  processor  claims %s\n  float32    %s passed its self-test, %.0f GFLOPS per thread\n", e.Build,
		strings.Join(claims, ", "), e.Level, e.GFLOPS)
	if e.BFloat16 != "" {
		fmt.Fprintf(a.Stdout, "  bfloat16   %s passed its self-test, %.2f times as fast\n", e.BFloat16, e.Speedup)
	} else {
		fmt.Fprintln(a.Stdout, "  bfloat16   no unit for it works here")
	}
	for _, note := range e.Notes {
		fmt.Fprintf(a.Stdout, "             %s\n", note)
	}
	fmt.Fprintf(a.Stdout, "  precision  %s on %s in use: %s\n  can        %s\n", e.Precision, e.Uses, e.Reason, strings.Join(e.Capabilities, ", "))
	fmt.Fprintf(a.Stdout, "\nwhat to expect of a step in %s, 8 samples per prompt, 256 + 128 tokens, on %d threads\n", e.Precision, e.Threads)
	for _, x := range e.Expect {
		fmt.Fprintf(a.Stdout, "  %5.2f billion parameters  %6.0f tokens/s  %5.1f GB\n", x.Parameters/1e9, x.TokensPerSecond, float64(x.MemoryBytes)/1e9)
	}
}
