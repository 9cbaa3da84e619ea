package audit

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// TestRecordReturnsWhenLogged: concurrent acts get places of their own, and each
// is durable and provable when Record returns.
func TestRecordReturnsWhenLogged(t *testing.T) {
	h := newHome(t)
	h.rows(3) // committed before there was a log
	l := h.start()
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		places []int64
	)
	for range 8 {
		wg.Go(func() {
			for range 4 {
				index, err := l.Record(t.Context(), anAct, "OK")
				if err != nil {
					t.Error(err)
					return
				}
				if size, err := l.w.size(t.Context()); err != nil || size <= index {
					t.Errorf("index %d was given out at size %d, %v", index, size, err)
				}
				mu.Lock()
				places = append(places, index)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(places)
	for i, p := range places {
		if p != int64(i)+3 {
			t.Fatalf("places %v are not 3, 4, ...", places)
		}
	}
	eventually(t, "a tree head of everything in the database", func() bool {
		s, err := h.db.AuditState(t.Context())
		return err == nil && s.HeadSize == 35
	})
	l.Close()
	h.clean(35)
	rows, err := h.db.AuditFrom(t.Context(), 1, 100)
	if err != nil || len(rows) != 35 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, r := range rows {
		if r.LogIndex != r.Seq-1 {
			t.Errorf("row %d has index %d", r.Seq, r.LogIndex)
		}
	}
}

// TestProofsByAnotherImplementation: golang.org/x/mod/sumdb/tlog makes proofs
// from our tiles and checks them against the signed heads: each entry is in the
// log, and each head continues the one before.
func TestProofsByAnotherImplementation(t *testing.T) {
	h := newHome(t)
	h.logged(270)
	first := mustHead(t, h)
	h.logged(30)
	second := mustHead(t, h)
	d, err := OpenDir(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	hashes := tlog.HashReaderFunc(func(stored []int64) (out []tlog.Hash, err error) {
		for _, s := range stored {
			level, n := tlog.SplitStoredHashIndex(s)
			node, err := d.node(level, n, second.Size)
			if err != nil {
				return nil, err
			}
			out = append(out, node)
		}
		return out, nil
	})
	proof, err := tlog.ProveTree(second.Size, first.Size, hashes)
	if err != nil {
		t.Fatal(err)
	}
	if err := tlog.CheckTree(proof, second.Size, second.Root, first.Size, first.Root); err != nil {
		t.Error(err)
	}
	rows, err := h.db.AuditFrom(t.Context(), 1, 1000)
	if err != nil || int64(len(rows)) != second.Size {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, index := range []int64{0, 1, 255, 256, 299} {
		proof, err := tlog.ProveRecord(second.Size, index, hashes)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(proof, second.Size, second.Root, index, tlog.RecordHash(eventOf(rows[index]).Leaf())); err != nil {
			t.Errorf("entry %d: %v", index, err)
		}
	}
}

// TestLostLogIsWrittenAgain: from the database alone, to the same tree.
func TestLostLogIsWrittenAgain(t *testing.T) {
	h := newHome(t)
	h.logged(300)
	before := h.head()
	if err := os.RemoveAll(h.dir); err != nil {
		t.Fatal(err)
	}
	h.rows(5)
	h.start().Close()
	h.clean(305, before)
}

// TestStartRefusesAnotherHistory: a log or a database that does not lead to the
// tree head that was signed is not taken up.
func TestStartRefusesAnotherHistory(t *testing.T) {
	edit := func(h *home, query string) {
		t.Helper()
		if err := h.sql(query); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*home)
	}{
		{"the log is gone and a row was changed", func(h *home) {
			edit(h, "UPDATE audit_outbox SET client_ip = '203.0.113.1' WHERE seq = 5")
			_ = os.RemoveAll(h.dir)
		}},
		{"the log is gone and rows were removed", func(h *home) {
			edit(h, "DELETE FROM audit_outbox WHERE seq = 5")
			_ = os.RemoveAll(h.dir)
		}},
		{"the newest row was changed", func(h *home) { edit(h, "UPDATE audit_outbox SET result = 'NO' WHERE seq = 20") }},
		{"the log's hashes were changed", func(h *home) {
			path := filepath.Join(h.dir, logDir, "tile", "0", "000.p", "20")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[40] ^= 1
			_ = os.WriteFile(path, b, 0o644)
		}},
		{"the key was exchanged", func(h *home) { edit(h, "UPDATE audit_state SET verifier = 'firekeep/x+00000000+AAAA' WHERE id = 1") }},
		{"the head was exchanged", func(h *home) { edit(h, "UPDATE audit_state SET head = 'x' WHERE id = 1") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHome(t)
			h.logged(20)
			c.change(h)
			l, err := Start(t.Context(), h.config())
			if err == nil {
				l.Close()
				t.Fatal("it was taken up")
			}
			wantKind(t, err, rft.KindDataLoss)
		})
	}
}

// TestRestoredDatabase: a database put back from an older copy gets the acts
// since then from the log, and says so.
func TestRestoredDatabase(t *testing.T) {
	h := newHome(t)
	h.logged(10)
	older := filepath.Join(t.TempDir(), "older")
	if err := h.sql("VACUUM INTO '" + older + "'"); err != nil {
		t.Fatal(err)
	}
	h.logged(290)
	lost, err := h.db.AuditFrom(t.Context(), 200, 1)
	if err != nil {
		t.Fatal(err)
	}
	h.open(older)
	h.start().Close()
	h.clean(301)
	rows, err := h.db.AuditFrom(t.Context(), 200, 200)
	if err != nil || len(rows) != 102 || rows[101].Method != "RestoreAudit" || rows[101].Detail["from"] != "11" {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	lost[0].Actor = lost[0].ActorID // the log does not know the name
	if got := eventOf(rows[0]).Leaf(); string(got) != string(eventOf(lost[0]).Leaf()) {
		t.Errorf("row 200 came back as %s", got)
	}
}

// TestFailsClosed: while the log cannot be written, what must be logged is
// refused and everything else goes on; afterwards nothing is missing or there
// twice.
func TestFailsClosed(t *testing.T) {
	h := newHome(t)
	l := h.start()
	h.rows(3)
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	tiles, aside := filepath.Join(h.dir, logDir, "tile"), filepath.Join(h.dir, "aside")
	if err := errors.Join(os.Rename(tiles, aside), os.WriteFile(tiles, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err := l.Record(t.Context(), anAct, "OK")
	wantKind(t, err, rft.KindUnavailable)
	wantKind(t, l.Err(), rft.KindUnavailable)
	wantKind(t, l.Wait(t.Context()), rft.KindUnavailable)
	if !strings.Contains(err.Error(), "audit log") {
		t.Errorf("the error %q does not say what is wrong", err)
	}
	if _, err := h.db.ListAudit(t.Context(), "main", store.AuditRange{}, store.ListOptions{}); err != nil {
		t.Errorf("reading: %v", err)
	}
	h.rows(2) // an ordinary operation
	if s := l.Stats(t.Context()); !s.Failing || s.Unlogged != 3 || s.Failures != 1 {
		t.Errorf("stats %+v", s)
	}
	if err := errors.Join(os.Remove(tiles), os.Rename(aside, tiles)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the recovery", func() bool { return l.Err() == nil })
	if _, err := l.Record(t.Context(), anAct, "OK"); err != nil {
		t.Fatal(err)
	}
	l.Close()
	h.clean(7)
}

// TestAnotherKEK: a private key that does not open stops the start; the log never
// gets a new key by itself.
func TestAnotherKEK(t *testing.T) {
	h := newHome(t)
	h.logged(3)
	h.kek = newHome(t).kek
	_, err := Start(t.Context(), h.config())
	wantKind(t, err, rft.KindFailedPrecondition)
}

func TestRetentionNeedsACopyElsewhere(t *testing.T) {
	h := newHome(t)
	c := h.config()
	c.Retain = 1 // a nanosecond
	l, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	h.rows(30)
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	oldest := func() int64 {
		rows, err := h.db.AuditFrom(t.Context(), 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		return rows[0].Seq
	}
	eventually(t, "a tree head", func() bool { head, err := l.recordHead(t.Context()); return err == nil && head.Size == 30 })
	if l.drop(t.Context()); oldest() != 1 {
		t.Fatal("rows were dropped that are nowhere else")
	}
	var b strings.Builder
	if err := l.Export(t.Context(), &b, Verifies, Selection{}); err != nil {
		t.Fatal(err)
	}
	if l.drop(t.Context()); oldest() != 30 {
		t.Fatalf("rows were exported but not dropped: the oldest is %d", oldest())
	}
	if _, err := l.Record(t.Context(), anAct, "OK"); err != nil {
		t.Fatal(err)
	}
	l.Close()
	h.clean(31)
	// What the database no longer has, the log still gives out.
	l = h.start()
	defer l.Close()
	b.Reset()
	if err := l.Export(t.Context(), &b, JSONLines, Selection{}); err != nil || strings.Count(b.String(), "\n") != 31 {
		t.Errorf("%d lines, %v", strings.Count(b.String(), "\n"), err)
	}
}

func BenchmarkRecord(b *testing.B) {
	h := newHome(b)
	l, err := Start(b.Context(), Config{DB: h.db, KEK: h.kek, Dir: h.dir})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for b.Loop() {
		if _, err := l.Record(b.Context(), anAct, "OK"); err != nil {
			b.Fatal(err)
		}
	}
}
