package audit

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/firekeep/firekeep/internal/rft"
)

// TestDiskFull: a log on a disk of its own that fills up refuses, loses nothing,
// and goes on when there is room again.
func TestDiskFull(t *testing.T) {
	h := newHome(t)
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", h.dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("host lacks the right to mount a small disk: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(h.dir, syscall.MNT_DETACH) })
	l := h.start()
	var logged int64
	for range 2000 {
		index, err := l.Record(t.Context(), anAct, "OK")
		if err != nil {
			wantKind(t, err, rft.KindUnavailable)
			break
		}
		if logged = index + 1; logged == 2000 {
			t.Fatal("the disk never filled up")
		}
	}
	if _, err := l.Record(t.Context(), anAct, "OK"); rft.KindOf(err) != rft.KindUnavailable {
		t.Fatalf("recorded on a full disk: %v", err)
	}
	if err := syscall.Mount("tmpfs", h.dir, "tmpfs", syscall.MS_REMOUNT, "size=16m"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the recovery", func() bool { return l.Err() == nil })
	if _, err := l.Record(t.Context(), anAct, "OK"); err != nil {
		t.Fatal(err)
	}
	l.Close()
	last, err := h.db.LastAudit(t.Context())
	if err != nil || last <= logged {
		t.Fatalf("%d rows after %d logged, %v", last, logged, err)
	}
	h.clean(last)
	if !exists(filepath.Join(h.dir, logDir, "checkpoint")) {
		t.Error("the log is not on the small disk")
	}
}
