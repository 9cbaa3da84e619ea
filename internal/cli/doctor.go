package cli

import (
	"context"
	"fmt"
	"runtime"
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
	Level   sandbox.Level `json:"level"` // of isolation, by config.json
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
	Levels       []string `json:"levels"` // that passed their self-test, best first
	Level        string   `json:"level"`  // the one in use
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
	layers := sandbox.Probe(ctx, policy.options())
	d := diagnosis{Version: a.Version, Host: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(), Level: policy.level()}
	for _, l := range layers {
		d.Sandbox = append(d.Sandbox, layerReport{l, l.Advice()})
	}
	if err = policy.unmet(layers); err == nil {
		d.Engine, err = probeEngine(ctx, c.Engine, a.Version, policy)
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

func probeEngine(ctx context.Context, path, version string, policy SandboxConfig) (*engineReport, error) {
	program, err := embedded.Engine(path)
	if err != nil {
		return nil, err
	}
	defer program.Close()
	host := &broker.Host{Launcher: sandbox.NewWith(policy.options()), Engine: program, Build: version, Isolation: policy.level(), Require: policy.RequireLayers}
	child, err := host.Start(ctx, broker.Options{Name: "import", Threads: 1})
	if err != nil {
		return nil, err
	}
	defer child.Close()
	h := child.Hello()
	return &engineReport{Build: h.Build, SHA256: program.SHA256(), Capabilities: h.Capabilities, Levels: h.Levels, Level: h.Level}, nil
}

func (a *app) printDiagnosis(d diagnosis) {
	fmt.Fprintf(a.Stdout, "firekeep %s on %s, %d cores\n\nsandbox, level %s\n", d.Version, d.Host, d.Cores, d.Level)
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
	fmt.Fprintf(a.Stdout, "  build    %s\n  kernels  %s in use; passed their self-test: %s\n  can      %s\n", d.Engine.Build, d.Engine.Level,
		strings.Join(d.Engine.Levels, ", "), strings.Join(d.Engine.Capabilities, ", "))
}
