package broker

import (
	"bufio"
	"context"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/wire"
)

// verdict turns the end of a connection into the error of the session that used
// it. A connection that the child closed waits for the child's exit, which says
// more.
func (c *Child) verdict(ctx context.Context, err error) error {
	var typed *rft.Error
	var broken *wire.ProtocolError
	switch {
	case ctx.Err() != nil:
		return contextError(ctx)
	case errors.As(err, &typed):
		return err
	case errors.As(err, &broken):
		if broken.Rule == "short-frame" && c.killed() {
			return c.exitError(err)
		}
		return rft.Wrap(rft.KindInternal, err, "the engine broke the protocol: %s", broken.Rule)
	case errors.Is(err, wire.ErrSilent):
		return rft.Wrap(rft.KindUnavailable, err, "the engine stopped responding")
	case errors.Is(err, context.DeadlineExceeded):
		return rft.Wrap(rft.KindUnavailable, err, "the engine did not start in time")
	}
	c.conn.Close()
	_ = c.process.Kill() // it may have closed its pipes and live on
	<-c.dead
	return c.exitError(err)
}

// killed reports that the child was ended by a signal from outside or by a limit,
// in the middle of a frame perhaps: not its own doing. A child that cut a frame
// and lives on is not waited for longer than death takes.
func (c *Child) killed() bool {
	select {
	case <-c.dead:
	case <-time.After(time.Second):
		return false
	}
	return c.exit.OOM || c.stderr.outOfMemory() || c.exit.Signal == "killed" || c.exit.Signal == "terminated"
}

// exitError says how the child died. UNAVAILABLE means that the same work may
// succeed when it is tried again.
func (c *Child) exitError(cause error) error {
	e := c.exit
	e.OOM = e.OOM || c.stderr.outOfMemory()
	switch {
	case e.OOM && c.opt.MemoryBytes > 0:
		return rft.Wrap(rft.KindResourceExhausted, cause, "the engine needed more than its memory limit of %d MiB", c.opt.MemoryBytes>>20)
	case e.OOM:
		return rft.Wrap(rft.KindResourceExhausted, cause, "the engine needed more memory than its limit")
	case e.Signal == sandbox.ForbiddenCall:
		return rft.Wrap(rft.KindInternal, cause, "the engine made a system call that no engine makes, and was ended")
	case e.Signal == "killed" || e.Signal == "terminated" || e.OK():
		return rft.Wrap(rft.KindUnavailable, cause, "the engine was ended from outside")
	case e.Signal != "":
		return rft.Wrap(rft.KindInternal, cause, "the engine crashed: %s", e.Signal)
	default:
		return rft.Wrap(rft.KindInternal, cause, "the engine crashed with exit code %d", e.Code)
	}
}

func contextError(ctx context.Context) error {
	cause := context.Cause(ctx)
	var typed *rft.Error
	switch {
	case errors.As(cause, &typed):
		return cause
	case errors.Is(cause, context.DeadlineExceeded):
		return rft.Wrap(rft.KindDeadlineExceeded, cause, "the deadline passed")
	}
	return rft.Wrap(rft.KindCancelled, cause, "cancelled")
}

// faultError is the error of a Fault. Kinds that are not ours are INTERNAL.
func faultError(f wire.Fault) error {
	kind := rft.Kind(f.Kind)
	switch kind {
	case rft.KindInvalidArgument, rft.KindFailedPrecondition, rft.KindResourceExhausted, rft.KindNotFound,
		rft.KindCancelled, rft.KindUnimplemented, rft.KindOutOfRange, rft.KindDataLoss:
	default:
		kind = rft.KindInternal
	}
	if f.Problem != nil {
		err := rft.Wrap(kind, f.Problem, "%s", clip(f.Problem.Error()))
		if f.ID != 0 { // of a request: the key is one of its fields
			err.Field = clip(f.Problem.Key)
		}
		return err
	}
	return rft.Errorf(kind, "%s", clip(f.Message))
}

// clip bounds a text of the child to what an error shows.
func clip(s string) string {
	const limit = 1000
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "..."
}

// tail keeps the lines of a child's stderr that say where it crashed. Nothing
// else of it is kept: a crash may print what it worked on.
type tail struct {
	mu    sync.Mutex
	lines []string
}

// stackLine matches the position lines of a Go stack trace and the runtime's
// own reasons.
var stackLine = regexp.MustCompile(`^(\t[\w./@+-]{1,200}\.go:\d{1,6}\b|fatal error: [a-z :]{1,60}$|SIG[A-Z]{2,6}: [a-z ]{1,40})`)

func (t *tail) fill(r io.ReadCloser) {
	defer r.Close()
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 4096), 64<<10)
	for lines.Scan() {
		if m := stackLine.FindString(lines.Text()); m != "" {
			t.mu.Lock()
			if len(t.lines) < 16 {
				t.lines = append(t.lines, m)
			}
			t.mu.Unlock()
		}
	}
	_, _ = io.Copy(io.Discard, r)
}

// outOfMemory reports that the Go runtime got no memory: where no cgroup kills
// the child, its own limit ends it this way.
func (t *tail) outOfMemory() bool {
	return slices.ContainsFunc(t.stack(), func(line string) bool {
		return strings.HasPrefix(line, "fatal error: runtime: out of memory") || strings.HasPrefix(line, "fatal error: runtime: cannot allocate memory")
	})
}

func (t *tail) stack() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lines
}
