// Package child is the engine's side of the engine protocol: it takes one task
// over a connection and calls the numeric island for it. It runs in a sandbox
// without files, network or environment; everything comes as frames, the
// prepared weights also as an inherited descriptor.
package child

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/wire"
)

// heartbeat is the time between signs of life, which have their own goroutine.
const heartbeat = 2 * time.Second

// errCancelled is the cause of a cancelled task.
var errCancelled = errors.New("cancelled by the broker")

// Options of Run.
type Options struct {
	Build string // version of the program
	// Levels are the kernel levels to use in float32, BFloat16 those to use in
	// bfloat16, best first. A level is tested when a task computes on it.
	Levels, BFloat16 []kernel.Level
}

// worker is one engine child.
type worker struct {
	conn     *wire.Conn
	levels   []kernel.Level // float32
	halves   []kernel.Level // bfloat16
	bf16     bool           // the task's precision is bfloat16
	pool     *kernel.Pool
	wanted   atomic.Int64                // threads; the pool follows at the next safe point
	follow   atomic.Pointer[func(n int)] // a running task's own way to follow
	opening  *opening                    // of mapped weights; nil = they come by stream
	proof    chan struct{}               // closed when the level is tested; nil = nothing is computed
	unproven error                       // what its test said, once proof is closed
	memory   int64                       // advice of the task, 0 = none
	life     context.Context             // of the connection
	ctx      context.Context             // of the task
	stop     context.CancelCauseFunc
	mu       sync.Mutex
	revoked  []uint64      // requests that were cancelled and not looked at yet
	wake     chan struct{} // something urgent came
}

// Run says hello on rw, does one task and returns. The error is for an exit
// code only: what the broker needs to know went out as a Fault.
func Run(ctx context.Context, rw io.ReadWriteCloser, o Options) error {
	if len(o.Levels) == 0 {
		return errors.New("child: no kernel level was given")
	}
	life, end := context.WithCancelCause(ctx)
	defer end(nil)
	w := &worker{levels: o.Levels, halves: o.BFloat16, life: life, wake: make(chan struct{}, 1)}
	w.ctx, w.stop = context.WithCancelCause(life)
	w.conn = wire.New(rw, wire.Options{Side: wire.Engine, Urgent: w.urgent, Heartbeat: heartbeat})
	defer w.conn.Close()
	if _, err := w.conn.Handshake(life, w.hello(o.Build)); err != nil {
		return err
	}
	go func() { // nobody waits for the result when the broker is gone
		<-w.conn.Done()
		end(w.conn.Err())
	}()
	err := w.serve()
	if w.proof != nil {
		<-w.proof // a task that was refused did not wait for it
	}
	return err
}

func (w *worker) hello(build string) wire.Hello {
	h := wire.Hello{Peer: "firekeep-engine", Build: build, Capabilities: []string{"probe", "import", "validate", "train", "sample", wire.CapabilityCanary, wire.CapabilityMerge}}
	for _, l := range w.levels {
		h.Levels = append(h.Levels, l.String())
	}
	h.Level = h.Levels[0]
	for _, l := range w.halves {
		h.BFloat16Levels = append(h.BFloat16Levels, l.String())
	}
	return h
}

// urgent takes what must not wait behind data. It runs on the reading goroutine.
func (w *worker) urgent(m any) {
	switch m := m.(type) {
	case wire.Threads:
		w.wanted.Store(int64(m.Threads))
		if follow := w.follow.Load(); follow != nil {
			(*follow)(m.Threads)
		}
	case wire.Cancel:
		if m.ID == 0 {
			w.stop(errCancelled)
			return
		}
		w.mu.Lock()
		w.revoked = append(w.revoked, m.ID)
		w.mu.Unlock()
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// serve receives the task and answers it with Done or Fault.
func (w *worker) serve() error {
	m, err := w.conn.Receive(w.life)
	if err != nil {
		return err
	}
	result, err := w.guarded(m.(wire.Task)) // the connection lets nothing else come first
	if err != nil {
		return w.conn.Send(w.life, fault(0, err))
	}
	payload, err := json.Marshal(result)
	if err != nil {
		return w.conn.Send(w.life, fault(0, err))
	}
	return w.conn.Send(w.life, wire.Done{Result: payload})
}

// contained calls f; a panic becomes an error that names its place only.
func (w *worker) contained(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			_, _ = os.Stderr.Write(debug.Stack())
			err = &crash{where: panicPlace()}
		}
	}()
	return f()
}

// guarded runs the task.
func (w *worker) guarded(t wire.Task) (result any, err error) {
	err = w.contained(func() error {
		result, err = w.run(t)
		return err
	})
	return result, err
}

func (w *worker) run(t wire.Task) (any, error) {
	if t.Weights != nil && t.Weights.FD != 0 && (t.Train != nil || t.Sample != nil) {
		w.beginWeights(*t.Weights)
	}
	if err := w.prepare(t); err != nil {
		return nil, err
	}
	defer w.pool.Close()
	switch {
	case t.Kind == "probe" && t.Probe != nil:
		if err := w.proven(); err != nil {
			return nil, err
		}
		return w.probe()
	case t.Kind == "import" && t.Import != nil:
		return w.importModel(*t.Import)
	case t.Kind == "merge" && t.Merge != nil && t.Weights != nil:
		return w.merge(*t.Merge, *t.Weights)
	case t.Kind == "validate" && t.Validate != nil:
		return w.validate(*t.Validate)
	case t.Kind == "train" && t.Train != nil && t.Weights != nil:
		return w.train(*t.Train, *t.Weights)
	case t.Kind == "sample" && t.Sample != nil && t.Weights != nil:
		return w.sample(*t.Sample, *t.Weights)
	}
	return nil, &engine.Problem{Rule: "bad-task", Message: "the task lacks a part that its kind needs"}
}

// prepare sets what holds for the whole process.
func (w *worker) prepare(t wire.Task) error {
	if err := w.chooseLevel(t); err != nil {
		return err
	}
	if t.MemoryBytes > 0 {
		w.memory = t.MemoryBytes
		debug.SetMemoryLimit(t.MemoryBytes / 10 * 9)
	}
	w.wanted.CompareAndSwap(0, int64(t.Threads))
	w.pool = kernel.NewPool(w.threads())
	runtime.GOMAXPROCS(w.threads() + 1)
	return nil
}

// maxThreads bounds what a Threads frame can ask for.
const maxThreads = 1024

func (w *worker) threads() int { return min(max(int(w.wanted.Load()), 1), maxThreads) }

// followThreads gives the pool the number of threads that was last asked for.
// Callers are between passes: the pool is idle.
func (w *worker) followThreads() {
	n := w.threads()
	if n == w.pool.Threads() {
		return
	}
	w.pool.SetThreads(n)
	// One more than computes, for the connection and the heartbeat.
	runtime.GOMAXPROCS(n + 1)
}
