package audit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
)

// Mirror copies signed tree heads into a bucket that the server's administrator
// does not control, where they are written once and never replaced. Whoever
// rewrites the log afterwards contradicts a head that is out of reach.
type Mirror struct {
	Bucket objstore.Bucket // to write
	Reader objstore.Bucket // to look at what is there already
	Prefix string          // key prefix, ends in '/'
	Every  time.Duration   // 0 = a minute

	mu      sync.Mutex
	waiting time.Time // since when the newest head waits, zero = it does not
}

func (m *Mirror) every() time.Duration {
	if m.Every <= 0 {
		return time.Minute
	}
	return m.Every
}

// lag is how long the newest tree head has waited.
func (m *Mirror) lag() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.waiting.IsZero() {
		return 0
	}
	return time.Since(m.waiting)
}

func (m *Mirror) waits(since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case since.IsZero():
		m.waiting = since
	case m.waiting.IsZero():
		m.waiting = since
	}
}

// key is the object of a head: one per size, in the order of sizes.
func (m *Mirror) key(h Head) string {
	return fmt.Sprintf("%s%s/heads/%020d", m.Prefix, h.Origin, h.Size)
}

// put writes a head, or finds that it is there. Another head in its place is a
// fork: one key has signed two histories.
func (m *Mirror) put(ctx context.Context, l *Log, h Head) error {
	_, err := m.Bucket.Create(ctx, m.key(h), bytes.NewReader([]byte(h.Note)), objstore.PutOptions{Size: int64(len(h.Note)), ContentType: "text/plain; charset=utf-8"})
	if rft.KindOf(err) != rft.KindAlreadyExists {
		return err
	}
	info, err := m.Reader.Stat(ctx, m.key(h))
	if err != nil {
		return err
	}
	r, err := m.Reader.Open(ctx, m.key(h), info.Pin, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxHeadBytes+1))
	if err != nil {
		return rft.Wrap(rft.KindUnavailable, err, "the mirrored tree head cannot be read")
	}
	there, err := OpenHead(text, l.key)
	if err != nil || there.Size != h.Size || there.Root != h.Root {
		return rft.Errorf(rft.KindDataLoss, "the mirror holds another tree head of %d entries than the log: one of them was forged", h.Size)
	}
	return nil
}

// MirrorTo mirrors tree heads from now on, and once more when the log is closed.
func (l *Log) MirrorTo(m *Mirror) {
	l.mu.Lock()
	l.mirror = m
	l.mu.Unlock()
	l.done.Go(func() {
		t := time.NewTicker(m.every())
		defer t.Stop()
		for {
			select {
			case <-l.running.Done():
				return
			case <-t.C:
				l.mirrorNow(l.running, m)
			}
		}
	})
}

func (l *Log) mirrorOf() *Mirror {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mirror
}

// mirrorNow mirrors the newest tree head, unless it is there.
func (l *Log) mirrorNow(ctx context.Context, m *Mirror) {
	h, err := l.recordHead(ctx)
	if err == nil && h.Size > 0 {
		l.mu.Lock()
		done := l.stats.Mirrored >= h.Size
		l.mu.Unlock()
		if done {
			m.waits(time.Time{})
			return
		}
		m.waits(time.Now())
		err = m.put(ctx, l, h)
		if err == nil {
			err = l.DB.SetAuditMirrored(ctx, h.Size)
		}
	}
	if err != nil {
		if ctx.Err() == nil {
			l.Log.Error("the audit log's tree head cannot be mirrored", "kind", string(rft.KindOf(err)), "message", rft.PublicMessage(err))
		}
		return
	}
	l.mu.Lock()
	l.stats.Mirrored = h.Size
	l.mu.Unlock()
	m.waits(time.Time{})
}
