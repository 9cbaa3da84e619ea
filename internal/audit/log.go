// Package audit turns the outbox of package store into a transparency log: a
// Merkle tree of events on disk (c2sp.org/tlog-tiles, written by Tessera) whose
// heads are signed, so that no entry can be changed, removed, added in between or
// put elsewhere without everybody noticing who has kept an older head.
//
// The row with number n lies at index n-1, always. So the log's size says which
// rows it has: after a crash at any instant the next start goes on behind it,
// nothing is lost and nothing is there twice. Either side can be made from the
// other: a lost log from the outbox, rows of a restored database from the log.
//
// An act is "logged" when its row is committed and its entry is durable in the
// tree. Record and Wait return then; while the log cannot be written they fail,
// and what must be logged first does not happen.
package audit

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// Names in the log's directory.
const (
	logDir       = "log"
	VerifierFile = "verifier.pub" // the public key, to be pinned elsewhere
)

const (
	// roundRows is how many rows are taken into the log at once.
	roundRows = 1024
	// waitLimit is how long an act waits to be logged before it is refused.
	waitLimit = 10 * time.Second
	// Retries of a log that cannot be written.
	minRetry = 50 * time.Millisecond
	maxRetry = 2 * time.Second
)

// Config is what a Log works with.
type Config struct {
	DB  *store.DB
	KEK seal.KEK     // seals the private key
	Dir string       // "HOME/audit"
	Log *slog.Logger // nil = discard
	// Retain is how long rows stay in the outbox once they are logged and mirrored
	// or exported; 0 = for ever. The log itself keeps everything.
	Retain time.Duration
}

// Log is an open log with its background work. It is safe for concurrent use.
type Log struct {
	Config
	key  note.Verifier
	text string // the key's text
	w    *writer
	dir  Dir

	mu      sync.Mutex
	size    int64 // entries that are durable
	head    Head  // the newest one that the database knows
	err     error // why the log cannot be written
	changed chan struct{}
	mirror  *Mirror // nil = none
	stats   Stats

	running context.Context // ends with the background work

	stop context.CancelFunc // ends the background work
	halt context.CancelFunc // gives up a write that hangs
	done sync.WaitGroup
}

// Start opens the log, making it and its key when there is none, brings it up to
// the outbox and begins to follow it. It refuses a log that is not the one that
// the database knows.
func Start(ctx context.Context, c Config) (*Log, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	state, signer, err := ensureKey(ctx, c.DB, c.KEK)
	if err != nil {
		return nil, err
	}
	l := &Log{Config: c, text: state.Verifier, changed: make(chan struct{})}
	if l.key, err = ParseKey(state.Verifier); err != nil {
		return nil, err
	}
	path := filepath.Join(c.Dir, logDir)
	if l.w, err = openWriter(path, signer, c.Log); err != nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "the audit log in %s cannot be opened", c.Dir)
	}
	l.dir = Dir{os.DirFS(path)}
	if err := l.begin(ctx, state); err != nil {
		l.w.stop()
		return nil, err
	}
	running, stop := context.WithCancel(context.Background())
	writing, halt := context.WithCancel(context.Background())
	l.running, l.stop, l.halt = running, stop, halt
	l.done.Go(func() { l.follow(running, writing) })
	l.done.Go(func() { l.keep(running) })
	return l, nil
}

// begin checks the log against the database and closes the gap between them.
func (l *Log) begin(ctx context.Context, state store.AuditState) error {
	var err error
	if l.size, err = l.w.size(ctx); err != nil {
		return rft.Wrap(rft.KindDataLoss, err, "the size of the audit log in %s cannot be read", l.Dir)
	}
	if err := l.continues(ctx, state); err != nil {
		return err
	}
	if err := l.restore(ctx); err != nil {
		return err
	}
	for more := true; more; {
		if more, err = l.round(ctx); err != nil {
			return rft.Wrap(rft.KindUnavailable, err, "the audit log in %s cannot be written", l.Dir)
		}
	}
	l.stats.Mirrored = state.Mirrored
	return l.publishKey()
}

// continues checks that the log, together with the rows that it does not have
// yet, leads through the tree head that the database knows.
func (l *Log) continues(ctx context.Context, state store.AuditState) error {
	if state.Head == "" {
		return nil
	}
	head, err := OpenHead([]byte(state.Head), l.key)
	if err != nil || head.Size != state.HeadSize {
		return rft.Errorf(rft.KindDataLoss, "the database holds no usable tree head of its audit log")
	}
	t, err := l.dir.tree(min(head.Size, l.size), l.size)
	if err != nil {
		return rft.Wrap(rft.KindDataLoss, err, "the audit log in %s is damaged: its hashes cannot be read; `firekeep audit verify` says more", l.Dir)
	}
	for t.n < head.Size {
		rows, err := l.DB.AuditFrom(ctx, t.n+1, roundRows)
		if err != nil {
			return err
		}
		if len(rows) == 0 || rows[0].Seq != t.n+1 {
			return rft.Errorf(rft.KindDataLoss, "the audit log in %s ends at entry %d, its tree head covers %d, and the database no longer has row %d; restore the directory",
				l.Dir, l.size, head.Size, t.n+1)
		}
		for _, r := range rows {
			if r.Seq != t.n+1 || t.n == head.Size {
				break
			}
			t.add(leafHash(eventOf(r).Leaf()))
		}
	}
	if t.root() != head.Root {
		return rft.Errorf(rft.KindDataLoss, "the audit log in %s does not lead to the tree head that was signed for %d entries: the log or the database was changed", l.Dir, head.Size)
	}
	l.head = head
	return nil
}

