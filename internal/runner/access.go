package runner

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
)

// access is a job's way to one prefix of a bucket. Its credential is minted at
// first use and again before it expires, while the job holds its lease.
type access struct {
	attempt *attempt
	prefix  objstore.URL
	kind    identity.Access

	mu     sync.Mutex
	bucket objstore.Bucket
	expiry time.Time
	old    []objstore.Bucket // readers opened earlier may still use them
}

// renewBefore is how long before its end a credential is replaced.
const renewBefore = 2 * time.Minute

// to returns the access of this attempt to a prefix.
func (a *attempt) to(prefix objstore.URL, kind identity.Access) *access {
	x := &access{attempt: a, prefix: prefix, kind: kind}
	a.mu.Lock()
	a.access = append(a.access, x)
	a.mu.Unlock()
	return x
}

// closeAccess closes the buckets of the attempt.
func (a *attempt) closeAccess() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range a.access {
		x.close()
	}
}

func (x *access) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, b := range append(x.old, x.bucket) {
		if b != nil {
			b.Close() // nothing is lost with a connection
		}
	}
	x.old, x.bucket = nil, nil
}

// get returns the bucket under a credential that lives a while yet.
func (x *access) get(ctx context.Context) (objstore.Bucket, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.bucket != nil && (x.expiry.IsZero() || time.Until(x.expiry) > renewBefore) {
		return x.bucket, nil
	}
	a := x.attempt
	c, err := a.Identity.Credential(ctx, identity.Job{Account: a.job.Account, Kind: string(a.job.Kind), ID: a.job.UID}, x.prefix, x.kind)
	if err != nil {
		return nil, err
	}
	act := runnerAct(a.job, "MintCredential", map[string]string{"credential": c.ID, "prefix": x.prefix.String(), "access": string(x.kind), "expires": c.Expiry.UTC().Format(time.RFC3339)})
	if err := a.DB.Record(ctx, act, nil); err != nil {
		return nil, err // what cannot be audited is not used
	}
	b, err := a.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	if x.bucket != nil {
		x.old = append(x.old, x.bucket)
	}
	x.bucket, x.expiry = b, c.Expiry
	return b, nil
}

// open reads a range of a pinned object.
func (x *access) open(ctx context.Context, key string, pin objstore.Pin, offset, length int64) (io.ReadCloser, error) {
	b, err := x.get(ctx)
	if err != nil {
		return nil, err
	}
	return b.Open(ctx, key, pin, offset, length)
}

// segmentBytes is how much of an object is read under one credential before the
// next read may renew it.
const segmentBytes = 256 << 20

// reader reads a whole pinned object in segments, so that an object which takes
// longer to read than a credential lives is read to its end.
func (x *access) reader(ctx context.Context, key string, pin objstore.Pin) io.ReadCloser {
	return &segments{ctx: ctx, size: pin.Size, open: func(offset, length int64) (io.ReadCloser, error) {
		return x.open(ctx, key, pin, offset, length)
	}}
}

type segments struct {
	ctx      context.Context
	open     func(offset, length int64) (io.ReadCloser, error)
	size, at int64
	end      int64 // of the open segment
	body     io.ReadCloser
}

// Read implements io.Reader.
func (s *segments) Read(p []byte) (int, error) {
	for {
		if s.body == nil {
			if s.at >= s.size {
				return 0, io.EOF
			}
			s.end = min(s.at+segmentBytes, s.size)
			body, err := s.open(s.at, s.end-s.at)
			if err != nil {
				return 0, err
			}
			s.body = body
		}
		n, err := s.body.Read(p[:min(int64(len(p)), s.end-s.at)])
		s.at += int64(n)
		if s.at == s.end || err == io.EOF {
			if e := s.next(); e != nil {
				return n, e
			}
			err = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// next closes a segment; one that ended early is an error.
func (s *segments) next() error {
	err := s.body.Close()
	s.body = nil
	if s.at < s.end {
		return rft.Wrap(rft.KindUnavailable, io.ErrUnexpectedEOF, "an object ended before its size")
	}
	return err
}

// Close implements io.Closer.
func (s *segments) Close() error {
	if s.body == nil {
		return nil
	}
	err := s.body.Close()
	s.body = nil
	return err
}

// listPins lists the objects under a prefix in the order of names, without
// empty ones, and stops with an error at more than limit.
func (x *access) listPins(ctx context.Context, prefix string, limit int) ([]objstore.Info, error) {
	b, err := x.get(ctx)
	if err != nil {
		return nil, err
	}
	var out []objstore.Info
	err = b.List(ctx, prefix, "", func(i objstore.Info) error {
		if i.Pin.Size == 0 {
			return nil
		}
		if len(out) >= limit {
			return rft.Errorf(rft.KindInvalidArgument, "%s holds more than %d objects", x.prefix, limit)
		}
		out = append(out, i)
		return nil
	})
	return out, err
}

// changed says of a failed read of a pinned object which object it was.
func changed(err error, key string) error {
	if errors.Is(err, objstore.ErrChanged) {
		return rft.Wrap(rft.KindFailedPrecondition, err, "object %q is not the one that was registered any more: it was changed or replaced; register the dataset again", key)
	}
	return err
}
