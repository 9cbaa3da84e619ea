package store

import (
	"errors"

	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"github.com/firekeep/firekeep/internal/rft"
)

// diskFault names what the disk of the database refuses, nil when it is not the
// disk. A full one waits for its operator, so a job that meets it fails; an
// input or output error may pass, and a job that meets one is tried again.
func diskFault(err error) *rft.Error {
	var lite *sqlite.Error
	if !errors.As(err, &lite) {
		return nil
	}
	switch lite.Code() & 0xff { // the rest of the code says more
	case sqlitelib.SQLITE_FULL:
		return rft.Wrap(rft.KindResourceExhausted, err, "the disk of the database is full; make room and try again")
	case sqlitelib.SQLITE_IOERR:
		return rft.Wrap(rft.KindUnavailable, err, "the disk of the database failed to read or write; the kernel's log says more")
	}
	return nil
}
