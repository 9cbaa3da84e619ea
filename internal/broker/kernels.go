package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/wire"
)

// Precisions that may be asked for.
const (
	PrecisionAuto = "auto" // bfloat16 where this host is faster in it
	Float32       = wire.Float32
	BFloat16      = wire.BFloat16
)

// CheckPrecision says whether s is one of them, or "".
func CheckPrecision(s string) bool {
	return slices.Contains([]string{"", PrecisionAuto, Float32, BFloat16}, s)
}

// Kernels is what this host's processor can be trusted with. What a processor
// says about itself is only where to begin: each level had to pass its self-test
// in a child of its own, which may die of it.
type Kernels struct {
	Level    string  // the best in float32
	GFLOPS   float64 // of one thread
	BFloat16 string  // the best in bfloat16, "" = none
	// Speedup is how much faster that is than float32.
	Speedup float64
	// Notes say, one sentence each, which levels are not used, and why.
	Notes []string
}

// autoSpeedup is what bfloat16 must bring before "auto" gives up bits for it.
const autoSpeedup = 1.15

// Choice is what a child computes on, and why.
type Choice struct{ Level, Precision, Reason string }

// probeTimeout bounds one probe.
const probeTimeout = 30 * time.Second

// Isolated is the host for children that need at least that isolation: what the
// processor has is not what every isolation lets through.
func (h *Host) Isolated(least sandbox.Level) *Host {
	strict := *h
	strict.Isolation = sandbox.Strictest(h.Isolation, least)
	return &strict
}

// surveys holds Kernels by engine and isolation: they are the machine's.
var surveys struct {
	sync.Mutex
	known map[string]Kernels
}

// Kernels tests the levels of this host the first time that it is called. ctx
// bounds the test.
func (h *Host) Kernels(ctx context.Context) (Kernels, error) {
	surveys.Lock()
	defer surveys.Unlock()
	key := h.Engine.SHA256() + " " + string(h.Isolation)
	if k, ok := surveys.known[key]; ok {
		return k, nil
	}
	k, err := h.survey(ctx)
	if err == nil {
		if surveys.known == nil {
			surveys.known = map[string]Kernels{}
		}
		surveys.known[key] = k
	}
	return k, err
}

// survey probes levels, best first, until one holds: in float32, then in bfloat16.
func (h *Host) survey(ctx context.Context) (Kernels, error) {
	var k Kernels
	hello, err := h.greet(ctx)
	if err != nil {
		return k, err
	}
	for _, level := range hello.Levels {
		done, why, err := h.probe(ctx, level, Float32)
		if err != nil {
			return k, err
		}
		if why == "" {
			k.Level, k.GFLOPS = done.Level, done.GFLOPS
			break
		}
		k.Notes = append(k.Notes, why)
	}
	if k.Level == "" {
		return k, rft.Errorf(rft.KindFailedPrecondition, "no kernel level works on this host: %s", strings.Join(k.Notes, "; "))
	}
	for _, level := range hello.BFloat16Levels {
		if level == "go" { // the oracle: right, but slow
			break
		}
		done, why, err := h.probe(ctx, level, BFloat16)
		if err != nil {
			return k, err
		}
		if why == "" {
			k.BFloat16, k.Speedup = done.Level, done.GFLOPS/done.Float32GFLOPS
			break
		}
		k.Notes = append(k.Notes, why)
	}
	for _, note := range k.Notes {
		h.log().Warn("a kernel level is not used", "reason", note)
	}
	return k, nil
}

// greet asks an engine which levels the processor claims to have.
func (h *Host) greet(ctx context.Context) (wire.Hello, error) {
	c, err := h.Start(ctx, Options{Name: "probe"})
	if err != nil {
		return wire.Hello{}, err
	}
	defer c.Close()
	return c.Hello(), nil
}

