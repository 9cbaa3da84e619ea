package broker

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/firekeep/firekeep/internal/wire"
)

// Validate checks the objects of a dataset by streaming, in order. onChunk gets
// the byte ranges of the groups as they are found: in order, without overlap,
// within the bytes that were sent of their object.
func (c *Child) Validate(ctx context.Context, task wire.ValidateTask, objects iter.Seq2[File, error], onChunk func(wire.Chunk) error) (wire.ValidateDone, error) {
	var read atomic.Int64
	all := false // set before run returns, which waits for the feed
	t := &tiling{}
	s := &session{child: c, task: wire.Task{Kind: "validate", Validate: &task}}
	s.feed = func(ctx context.Context) error {
		err := c.sendFiles(ctx, "dataset", t.watch(objects), &read)
		all = err == nil
		return err
	}
	s.handle = func(m any) error {
		chunk, ok := m.(wire.Chunk)
		if !ok {
			return unexpected(m)
		}
		if err := t.check(chunk); err != nil {
			return err
		}
		return taking(onChunk(chunk))
	}
	var done wire.ValidateDone
	if err := s.run(ctx, &done); err != nil {
		return wire.ValidateDone{}, err
	}
	if !all {
		return wire.ValidateDone{}, &wire.ProtocolError{Rule: "early-done", Detail: "the engine was done before it had read every object"}
	}
	if done.Groups != t.groups || done.Bytes != read.Load() {
		return wire.ValidateDone{}, &wire.ProtocolError{Rule: "bad-counts",
			Detail: fmt.Sprintf("%d groups were announced, %d ranges came", done.Groups, t.groups)}
	}
	return done, nil
}

// tiling checks that ranges of groups lie one behind another.
type tiling struct {
	mu     sync.Mutex
	sent   []*atomic.Int64 // bytes of each object read so far
	object int
	next   int64 // end of the last group of object
	line   int64 // line after it
	groups int64
}

// watch counts the bytes of each object.
func (t *tiling) watch(objects iter.Seq2[File, error]) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for f, err := range objects {
			n := &atomic.Int64{}
			t.mu.Lock()
			t.sent = append(t.sent, n)
			t.mu.Unlock()
			if err == nil {
				f.Body = &countedReader{f.Body, n}
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

func (t *tiling) check(c wire.Chunk) error {
	bad := func(what string) error {
		return &wire.ProtocolError{Rule: "bad-chunk", Detail: "a chunk of groups " + what}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.Object < t.object || c.Object >= len(t.sent) {
		return bad("names an object out of order")
	}
	if c.Object > t.object {
		t.object, t.next, t.line = c.Object, 0, 1
	}
	if c.Offset < t.next || c.FirstLine < t.line || len(c.Lengths) == 0 || len(c.Lengths) != len(c.Lines) {
		return bad("begins before the one before it ends")
	}
	end, line := c.Offset, c.FirstLine
	size := t.sent[c.Object].Load()
	for i, n := range c.Lengths {
		if n <= 0 || n > wire.MaxGroup || c.Lines[i] <= 0 {
			return bad("has a group of impossible length")
		}
		if end > size-n { // so that no sum overflows
			return bad("reaches past the end of its object")
		}
		end, line = end+n, line+int64(c.Lines[i])
	}
	if line < c.FirstLine || line > size+1 {
		return bad("has more lines than its object")
	}
	t.next, t.line = end, line
	t.groups += int64(len(c.Lengths))
	return nil
}
