package audit

import (
	"context"
	"strconv"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// round takes the next rows of the outbox into the log. What the log has already
// is known by its size, whatever happened before.
func (l *Log) round(ctx context.Context) (more bool, err error) {
	size, err := l.w.size(ctx)
	if err != nil {
		return false, err
	}
	rows, err := l.DB.AuditFrom(ctx, size+1, roundRows)
	if err != nil || len(rows) == 0 {
		return false, err
	}
	leaves := make([][]byte, len(rows))
	for i, r := range rows {
		if r.Seq != size+1+int64(i) {
			return false, rft.Errorf(rft.KindDataLoss, "the audit outbox has no row %d", size+1+int64(i))
		}
		if leaves[i] = eventOf(r).Leaf(); len(leaves[i]) > maxLeafBytes {
			return false, rft.Errorf(rft.KindInternal, "row %d of the audit outbox does not fit into the log", r.Seq)
		}
	}
	err = l.w.append(ctx, size, leaves)
	if now, e := l.w.size(ctx); e == nil {
		l.grown(now)
	} else if err == nil {
		err = e
	}
	return len(rows) == roundRows, err
}

// grown tells waiters of the log's size.
func (l *Log) grown(size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if size > l.size {
		l.size = size
		l.wake()
	}
}

// wake wakes all who wait; l.mu is held.
func (l *Log) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// failed remembers why the log cannot be written, nil when it can.
func (l *Log) failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if (l.err == nil) != (err == nil) {
		if err != nil {
			l.Log.Error("the audit log cannot be written; acts that must be logged are refused", "cause", err.Error())
			l.stats.Failures++
		} else {
			l.Log.Info("the audit log can be written again")
		}
		l.wake()
	}
	l.err = err
}

// follow takes rows into the log as they are committed, until running ends.
// writing ends only when a write hangs that nobody waits for any more: a write
// that was given up could still happen, and the entries be there twice.
func (l *Log) follow(running, writing context.Context) {
	retry := minRetry
	for running.Err() == nil {
		changed := l.DB.AuditChanged()
		more, err := l.round(writing)
		if writing.Err() != nil {
			return
		}
		l.failed(err)
		var again <-chan time.Time
		switch {
		case err != nil:
			again, retry = time.After(retry), min(2*retry, maxRetry)
			changed = nil // one row more does not mend it
		case more:
			continue
		default:
			retry = minRetry
		}
		select {
		case <-running.Done():
		case <-changed:
		case <-again:
		}
	}
}

// keep does what need not be waited for: it records tree heads in the database,
// and drops what the outbox need not hold any longer.
func (l *Log) keep(ctx context.Context) {
	heads := time.NewTicker(headEvery)
	defer heads.Stop()
	retain := time.NewTicker(time.Hour)
	defer retain.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-heads.C:
			if _, err := l.recordHead(ctx); err != nil && ctx.Err() == nil {
				l.Log.Warn("the audit log's tree head cannot be recorded", "message", rft.PublicMessage(err))
			}
		case <-retain.C:
			l.drop(ctx)
		}
	}
}

// recordHead brings the database up to the newest tree head, if it is behind.
func (l *Log) recordHead(ctx context.Context) (Head, error) {
	l.mu.Lock()
	known, size := l.head, l.size
	l.mu.Unlock()
	if known.Size == size {
		return known, nil
	}
	h, err := l.Head(ctx)
	if err != nil || h.Size <= known.Size {
		return known, err
	}
	if err := l.DB.SetAuditHead(ctx, h.Size, h.Note); err != nil {
		return known, err
	}
	l.mu.Lock()
	l.head = h
	l.mu.Unlock()
	return h, nil
}

// drop removes rows from the outbox whose time is over, as far as a tree head
// that covers them lies outside of this host.
func (l *Log) drop(ctx context.Context) {
	if l.Retain <= 0 {
		return
	}
	state, err := l.DB.AuditState(ctx)
	if err == nil {
		var n int64
		upto := min(state.HeadSize, max(state.Mirrored, state.Exported))
		if n, err = l.DB.DropAudit(ctx, time.Now().Add(-l.Retain), upto); n > 0 {
			l.Log.Info("audit rows were dropped from the database; the log keeps them", "rows", n)
		}
	}
	if err != nil && ctx.Err() == nil {
		l.Log.Warn("audit rows cannot be dropped", "message", rft.PublicMessage(err))
	}
}

// Stats are the log's numbers, for metrics.
type Stats struct {
	Size     int64 // entries
	Unlogged int64 // rows that wait; -1 = the database does not answer
	HeadSize int64 // of the newest tree head
	Mirrored int64 // size of the newest head that was mirrored
	// MirrorLag is how long the newest tree head waits to be mirrored; 0 = it is.
	MirrorLag time.Duration
	Waits     int64
	Waited    time.Duration // by all of them
	Failures  int64         // times that the log could not be written
	Failing   bool
}

// Stats reads them.
func (l *Log) Stats(ctx context.Context) Stats {
	last, err := l.DB.LastAudit(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Size, s.HeadSize, s.Failing = l.size, l.head.Size, l.err != nil
	s.Unlogged = max(0, last-l.size)
	if err != nil {
		s.Unlogged = -1
	}
	if l.mirror != nil {
		s.MirrorLag = l.mirror.lag()
	}
	return s
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
