package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"sync/atomic"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

// File is one file of a model or one object of a dataset. Body is read once,
// to its end, before the next file is asked for.
type File struct {
	Name string // relative name; shown in errors
	Size int64  // -1 = unknown
	Body io.Reader
}

// Prepared weights are at most float32, and bfloat16 beside it: 48 bits. Files may hold
// fewer than two bits per weight, prepared weights no fewer than six.
const (
	preparedPerByte = 48
	mergedPerByte   = 8
	preparedExtra   = 64 << 20
)

// Import turns the files of a model into prepared weights, which are written to
// out as they come. files yields task.Expects files; its error ends the session
// and is returned. ImportDone's Size and SHA256 are checked against the bytes
// that went to out; on an error out holds garbage.
func (c *Child) Import(ctx context.Context, task wire.ImportTask, files iter.Seq2[File, error], out io.Writer) (wire.ImportDone, error) {
	var read atomic.Int64
	s := &session{child: c, task: wire.Task{Kind: "import", Import: &task}}
	s.feed = func(ctx context.Context) error {
		return c.sendFiles(ctx, "model-file", files, &read)
	}
	return s.prepare(ctx, out, func() int64 { return preparedPerByte*read.Load() + preparedExtra })
}

// Merge writes the prepared weights of the child, with a LoRA merged into them, to
// out as they come. As Import checks what comes, so does this.
func (c *Child) Merge(ctx context.Context, task wire.MergeTask, config, adapter []byte, out io.Writer) (wire.ImportDone, error) {
	if !c.can(wire.CapabilityMerge) {
		return wire.ImportDone{}, rft.Errorf(rft.KindFailedPrecondition, "this engine cannot merge a LoRA into its base")
	}
	limit := mergedPerByte*c.opt.Weights.Size + preparedExtra
	s := &session{child: c, task: wire.Task{Kind: "merge", Merge: &task}}
	s.feed = func(ctx context.Context) error {
		if err := c.sendBytes(ctx, "adapter-config", config); err != nil {
			return err
		}
		return c.sendBytes(ctx, "adapter", adapter)
	}
	return s.prepare(ctx, out, func() int64 { return limit })
}

// prepare runs a task that makes prepared weights, at most limit bytes.
func (s *session) prepare(ctx context.Context, out io.Writer, limit func() int64) (wire.ImportDone, error) {
	var size int64
	digest := sha256.New()
	s.handle = func(m any) error {
		in, ok := m.(*wire.Inbound)
		if !ok || in.Name != "prepared" || size > 0 {
			return unexpected(m)
		}
		n, err := copyOut(io.MultiWriter(out, digest), in, limit)
		size += n
		return err
	}
	var done wire.ImportDone
	if err := s.run(ctx, &done); err != nil {
		return wire.ImportDone{}, err
	}
	if done.Size != size || done.SHA256 != "sha256:"+hex.EncodeToString(digest.Sum(nil)) {
		return wire.ImportDone{}, rft.Errorf(rft.KindInternal, "the engine's digest of the prepared weights is not that of the bytes it sent")
	}
	return done, nil
}

// sendFiles sends files one after another and then their end.
func (c *Child) sendFiles(ctx context.Context, stream string, files iter.Seq2[File, error], read *atomic.Int64) error {
	for f, err := range files {
		if err != nil {
			return err
		}
		body := &countedReader{f.Body, read}
		if err := c.sendStream(ctx, wire.Open{Name: stream, Path: f.Name, Size: f.Size}, body); err != nil {
			return err
		}
	}
	return sending(c.conn.Send(ctx, wire.EpochEnd{Last: true}))
}

// sinkError marks an error of the caller's side while it took a result.
type sinkError struct{ err error }

func (e *sinkError) Error() string { return e.err.Error() }
func (e *sinkError) Unwrap() error { return e.err }

func taking(err error) error {
	if err == nil {
		return nil
	}
	return &sinkError{err}
}

// isTaking unwraps an error that the caller's own callback returned.
func isTaking(err error) (error, bool) {
	var s *sinkError
	if errors.As(err, &s) {
		return s.err, true
	}
	return nil, false
}

// countedReader counts what is read.
type countedReader struct {
	io.Reader
	n *atomic.Int64
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// copyOut copies a stream of the child to out while it stays within limit.
func copyOut(out io.Writer, in *wire.Inbound, limit func() int64) (int64, error) {
	for total := int64(0); ; {
		piece, err := in.Next()
		if total += int64(len(piece)); total > limit() {
			return total, tooMuch(in, limit())
		}
		if _, err := out.Write(piece); err != nil {
			return total, taking(err)
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func tooMuch(in *wire.Inbound, limit int64) error {
	return rft.Errorf(rft.KindInternal, "the engine sent more than the %d bytes that %s may have", limit, describe(in))
}
