package identity

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
)

// renewBefore is how long before its expiry a credential is replaced.
const renewBefore = time.Minute

// Renewing is a Bucket for one job, prefix and access whose credential is
// minted at the first call and replaced, through src and its audit, before it
// expires. lease is asked before each minting: a job that lost its lease gets
// no further credential. A reader goes on across a renewal at its offset.
func Renewing(src Source, conf objstore.Config, job Job, prefix objstore.URL, access Access, lease func() error) objstore.Bucket {
	return &renewing{src: src, conf: conf, job: job, prefix: prefix, access: access, lease: lease}
}

type renewing struct {
	src    Source
	conf   objstore.Config
	job    Job
	prefix objstore.URL
	access Access
	lease  func() error

	mu     sync.Mutex
	now    objstore.Bucket
	held   []Credential      // those that have not expired may still open something
	old    []objstore.Bucket // readers may still use them
	expiry time.Time
	closed bool
}

// bucket returns a Bucket whose credential lives for a while yet.
func (r *renewing) bucket(ctx context.Context) (objstore.Bucket, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, rft.Errorf(rft.KindInternal, "the bucket is closed")
	}
	if r.now != nil && time.Until(r.expiry) > renewBefore {
		return r.now, nil
	}
	if r.lease != nil {
		if err := r.lease(); err != nil {
			return nil, err
		}
	}
	c, err := r.src.Credential(ctx, r.job, r.prefix, r.access)
	if err != nil {
		return nil, err
	}
	b, err := c.Open(ctx, r.conf)
	if err != nil {
		return nil, err
	}
	if r.now != nil {
		r.old = append(r.old, r.now)
	}
	r.now, r.expiry = b, c.Expiry
	c.Secret = objstore.Secret{} // the bucket has it
	r.held = append(slices.DeleteFunc(r.held, func(c Credential) bool { return time.Now().After(c.Expiry) }), c)
	return b, nil
}

func (r *renewing) Stat(ctx context.Context, key string) (objstore.Info, error) {
	b, err := r.bucket(ctx)
	if err != nil {
		return objstore.Info{}, err
	}
	return b.Stat(ctx, key)
}

func (r *renewing) Open(ctx context.Context, key string, pin objstore.Pin, offset, length int64) (io.ReadCloser, error) {
	b, err := r.bucket(ctx)
	if err != nil {
		return nil, err
	}
	if pin == (objstore.Pin{}) { // a reader that goes on must know of what
		info, err := b.Stat(ctx, key)
		if err != nil {
			return nil, err
		}
		pin = info.Pin
	}
	body, err := b.Open(ctx, key, pin, offset, length)
	if err != nil {
		return nil, err
	}
	return &renewedReader{ctx: ctx, r: r, key: key, pin: pin, offset: offset, length: length, from: b, body: body}, nil
}

func (r *renewing) List(ctx context.Context, prefix, startAfter string, yield func(objstore.Info) error) error {
	b, err := r.bucket(ctx)
	if err != nil {
		return err
	}
	return b.List(ctx, prefix, startAfter, yield)
}

func (r *renewing) Create(ctx context.Context, key string, body io.Reader, o objstore.PutOptions) (objstore.Info, error) {
	b, err := r.bucket(ctx)
	if err != nil {
		return objstore.Info{}, err
	}
	return b.Create(ctx, key, body, o)
}

func (r *renewing) Replace(ctx context.Context, key string, was objstore.Pin, body io.Reader, o objstore.PutOptions) (objstore.Info, error) {
	b, err := r.bucket(ctx)
	if err != nil {
		return objstore.Info{}, err
	}
	return b.Replace(ctx, key, was, body, o)
}

func (r *renewing) Delete(ctx context.Context, key string) error {
	b, err := r.bucket(ctx)
	if err != nil {
		return err
	}
	return b.Delete(ctx, key)
}

func (r *renewing) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	var err error
	for _, b := range r.old {
		err = errors.Join(err, b.Close())
	}
	if r.now != nil {
		err = errors.Join(err, r.now.Close())
	}
	for _, c := range r.held {
		// The job may be over because its context ended; the record is made still.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err = errors.Join(err, c.Drop(ctx))
		cancel()
	}
	r.old, r.now, r.held = nil, nil, nil
	return err
}

// renewedReader moves to the fresh Bucket when the credential is replaced.
type renewedReader struct {
	ctx            context.Context
	r              *renewing
	key            string
	pin            objstore.Pin
	offset, length int64 // of what is left; length < 0 = to the end
	from           objstore.Bucket
	body           io.ReadCloser
}

func (r *renewedReader) Read(p []byte) (int, error) {
	b, err := r.r.bucket(r.ctx)
	if err != nil {
		return 0, err
	}
	if b != r.from {
		_ = r.body.Close()
		if r.body, err = b.Open(r.ctx, r.key, r.pin, r.offset, r.length); err != nil {
			r.body = io.NopCloser(failing{err})
			return 0, err
		}
		r.from = b
	}
	n, err := r.body.Read(p)
	r.offset += int64(n)
	if r.length >= 0 {
		r.length -= int64(n)
	}
	return n, err
}

func (r *renewedReader) Close() error { return r.body.Close() }

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
