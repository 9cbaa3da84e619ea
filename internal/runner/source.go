package runner

import (
	"context"
	"crypto/sha256"
	"io"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
	"github.com/firekeep/firekeep/internal/wire"
)

// opener reads a range of object i of a dataset, as registered.
type opener func(ctx context.Context, i int, offset, length int64) (io.ReadCloser, error)

// source reads a dataset for training. What it returns was compared, block by
// block, with the digests taken when the dataset was registered.
type source struct {
	index *catalog.Index
	names []string // of the objects, for errors
	open  opener
}

// dataset opens the rows of a dataset: in the customer's bucket, by pinned
// version, or sealed in ours.
func (a *attempt) dataset(d store.Dataset, objects []store.Object) (opener, []string, error) {
	names := make([]string, len(objects))
	for i, o := range objects {
		names[i] = o.Key
	}
	if d.ExternalURL == "" {
		return func(ctx context.Context, i int, offset, length int64) (io.ReadCloser, error) {
			return a.Catalog.Vault().OpenRows(ctx, objects[i], offset, length)
		}, names, nil
	}
	u, err := objstore.ParseURL(d.ExternalURL)
	if err != nil {
		return nil, nil, err
	}
	b := a.to(u, identity.Read)
	return func(ctx context.Context, i int, offset, length int64) (io.ReadCloser, error) {
		return b.Open(ctx, objects[i].Key, objects[i].Pin, offset, length)
	}, names, nil
}

// source is the verified reader of a dataset that is READY.
func (a *attempt) source(ctx context.Context, d store.Dataset, objects []store.Object) (*source, error) {
	index, err := a.Catalog.Vault().Index(ctx, d)
	if err != nil {
		return nil, err
	}
	if len(index.Objects) != len(objects) {
		return nil, rft.Errorf(rft.KindDataLoss, "the index of %s describes %d objects instead of %d", d.Name(), len(index.Objects), len(objects))
	}
	open, names, err := a.dataset(d, objects)
	return &source{index: index, names: names, open: open}, err
}

// read returns the bytes [offset, offset+length) of object i. Whole blocks are
// read around them, because only those can be verified.
func (s *source) read(ctx context.Context, i int, offset, length int64) ([]byte, error) {
	o := s.index.Objects[i]
	first, last := offset/catalog.BlockBytes, (offset+length-1)/catalog.BlockBytes
	from, to := first*catalog.BlockBytes, min((last+1)*catalog.BlockBytes, o.Size)
	body, err := s.open(ctx, i, from, to-from)
	if err != nil {
		return nil, changed(err, s.names[i])
	}
	defer body.Close()
	buf := make([]byte, to-from)
	for b := first; b <= last; b++ {
		block := buf[b*catalog.BlockBytes-from : min((b+1)*catalog.BlockBytes, to)-from]
		if _, err := io.ReadFull(body, block); err != nil {
			return nil, changed(s.cutOff(err, i), s.names[i])
		}
		if sha256.Sum256(block) != o.Digest(b) {
			return nil, rft.Errorf(rft.KindFailedPrecondition,
				"object %q is not the one that was registered any more: bytes %d to %d differ; register the dataset again", s.names[i], b*catalog.BlockBytes, b*catalog.BlockBytes+int64(len(block)))
		}
	}
	return buf[offset-from : offset-from+length], nil
}

// cutOff names the object that ended early.
func (s *source) cutOff(err error, i int) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return rft.Errorf(rft.KindFailedPrecondition, "object %q is shorter than when it was registered; register the dataset again", s.names[i])
	}
	return err
}

// window is the verified bytes of the chunks of a window.
type window struct {
	epoch, number int
	chunks        []int
	bytes         [][]byte // per chunk, from its first group to its last
	err           error
}

// load reads the chunks of a window.
func (s *source) load(ctx context.Context, epoch, number int, chunks []int) window {
	w := window{epoch: epoch, number: number, chunks: chunks}
	for _, k := range chunks {
		c := s.index.Chunks[k]
		var length int64
		for _, r := range c.Ranges() {
			length += r.Length
		}
		b, err := s.read(ctx, c.Object, c.Offset, length)
		if err != nil {
			w.err = err
			return w
		}
		w.bytes = append(w.bytes, b)
	}
	return w
}

// feed sends the groups from position on in training order, and the ends of
// epochs. While one window is trained on, the next is read: two windows are in
// memory at most.
func (s *source) feed(ctx context.Context, o order, position int64, to *broker.Feed) error {
	return s.each(ctx, o, position, to.Group, to.EndEpoch)
}

// each is feed over any receiver.
func (s *source) each(ctx context.Context, o order, position int64, group func(wire.Group) error, end func(epoch int, last bool) error) error {
	at := o.seek(position)
	if n := o.index.Groups; position > 0 && position%n == 0 {
		// The resume point stood at an epoch's end, which may not have been read.
		if err := end(at.epoch-1, at.epoch == o.epochs); err != nil {
			return err
		}
	}
	ctx, stop := context.WithCancel(ctx)
	windows := s.ahead(ctx, o, at)
	defer func() { // no read outlives the credentials of its job
		stop()
		for range windows {
		}
	}()
	for w := range windows {
		if w.err != nil {
			return w.err
		}
		if w.chunks == nil {
			if err := end(w.epoch, w.epoch+1 == o.epochs); err != nil {
				return err
			}
			continue
		}
		for _, g := range o.groups(w.epoch, w.number, w.chunks)[at.skip:] {
			start := g.Offset - s.index.Chunks[w.chunks[g.chunk]].Offset
			rows := w.bytes[g.chunk][start : start+g.Length]
			if err := group(wire.Group{Position: at.position, Line: g.Line, Object: uint32(g.Object), Rows: rows}); err != nil {
				return err
			}
			at.position++
		}
		at.skip = 0
	}
	return context.Cause(ctx)
}

// ahead loads windows one ahead of who takes them. A window without chunks is
// the end of an epoch.
func (s *source) ahead(ctx context.Context, o order, from cursor) <-chan window {
	out := make(chan window)
	go func() {
		defer close(out)
		send := func(w window) bool {
			select {
			case out <- w:
				return w.err == nil
			case <-ctx.Done():
				return false
			}
		}
		for epoch := from.epoch; epoch < o.epochs; epoch++ {
			for n, chunks := range o.windows(epoch) {
				if epoch == from.epoch && n < from.window {
					continue
				}
				if !send(s.load(ctx, epoch, n, chunks)) {
					return
				}
			}
			if !send(window{epoch: epoch}) {
				return
			}
		}
	}()
	return out
}
