package audit

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// Format is how events are written out.
type Format string

const (
	JSONLines Format = "jsonl"  // the canonical event of each entry, one a line
	OCSF      Format = "ocsf"   // the Open Cybersecurity Schema Framework's API Activity, one a line
	Verifies  Format = "bundle" // a bundle that `firekeep audit verify` takes
)

// ParseFormat reads the format of a request, "" = JSON Lines.
func ParseFormat(field, s string) (Format, error) {
	switch f := Format(s); f {
	case "":
		return JSONLines, nil
	case JSONLines, OCSF, Verifies:
		return f, nil
	}
	return "", rft.FieldErrorf(field, "%s: must be jsonl, ocsf or bundle", field)
}

// Selection says which events go out. Zero fields select all.
type Selection struct {
	Account  string // "" = of all accounts
	From, To time.Time
}

// holds reports whether an event is selected. Times of events sort as text.
func (s Selection) holds(e Event) bool {
	switch {
	case s.Account != "" && e.Account != s.Account:
		return false
	case !s.From.IsZero() && e.Time < s.From.UTC().Format(timeFormat):
		return false
	case !s.To.IsZero() && e.Time >= s.To.UTC().Format(timeFormat):
		return false
	}
	return true
}

// entries yields the entries from index from up to, but not including, to.
func (l *Log) entries(ctx context.Context, from, to int64, yield func(index int64, leaf []byte) error) error {
	for from < to {
		if ctx.Err() != nil {
			return rft.Wrap(rft.KindCancelled, ctx.Err(), "the request was cancelled")
		}
		bundle := from / tileWidth
		leaves, err := l.dir.bundle(bundle, width(max(to, l.logged()), bundle))
		if err != nil {
			return rft.Wrap(rft.KindDataLoss, err, "the audit log's entries from %d on cannot be read", bundle*tileWidth)
		}
		for _, leaf := range leaves[from%tileWidth : width(to, bundle)] {
			if err := yield(from, leaf); err != nil {
				return err
			}
			from++
		}
	}
	return nil
}

// logged is the log's size.
func (l *Log) logged() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Export writes the selected events that are logged. A bundle holds every entry
// up to the newest tree head from the first selected one on, those that were not
// selected by their hash alone.
func (l *Log) Export(ctx context.Context, w io.Writer, f Format, s Selection) error {
	if f == Verifies {
		return l.exportBundle(ctx, w, s)
	}
	out := bufio.NewWriterSize(w, 64<<10)
	err := l.entries(ctx, 0, l.logged(), func(_ int64, leaf []byte) error {
		e, err := ParseLeaf(leaf)
		if err != nil {
			return rft.Errorf(rft.KindDataLoss, "the audit log holds an entry that is no event; `firekeep audit verify` says which")
		}
		if !s.holds(e) {
			return nil
		}
		line, err := f.line(e, leaf)
		if err == nil {
			_, err = out.Write(append(line, '\n'))
		}
		return err
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

// line is an event in one line.
func (f Format) line(e Event, leaf []byte) ([]byte, error) {
	if f == OCSF {
		return json.Marshal(ocsfOf(e))
	}
	return leaf[:len(leaf):len(leaf)], nil
}

func (l *Log) exportBundle(ctx context.Context, w io.Writer, s Selection) error {
	head, err := l.Head(ctx)
	if err != nil {
		return err
	}
	first, err := l.firstSince(ctx, s.From, head.Size)
	if err != nil {
		return err
	}
	before, err := l.dir.tree(first, head.Size)
	if err != nil {
		return rft.Wrap(rft.KindDataLoss, err, "the audit log's hashes cannot be read")
	}
	out, err := newBundleWriter(w, l.text, head, before)
	if err != nil {
		return err
	}
	err = l.entries(ctx, first, head.Size, func(_ int64, leaf []byte) error {
		e, err := ParseLeaf(leaf)
		return out.add(leaf, err != nil || !s.holds(e))
	})
	if err == nil {
		err = out.close()
	}
	if err == nil && s == (Selection{}) {
		err = l.DB.SetAuditExported(ctx, head.Size)
	}
	return err
}

// firstSince is the index of the first entry that is not older than a time.
func (l *Log) firstSince(ctx context.Context, from time.Time, size int64) (int64, error) {
	if from.IsZero() {
		return 0, nil
	}
	low, high := int64(0), size // times grow with the index
	for low < high {
		mid := low + (high-low)/2
		var e Event
		err := l.entries(ctx, mid, mid+1, func(_ int64, leaf []byte) (err error) {
			e, err = ParseLeaf(leaf)
			return err
		})
		if err != nil {
			return 0, err
		}
		if e.Time < from.UTC().Format(timeFormat) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, nil
}

// Covers reports whether the log has an entry with number seq, or seq is 0.
func (l *Log) Covers(seq int64) error {
	if size := l.logged(); seq > size {
		return rft.FieldErrorf("after", "after: the log ends at entry %d", size)
	}
	return nil
}

// Follow yields every selected event behind number after, as JSON Lines or OCSF,
// and then each one as it is logged, until ctx ends or yield fails. idle is
// called when nothing has come for a while.
func (l *Log) Follow(ctx context.Context, after int64, f Format, s Selection, yield func(seq int64, line []byte) error, idle func() error) error {
	if f == Verifies {
		return rft.FieldErrorf("format", "format: a stream is jsonl or ocsf")
	}
	if err := l.Covers(after); err != nil {
		return err
	}
	quiet := time.NewTicker(15 * time.Second)
	defer quiet.Stop()
	for {
		l.mu.Lock()
		size, changed := l.size, l.changed
		l.mu.Unlock()
		err := l.entries(ctx, after, size, func(_ int64, leaf []byte) error {
			e, err := ParseLeaf(leaf)
			if err != nil || !s.holds(e) {
				return err
			}
			line, err := f.line(e, leaf)
			if err != nil {
				return err
			}
			return yield(e.Seq, line)
		})
		if err != nil {
			return err
		}
		after = size
		select {
		case <-changed:
		case <-quiet.C:
			if err := idle(); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}
