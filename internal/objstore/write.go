package objstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"strings"

	"github.com/firekeep/firekeep/internal/rft"
)

// source reads what is to be written, counts and digests it, stops with the
// context, and remembers whether the reader itself failed.
type source struct {
	ctx  context.Context
	r    io.Reader
	url  URL
	want PutOptions
	n    int64
	sum  hash.Hash
	err  error
}

func newSource(ctx context.Context, u URL, r io.Reader, o PutOptions) *source {
	s := &source{ctx: ctx, r: r, url: u, want: o}
	if o.SHA256 != "" {
		s.sum = sha256.New()
	}
	return s
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		s.err = contextError(s.url, err)
		return 0, s.err
	}
	n, err := s.r.Read(p)
	s.n += int64(n)
	if s.sum != nil {
		s.sum.Write(p[:n])
	}
	if err != nil && err != io.EOF {
		s.err = sourceError(s.url, err)
		return n, s.err
	}
	if s.want.Size >= 0 && s.n > s.want.Size {
		s.err = wrongBytes(s.url, "more than the %d bytes that were announced", s.want.Size)
		return n, s.err
	}
	return n, err
}

// check tells, at the end, whether these were the announced bytes.
func (s *source) check() error {
	switch {
	case s.err != nil:
		return s.err
	case s.want.Size >= 0 && s.n != s.want.Size:
		return wrongBytes(s.url, "%d bytes instead of %d", s.n, s.want.Size)
	case s.sum != nil && !strings.EqualFold(hex.EncodeToString(s.sum.Sum(nil)), s.want.SHA256):
		return wrongBytes(s.url, "the bytes do not have the announced SHA-256")
	}
	return nil
}

// Verify reads r and fails at its end, with DATA_LOSS, unless it held size
// bytes (-1 = any) with the given SHA-256 in hex.
func Verify(r io.Reader, u URL, size int64, sha256Hex string) io.Reader {
	return &verified{r: r, url: u, size: size, want: sha256Hex, sum: sha256.New()}
}

type verified struct {
	r    io.Reader
	url  URL
	size int64
	n    int64
	want string
	sum  hash.Hash
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.n += int64(n)
	v.sum.Write(p[:n])
	if err == io.EOF && (v.size >= 0 && v.n != v.size || !strings.EqualFold(hex.EncodeToString(v.sum.Sum(nil)), v.want)) {
		return n, rft.Errorf(rft.KindDataLoss, "%s does not hold the bytes that its digest promises", v.url)
	}
	return n, err
}
