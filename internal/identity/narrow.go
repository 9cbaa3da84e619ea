package identity

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
)

// narrowed refuses what its credential does not cover. A URL that ends in '/'
// covers every key below it, another one exactly its own key.
type narrowed struct {
	objstore.Bucket
	c Credential
}

func (n *narrowed) may(access Access, key string) error {
	switch covered := n.c.URL.Key == key || n.c.URL.IsPrefix() && strings.HasPrefix(key, n.c.URL.Key); {
	case !covered:
		return rft.Errorf(rft.KindPermissionDenied, "the credential for %s does not cover another place", n.c.URL)
	case dotted(key):
		// Stores that keep objects as files would resolve it, out of the prefix.
		return rft.Errorf(rft.KindPermissionDenied, "the credential for %s does not cover keys with \".\" or \"..\" segments", n.c.URL)
	case access != "" && access != n.c.Access:
		return rft.Errorf(rft.KindPermissionDenied, "the credential for %s is for %s only", n.c.URL, n.c.Access)
	case !time.Now().Before(n.c.Expiry):
		return rft.Errorf(rft.KindPermissionDenied, "the credential for %s has expired", n.c.URL)
	}
	return nil
}

// dotted reports whether a path could climb: it has a segment "." or "..".
func dotted(key string) bool {
	for part := range strings.SplitSeq(strings.ReplaceAll(key, `\`, "/"), "/") {
		if part == "." || part == ".." {
			return true
		}
	}
	return false
}

func (n *narrowed) Stat(ctx context.Context, key string) (objstore.Info, error) {
	if err := n.may("", key); err != nil {
		return objstore.Info{}, err
	}
	return n.Bucket.Stat(ctx, key)
}

// Open lets a reader that was opened in time go on, but no longer than the
// credential lives: what is left is read with a fresh one.
func (n *narrowed) Open(ctx context.Context, key string, pin objstore.Pin, offset, length int64) (io.ReadCloser, error) {
	if err := n.may(Read, key); err != nil {
		return nil, err
	}
	r, err := n.Bucket.Open(ctx, key, pin, offset, length)
	if err != nil {
		return nil, err
	}
	return &expiring{ReadCloser: r, n: n, key: key}, nil
}

type expiring struct {
	io.ReadCloser
	n   *narrowed
	key string
}

func (e *expiring) Read(p []byte) (int, error) {
	if err := e.n.may(Read, e.key); err != nil {
		return 0, err
	}
	return e.ReadCloser.Read(p)
}

// List serves both kinds of access: an export must see what is there.
func (n *narrowed) List(ctx context.Context, prefix, startAfter string, yield func(objstore.Info) error) error {
	if err := n.may("", prefix); err != nil {
		return err
	}
	return n.Bucket.List(ctx, prefix, startAfter, yield)
}

func (n *narrowed) Create(ctx context.Context, key string, r io.Reader, o objstore.PutOptions) (objstore.Info, error) {
	if err := n.may(Write, key); err != nil {
		return objstore.Info{}, err
	}
	return n.Bucket.Create(ctx, key, r, o)
}

func (n *narrowed) Replace(ctx context.Context, key string, was objstore.Pin, r io.Reader, o objstore.PutOptions) (objstore.Info, error) {
	if err := n.may(Write, key); err != nil {
		return objstore.Info{}, err
	}
	return n.Bucket.Replace(ctx, key, was, r, o)
}

func (n *narrowed) Delete(ctx context.Context, key string) error {
	if err := n.may(Write, key); err != nil {
		return err
	}
	return n.Bucket.Delete(ctx, key)
}