// restore gives the database the rows that only the log has: a database put back
// from an older copy does not take the acts since then with it.
func (l *Log) restore(ctx context.Context) error {
	last, err := l.DB.LastAudit(ctx)
	if err != nil {
		return err
	}
	if last > 0 && l.size > 0 {
		if err := l.agree(ctx, min(last, l.size)); err != nil {
			return err
		}
	}
	if last >= l.size {
		return nil
	}
	from := last
	var rows []store.AuditRow
	err = l.entries(ctx, last, l.size, func(index int64, leaf []byte) error {
		e, err := ParseLeaf(leaf)
		if err != nil || e.Seq != index+1 {
			return rft.Errorf(rft.KindDataLoss, "entry %d of the audit log in %s cannot be read", index, l.Dir)
		}
		row, err := e.row()
		if err != nil {
			return rft.Errorf(rft.KindDataLoss, "entry %d of the audit log in %s has no time", index, l.Dir)
		}
		if rows = append(rows, row); len(rows) < roundRows && index+1 < l.size {
			return nil
		}
		err = l.DB.RestoreAudit(ctx, rows)
		rows = rows[:0]
		return err
	})
	if err != nil {
		return err
	}
	l.Log.Warn("the audit log is ahead of the database; its entries were restored", "from", from+1, "to", l.size)
	_, err = l.DB.AppendAudit(ctx, store.Act{Actor: "audit", ActorKind: store.ActorSystem, Method: "RestoreAudit", Resource: "audit",
		Detail: map[string]string{"from": itoa(from + 1), "to": itoa(l.size)}}, "OK")
	return err
}

// agree checks that log and database have the same event at number seq: that
// they are of one history.
func (l *Log) agree(ctx context.Context, seq int64) error {
	rows, err := l.DB.AuditFrom(ctx, seq, 1)
	if err != nil {
		return err
	}
	if len(rows) == 0 || rows[0].Seq != seq {
		return nil // dropped from the outbox
	}
	return l.entries(ctx, seq-1, seq, func(_ int64, leaf []byte) error {
		if !bytes.Equal(leaf, eventOf(rows[0]).Leaf()) {
			return rft.Errorf(rft.KindDataLoss, "entry %d of the audit log in %s is not the one of the database: one of them was changed, or restored without the other", seq-1, l.Dir)
		}
		return nil
	})
}

// publishKey leaves the public key beside the log.
func (l *Log) publishKey() error {
	path := filepath.Join(l.Dir, VerifierFile)
	if b, err := os.ReadFile(path); err == nil && string(b) == l.text+"\n" {
		return nil
	}
	if err := os.WriteFile(path, []byte(l.text+"\n"), 0o644); err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be written", path)
	}
	return nil
}

// Key is the log's public key.
func (l *Log) Key() string { return l.text }

// Head is the newest signed tree head. It may cover less than what is logged, for
// a fraction of a second.
func (l *Log) Head(ctx context.Context) (Head, error) {
	text, err := l.w.head(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return Head{}, rft.Errorf(rft.KindUnavailable, "the audit log has no tree head yet")
	}
	if err != nil {
		return Head{}, rft.Wrap(rft.KindUnavailable, err, "the audit log's tree head cannot be read")
	}
	h, err := OpenHead(text, l.key)
	if err != nil {
		return Head{}, rft.Wrap(rft.KindDataLoss, err, "%s", headMessage("the audit log's tree head", err))
	}
	return h, nil
}

// Record writes an act that changes no row of its own and returns its index once
// it is logged. result is "OK" or the kind of a refusal.
func (l *Log) Record(ctx context.Context, act store.Act, result string) (index int64, err error) {
	if err := l.Err(); err != nil {
		return 0, err
	}
	seq, err := l.DB.AppendAudit(ctx, act, result)
	if err != nil {
		return 0, err
	}
	return seq - 1, l.wait(ctx, seq)
}

// Wait returns when everything that was committed before is logged: the acts of
// one phase wait once, together.
func (l *Log) Wait(ctx context.Context) error {
	seq, err := l.DB.LastAudit(ctx)
	if err != nil {
		return err
	}
	return l.wait(ctx, seq)
}

// wait returns when the row with number seq is logged.
func (l *Log) wait(ctx context.Context, seq int64) error {
	begun := time.Now()
	limit := time.NewTimer(waitLimit)
	defer limit.Stop()
	for {
		l.mu.Lock()
		size, err, changed := l.size, l.err, l.changed
		if size >= seq {
			l.stats.Waits++
			l.stats.Waited += time.Since(begun)
		}
		l.mu.Unlock()
		switch {
		case size >= seq:
			return nil
		case err != nil:
			return refused(err)
		}
		select {
		case <-changed:
		case <-limit.C:
			return refused(errors.New("audit: the log did not take the entry in time"))
		case <-ctx.Done():
			return rft.Wrap(rft.KindCancelled, ctx.Err(), "the request ended before its audit entry was logged")
		}
	}
}

// Err says why the log cannot be written, nil when it can. An operation that
// must be logged asks before it changes anything.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		return nil
	}
	return refused(l.err)
}

func refused(cause error) error {
	return rft.Wrap(rft.KindUnavailable, cause, "the audit log cannot be written; what must be logged first is refused until it can: the operator finds the cause in the server's log")
}

// Close logs what is committed, waits for a tree head that covers it, and ends
// the background work.
func (l *Log) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = l.Wait(ctx) // what is left is taken up at the next start
	l.stop()
	l.w.close(ctx, func() bool {
		h, err := l.Head(ctx)
		l.mu.Lock()
		defer l.mu.Unlock()
		return err == nil && h.Size >= l.size || l.err != nil
	})
	l.halt()
	l.done.Wait()
	_, _ = l.recordHead(ctx) // else the next start does
	if m := l.mirrorOf(); m != nil {
		l.mirrorNow(ctx, m)
	}
}
