// Package objstore is seam 1: object storage of customers and of Firekeep's
// home, over file://, s3:// and gs://. The comments of Bucket are the contract;
// conformance.go checks every implementation against them.
package objstore

import (
	"context"
	"io"
	"time"
)

// Pin fixes one version of one object. Size and at least one of Version and
// ETag are always set.
type Pin struct {
	Size    int64  `json:"size"`
	Version string `json:"version,omitempty"` // GCS generation, S3 VersionId
	ETag    string `json:"etag,omitempty"`
}

// Info describes an object as Stat and List return it.
type Info struct {
	Key      string    `json:"key"` // byte-exact, relative to the bucket
	Pin      Pin       `json:"pin"`
	Modified time.Time `json:"modified"`
}

// PutOptions are the options of a write.
type PutOptions struct {
	Size         int64 // -1 = unknown
	ContentType  string
	CacheControl string
	SHA256       string // hex; when set the store or the driver must refuse other bytes
}

// Bucket is one bucket with the credential of one job. Keys are byte-exact:
// nothing is escaped, cleaned or rewritten. Every method honours ctx. Errors are
// *rft.Error: NOT_FOUND for an absent object, ALREADY_EXISTS for a create-only
// write that met an object, FAILED_PRECONDITION wrapping ErrChanged when a pin
// does not match any more, PERMISSION_DENIED for a refused credential, and
// UNAVAILABLE when trying again may help. No error, log or URL holds a credential.
type Bucket interface {
	// Stat returns the object's current pin.
	Stat(ctx context.Context, key string) (Info, error)
	// Open reads [offset, offset+length) of the pinned version; length < 0 = to
	// the end. The reader resumes by itself after a broken connection, at the
	// offset it reached and with the same pin; it fails with ErrChanged when the
	// object is not the pinned version any more.
	Open(ctx context.Context, key string, pin Pin, offset, length int64) (io.ReadCloser, error)
	// List yields objects whose key begins with prefix in byte order, after
	// startAfter. It stops at the first error of yield.
	List(ctx context.Context, prefix, startAfter string, yield func(Info) error) error
	// Create writes an object that must not exist yet. Nothing is visible until
	// it is whole; large bodies go in parts. On any error nothing is left behind.
	Create(ctx context.Context, key string, r io.Reader, o PutOptions) (Info, error)
	// Replace overwrites the object if it still has the given pin.
	Replace(ctx context.Context, key string, was Pin, r io.Reader, o PutOptions) (Info, error)
	// Delete removes the object; absent is not an error.
	Delete(ctx context.Context, key string) error
	// Close releases connections.
	Close() error
}
