package objstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/firekeep/firekeep/internal/rft"
)

// ErrChanged is in the chain of every error that says: the object is not the
// pinned version any more.
var ErrChanged = errors.New("the object has changed")

func changed(u URL) error {
	return rft.Wrap(rft.KindFailedPrecondition, ErrChanged, "%s has changed since it was registered or read", u)
}

func absent(u URL, cause error) error {
	return rft.Wrap(rft.KindNotFound, cause, "%s does not exist", u)
}

func exists(u URL) error {
	return rft.Errorf(rft.KindAlreadyExists, "%s exists already", u)
}

func outOfRange(u URL, offset, size int64) error {
	return rft.Errorf(rft.KindOutOfRange, "%s has %d bytes; offset %d lies beyond", u, size, offset)
}

func wrongBytes(u URL, format string, args ...any) error {
	return rft.Errorf(rft.KindDataLoss, "%s was not written: %s", u, fmt.Sprintf(format, args...))
}

// sourceError is trouble of the reader that feeds a write. Its kind stays.
func sourceError(u URL, err error) error {
	if e, ok := errors.AsType[*rft.Error](err); ok {
		return e
	}
	if e := contextError(u, err); e != nil {
		return e
	}
	return rft.Wrap(rft.KindInternal, err, "%s was not written: its source failed", u)
}

// contextError maps the end of a context, and is nil for other errors.
func contextError(u URL, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return rft.Wrap(rft.KindCancelled, err, "%s: cancelled", u)
	case errors.Is(err, context.DeadlineExceeded):
		return rft.Wrap(rft.KindDeadlineExceeded, err, "%s: took too long", u)
	}
	return nil
}

// statusError maps an HTTP status of a store. cause stays out of the message.
func statusError(u URL, status int, cause error) error {
	switch {
	case status == 401 || status == 403:
		return rft.Wrap(rft.KindPermissionDenied, cause, "%s: the storage refused the credential", u)
	case status == 404:
		return absent(u, cause)
	case status == 301 || status == 307 || status == 308:
		return rft.Wrap(rft.KindFailedPrecondition, cause, "%s: the bucket is at another endpoint or in another region", u)
	case status == 416:
		return rft.Wrap(rft.KindOutOfRange, cause, "%s: the range lies beyond the object", u)
	case status == 408 || status == 429 || status >= 500:
		return rft.Wrap(rft.KindUnavailable, cause, "%s: the storage answered %d", u, status)
	case status >= 400:
		return rft.Wrap(rft.KindInvalidArgument, cause, "%s: the storage refused the request with %d", u, status)
	}
	return rft.Wrap(rft.KindUnavailable, cause, "%s: the storage cannot be reached", u)
}