// probe tests one level. why says in a sentence why it must not be used, "" = it
// may; err is not about the level.
func (h *Host) probe(ctx context.Context, level, precision string) (done wire.ProbeDone, why string, err error) {
	bound, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	c, err := h.Start(bound, Options{Name: "probe", Level: level, Precision: precision})
	if err != nil {
		return done, "", err
	}
	defer c.Close()
	s := session{child: c, task: wire.Task{Kind: "probe", Probe: &wire.ProbeTask{}}, handle: func(m any) error { return unexpected(m) }}
	err = s.run(bound, &done)
	var p *engine.Problem
	switch {
	case err == nil:
		return done, "", nil
	case errors.As(err, &p):
		return done, fmt.Sprintf("%s is not used: %s", level, clip(p.Message)), nil
	case ctx.Err() != nil:
		return done, "", err
	case bound.Err() != nil:
		return done, fmt.Sprintf("%s is not used: its self-test did not end in %s", level, probeTimeout), nil
	case rft.KindOf(err) == rft.KindInternal:
		return done, fmt.Sprintf("%s is not used: its self-test ended the process (%s)", level, c.lastWords()), nil
	}
	return done, "", err
}

// lastWords is what a dead child's runtime said first, else how it ended.
func (c *Child) lastWords() string {
	if lines := c.stderr.stack(); len(lines) > 0 {
		return strings.TrimSpace(lines[0])
	}
	if c.exit.Signal != "" {
		return c.exit.Signal
	}
	return fmt.Sprintf("exit code %d", c.exit.Code)
}

// Choose resolves what was asked for: a level, "" = the best, and a precision,
// "" = float32 unless the level is one of bfloat16.
func (h *Host) Choose(ctx context.Context, level, precision string) (Choice, error) {
	if level != "" {
		return chooseAt(level, precision)
	}
	k, err := h.Kernels(ctx)
	if err != nil {
		return Choice{}, err
	}
	if k.BFloat16 != "" && h.Speedup != nil {
		k.Speedup = h.Speedup(k.BFloat16, k.Speedup)
	}
	return k.choose(precision)
}

// bf16Only are the levels that exist for bfloat16 alone.
var bf16Only = []string{"amx", "avx512bf16"}

// chooseAt is for a level that was asked for: the child will test it.
func chooseAt(level, precision string) (Choice, error) {
	switch only := slices.Contains(bf16Only, level); {
	case only && precision == Float32:
		return Choice{}, rft.Errorf(rft.KindFailedPrecondition, "precision: kernel level %s computes in bfloat16; leave the level out, or the precision", level)
	case only:
		return Choice{level, BFloat16, "the kernel level asked for is one of bfloat16"}, nil
	case precision == BFloat16:
		return Choice{level, BFloat16, "asked for"}, nil
	}
	return Choice{level, Float32, "the kernel level asked for"}, nil
}

func (k Kernels) choose(precision string) (Choice, error) {
	switch auto := precision == PrecisionAuto; {
	case !auto && precision != BFloat16:
		return Choice{k.Level, Float32, "asked for"}, nil
	case k.BFloat16 == "" && auto:
		return Choice{k.Level, Float32, "this host has no unit for bfloat16 that works"}, nil
	case k.BFloat16 == "":
		return Choice{}, rft.Errorf(rft.KindFailedPrecondition, "precision: this host has no unit for bfloat16 that works; use float32 or auto%s", k.notes())
	case !auto:
		return Choice{k.BFloat16, BFloat16, "asked for"}, nil
	case k.Speedup < autoSpeedup:
		return Choice{k.Level, Float32, fmt.Sprintf("bfloat16 on %s is %.2f times as fast, too little for its fewer bits", k.BFloat16, k.Speedup)}, nil
	}
	return Choice{k.BFloat16, BFloat16, fmt.Sprintf("%.1f times as fast as float32 on %s", k.Speedup, k.Level)}, nil
}

func (k Kernels) notes() string {
	if len(k.Notes) == 0 {
		return ""
	}
	return " (" + strings.Join(k.Notes, "; ") + ")"
}
