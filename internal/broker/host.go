package broker

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/wire"
)

// Host starts children. Its fields are set before the first Start.
type Host struct {
	Launcher sandbox.Launcher
	Engine   *sandbox.Program
	Build    string // version of this program, told to children
	Log      *slog.Logger

	// Isolation and Require are what every child must have, beyond what its own
	// Options demand. CPUs bounds the cores of each; 0 = no bound.
	Isolation sandbox.Level
	Require   []string
	CPUs      int

	// Speedup is what "auto" takes for how much faster than float32 a level of
	// bfloat16 is that was measured as so much faster now; nil = that.
	Speedup func(level string, measured float64) float64

	// Silence is how long a child may send nothing at all before it is taken
	// for hung; 0 = DefaultSilence.
	Silence time.Duration
	// Grace is how long a cancelled child has to end by itself; 0 = DefaultGrace.
	Grace time.Duration
}

// Defaults of Host.
const (
	DefaultSilence = time.Minute
	DefaultGrace   = 300 * time.Millisecond
	heartbeat      = 2 * time.Second
	helloTimeout   = 30 * time.Second
)

// Options describe one child.
type Options struct {
	Name        string // "import", "validate", "step", "sample": for logs and the sandbox
	Threads     int    // 0 = 1
	MemoryBytes int64  // limit of the child's own memory, without mapped weights; 0 = the launcher's default
	// Weights are the prepared weights that the child maps; required for every
	// session but Import.
	Weights *Weights
	// Level forces a kernel level; "" = the best that works. Precision is
	// "float32" (also "") or "bfloat16".
	Level, Precision string
	// Isolation is the least level that will do, Require the layers that must hold.
	Isolation sandbox.Level
	Require   []string
}

// Weights is an open file of prepared weights. The caller keeps and closes it.
type Weights struct {
	File   *os.File
	Size   int64
	Digest string // sha256:hex, checked when the file was stored
	// Stream sends the bytes instead of the descriptor.
	Stream bool
}

// Child is a running engine that has said hello.
type Child struct {
	host    *Host
	opt     Options
	process sandbox.Process
	conn    *wire.Conn
	hello   wire.Hello
	stderr  *tail

	mu      sync.Mutex
	threads int
	busy    bool
	closing atomic.Bool   // we ended it
	dead    chan struct{} // closed when the process is gone
	exit    sandbox.Exit
}

func (h *Host) silence() time.Duration {
	if h.Silence > 0 {
		return h.Silence
	}
	return DefaultSilence
}

func (h *Host) grace() time.Duration {
	if h.Grace > 0 {
		return h.Grace
	}
	return DefaultGrace
}

func (h *Host) log() *slog.Logger {
	if h.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Log
}

// can says whether the engine has a capability.
func (c *Child) can(capability string) bool { return slices.Contains(c.hello.Capabilities, capability) }

// Hello is what the engine said about itself: build, capabilities, levels.
func (c *Child) Hello() wire.Hello {
	h := c.hello
	h.Capabilities, h.Levels, h.BFloat16Levels = slices.Clone(h.Capabilities), slices.Clone(h.Levels), slices.Clone(h.BFloat16Levels)
	return h
}

// Level is the kernel level that the child was started with, "" = its choice.
func (c *Child) Level() string { return c.opt.Level }

// Report says which layers hold the child.
func (c *Child) Report() sandbox.Report { return c.process.Report() }

// Pid is the child's process id.
func (c *Child) Pid() int { return c.process.Pid() }

// SetThreads changes the child's thread count while it runs; n >= 1.
func (c *Child) SetThreads(n int) {
	c.mu.Lock()
	c.threads = max(n, 1)
	busy := c.busy
	c.mu.Unlock()
	if busy {
		_ = c.conn.Send(context.Background(), wire.Threads{Threads: max(n, 1)})
	}
}

// Gone is closed when the child has ended.
func (c *Child) Gone() <-chan struct{} { return c.dead }

// Close ends the child at once and waits until it is gone. It may be called
// more than once.
func (c *Child) Close() error {
	c.leave()
	<-c.dead
	return nil
}

// leave is Close without the wait, which lasts as long as the host takes to give
// back the child's memory.
func (c *Child) leave() {
	c.closing.Store(true)
	c.conn.Close()
	_ = c.process.Kill()
}

// begin claims the child for its one session.
func (c *Child) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy {
		return rft.Errorf(rft.KindInternal, "the engine child already has a task")
	}
	c.busy = true
	return nil
}
