package broker

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/wire"
)

// weightsFD is the descriptor of the weights in a child: the first after the
// three standard ones.
const weightsFD = 3

// duplex is our end of the child's standard streams.
type duplex struct {
	io.ReadCloser  // the child's stdout
	io.WriteCloser // the child's stdin
}

func (d duplex) Close() error { return errors.Join(d.WriteCloser.Close(), d.ReadCloser.Close()) }

// Start starts a child and waits for its hello; ctx bounds that only. The
// caller must Close the child.
func (h *Host) Start(ctx context.Context, o Options) (*Child, error) {
	pipes, err := openPipes()
	if err != nil {
		return nil, err
	}
	defer pipes.closeChild()
	spec := sandbox.Spec{
		Name: o.Name, Program: h.Engine, Args: []string{"firekeep-engine"},
		Stdin: pipes.childIn, Stdout: pipes.childOut, Stderr: pipes.childErr,
		Limits: sandbox.Limits{MemoryBytes: o.MemoryBytes, CPUs: h.CPUs}, Level: sandbox.Strictest(h.Isolation, o.Isolation), Require: slices.Concat(h.Require, o.Require),
	}
	if o.Weights != nil && !o.Weights.Stream {
		if !sandbox.OnlyToRead(o.Weights.File) {
			pipes.closeOurs()
			return nil, rft.Errorf(rft.KindInternal, "the weights of a child must be a descriptor that it cannot write to")
		}
		spec.Files = []*os.File{o.Weights.File}
	}
	process, err := h.Launcher.Start(ctx, spec)
	if err != nil {
		pipes.closeOurs()
		return nil, err
	}
	c := &Child{host: h, opt: o, process: process, threads: max(o.Threads, 1), stderr: &tail{}, dead: make(chan struct{})}
	c.conn = wire.New(duplex{pipes.out, pipes.in}, wire.Options{Side: wire.Broker, Heartbeat: heartbeat, Silence: h.silence()})
	go c.supervise(pipes.err)
	pipes.closeChild() // so that the child's end is the only writer left
	return c, c.shakeHands(ctx)
}

// shakeHands waits for the hello; on an error the child is closed.
func (c *Child) shakeHands(ctx context.Context) error {
	bound, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	hello, err := c.conn.Handshake(bound, wire.Hello{Peer: "firekeep", Build: c.host.Build})
	if err != nil {
		err = c.verdict(ctx, err)
		c.Close()
		return err
	}
	c.hello = hello
	levels := hello.Levels
	if c.opt.Precision == wire.BFloat16 {
		levels = hello.BFloat16Levels
	}
	if c.opt.Level != "" && !slices.Contains(levels, c.opt.Level) {
		c.Close()
		return rft.Errorf(rft.KindFailedPrecondition, "this host cannot compute in %s on kernel level %q; it has %q", c.precision(), c.opt.Level, levels)
	}
	return nil
}

func (c *Child) precision() string {
	if c.opt.Precision == "" {
		return wire.Float32
	}
	return c.opt.Precision
}

// supervise waits for the child's end.
func (c *Child) supervise(stderr io.ReadCloser) {
	c.stderr.fill(stderr)
	c.exit = c.process.Wait()
	if !c.exit.OK() && !c.closing.Load() {
		c.host.log().Warn("engine child ended", slog.String("child", c.opt.Name), slog.Int("exit", c.exit.Code),
			slog.String("signal", c.exit.Signal), slog.Bool("oom", c.exit.OOM), slog.Any("stack", c.stderr.stack()))
	}
	close(c.dead)
}

// childPipes are the three pipes between us and a child.
type childPipes struct {
	in                          *os.File // we write
	out, err                    *os.File // we read
	childIn, childOut, childErr *os.File
}

func openPipes() (*childPipes, error) {
	p := &childPipes{}
	var e1, e2, e3 error
	p.childIn, p.in, e1 = os.Pipe()
	p.out, p.childOut, e2 = os.Pipe()
	p.err, p.childErr, e3 = os.Pipe()
	if err := errors.Join(e1, e2, e3); err != nil {
		p.closeChild()
		p.closeOurs()
		return nil, rft.Wrap(rft.KindUnavailable, err, "no pipe to an engine child can be opened")
	}
	widen(p.in)
	widen(p.out)
	return p, nil
}

// closeChild and closeOurs may meet files that are nil or closed.
func (p *childPipes) closeChild() { closeAll(p.childIn, p.childOut, p.childErr) }
func (p *childPipes) closeOurs()  { closeAll(p.in, p.out, p.err) }

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}
