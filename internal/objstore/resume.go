package objstore

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// openRange asks a store for n bytes from offset on of one pinned version. It
// fails with ErrChanged when the store has another one.
type openRange func(ctx context.Context, offset, n int64) (io.ReadCloser, error)

// resuming reads a range of a pinned object and asks again, from where it is,
// whenever a connection breaks, stalls or ends early.
type resuming struct {
	url    URL
	cfg    Config
	open   openRange
	ctx    context.Context
	cancel context.CancelFunc

	offset, left int64
	body         io.ReadCloser
	stop         context.CancelFunc // of body's request
	failures     int                // since the last byte
	err          error
}

// resume starts reading n bytes at offset; n < 0 = to the end. The first
// request is made at once, so that errors show early.
func resume(ctx context.Context, u URL, cfg Config, pin Pin, offset, n int64, open openRange) (io.ReadCloser, error) {
	if offset < 0 || offset > pin.Size {
		return nil, outOfRange(u, offset, pin.Size)
	}
	if n < 0 || n > pin.Size-offset {
		n = pin.Size - offset
	}
	r := &resuming{url: u, cfg: cfg, open: open, offset: offset, left: n}
	r.ctx, r.cancel = context.WithCancel(ctx)
	if err := r.connect(); err != nil {
		r.cancel()
		return nil, err
	}
	return r, nil
}

// connect opens a body at the current offset, waiting between attempts. A range
// of no bytes is opened too: it tells whether the pin still holds.
func (r *resuming) connect() error {
	for {
		ctx, stop := context.WithCancel(r.ctx)
		body, err := r.open(ctx, r.offset, r.left)
		if err == nil {
			r.body, r.stop = body, stop
			return nil
		}
		stop()
		if err := r.pause(err); err != nil {
			return err
		}
	}
}

// pause waits before the next attempt, or returns the error that ends them.
func (r *resuming) pause(err error) error {
	if end := contextError(r.url, r.ctx.Err()); end != nil {
		return end
	}
	if rft.KindOf(err) != rft.KindUnavailable || r.failures >= r.cfg.Retries {
		return err
	}
	wait := time.NewTimer(backoff(r.cfg.Backoff, r.failures))
	defer wait.Stop()
	r.failures++
	select {
	case <-wait.C:
		return nil
	case <-r.ctx.Done():
		return contextError(r.url, r.ctx.Err())
	}
}

// backoff is the wait after n failures: between half and all of shortest * 2^n,
// at most 100 times shortest.
func backoff(shortest time.Duration, n int) time.Duration {
	d := min(shortest<<min(n, 10), 100*shortest)
	return d/2 + rand.N(d/2+1)
}

func (r *resuming) Read(p []byte) (int, error) {
	for r.err == nil {
		if r.left == 0 {
			r.err = io.EOF
			break
		}
		// What has arrived already would be read whole before the connection ends.
		if r.err = contextError(r.url, r.ctx.Err()); r.err != nil {
			break
		}
		if r.body == nil {
			if r.err = r.connect(); r.err != nil {
				break
			}
		}
		n, err := r.readBody(p[:min(int64(len(p)), r.left)])
		if n > 0 || len(p) == 0 {
			r.offset += int64(n)
			r.left -= int64(n)
			r.failures = 0
			if err != nil {
				r.drop() // the next Read sees what is left
			}
			return n, nil
		}
		if err != nil {
			r.drop()
			r.err = r.pause(broken(r.url, err))
		}
	}
	return 0, r.err
}

// readBody reads once; when nothing comes for too long the request is stopped.
func (r *resuming) readBody(p []byte) (int, error) {
	watchdog := time.AfterFunc(r.cfg.Stall, r.stop)
	defer watchdog.Stop()
	return r.body.Read(p)
}

// broken is the error of a body that ended before its range did.
func broken(u URL, err error) error {
	if e, ok := errors.AsType[*rft.Error](err); ok {
		return e
	}
	return rft.Wrap(rft.KindUnavailable, err, "%s: the connection broke while reading", u)
}

func (r *resuming) drop() {
	if r.body != nil {
		_ = r.body.Close()
		r.stop()
		r.body = nil
	}
}

func (r *resuming) Close() error {
	r.cancel()
	r.drop()
	if r.err == nil {
		r.err = rft.Errorf(rft.KindInternal, "%s: read after close", r.url)
	}
	return nil
}
