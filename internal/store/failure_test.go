package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/firekeep/firekeep/internal/rft"
)

// TestFailuresThatPass: a job that meets one of them is tried again.
func TestFailuresThatPass(t *testing.T) {
	db := &DB{}
	for _, c := range []struct {
		err  error
		kind rft.Kind
	}{
		{&pgconn.PgError{Code: "57P01"}, rft.KindUnavailable},
		{&pgconn.PgError{Code: "08006"}, rft.KindUnavailable},
		{&pgconn.PgError{Code: "53300"}, rft.KindUnavailable},
		{&pgconn.PgError{Code: "42601"}, rft.KindInternal},
		{fmt.Errorf("x: %w", &net.OpError{Op: "read", Err: errors.New("reset")}), rft.KindUnavailable},
		{driver.ErrBadConn, rft.KindUnavailable},
		{io.ErrUnexpectedEOF, rft.KindUnavailable},
		{errors.New("no such table"), rft.KindInternal},
		{rft.Errorf(rft.KindAborted, "x"), rft.KindAborted},
	} {
		if got := rft.KindOf(db.failure(context.Background(), c.err)); got != c.kind {
			t.Errorf("%v is %s, want %s", c.err, got, c.kind)
		}
	}
}

// TestHeldLockPasses: another process that writes for too long is no damage.
func TestHeldLockPasses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	a, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.writer.Exec("PRAGMA busy_timeout(1)"); err != nil {
		t.Fatal(err)
	}
	err = a.write(t.Context(), func(*tx) error {
		return b.write(t.Context(), func(*tx) error { return nil })
	})
	if rft.KindOf(err) != rft.KindUnavailable {
		t.Errorf("%v", err)
	}
}
