package cli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/sandbox/embedded"
)

// SandboxConfig is what every engine child must have. Jobs and deployments are
// refused where the host cannot give it.
type SandboxConfig struct {
	// Isolation is "process" (default) or "gvisor".
	Isolation string `json:"isolation"`
	// RequireLayers names layers that must hold, as `firekeep doctor` calls them.
	RequireLayers []string `json:"requireLayers"`
	// GVisor is the path of runsc; default none.
	GVisor string `json:"gvisor"`
}

// check returns the field that is wrong and why, or "".
func (c SandboxConfig) check() (field, why string) {
	if level, known := sandbox.ParseLevel(c.Isolation); !known || level == sandbox.LevelVM {
		return "sandbox.isolation", fmt.Sprintf("must be %q or %q", sandbox.LevelProcess, sandbox.LevelGVisor)
	}
	for i, name := range c.RequireLayers {
		if !slices.Contains(sandbox.Layers(), name) {
			return fmt.Sprintf("sandbox.requireLayers[%d]", i), "must be one of: " + strings.Join(sandbox.Layers(), "; ")
		}
	}
	if c.GVisor != "" && !filepath.IsAbs(c.GVisor) {
		return "sandbox.gvisor", "must be an absolute path"
	}
	return "", ""
}

func (c SandboxConfig) options() sandbox.Options { return sandbox.Options{GVisor: c.GVisor} }

// programs are the engine and the launcher of its children. close frees both.
func (c SandboxConfig) programs(enginePath string) (engine *sandbox.Program, launcher sandbox.Launcher, close func(), err error) {
	if engine, err = embedded.Engine(enginePath); err != nil {
		return nil, nil, nil, err
	}
	o := c.options()
	if o.Stage, err = embedded.Stage(); err != nil {
		engine.Close()
		return nil, nil, nil, err
	}
	return engine, sandbox.NewWith(o), func() {
		engine.Close()
		if o.Stage != nil {
			o.Stage.Close()
		}
	}, nil
}

func (c SandboxConfig) level() sandbox.Level {
	level, _ := sandbox.ParseLevel(c.Isolation) // checked with the config
	return level
}

// unmet names the first layer that the policy demands and the host lacks.
func (c SandboxConfig) unmet(layers []sandbox.Layer) error {
	names := slices.Clone(c.RequireLayers)
	if c.level() == sandbox.LevelGVisor {
		names = append(names, sandbox.LayerGVisor)
	}
	for _, name := range names {
		i := slices.IndexFunc(layers, func(l sandbox.Layer) bool { return l.Name == name })
		if i < 0 || !layers[i].Active {
			return rft.Errorf(rft.KindFailedPrecondition, "config.json demands %q of the sandbox, which this host does not give; jobs are refused", name)
		}
	}
	return nil
}
