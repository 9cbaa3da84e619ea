package objstore

import (
	"path"
	"strings"
	"unicode/utf8"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// Secret is a storage credential as JSON ((S3Credential, GSCredential,
// AzureCredential); it
// redacts itself.
type Secret = seal.Secret

// Scheme names a driver.
type Scheme string

const (
	File Scheme = "file"
	S3   Scheme = "s3"
	GS   Scheme = "gs"
	// Azure: https://ACCOUNT.blob.core.windows.net/CONTAINER/KEY. Bucket is then
	// HOST/CONTAINER.
	Azure Scheme = "https"
)

// maxKeyBytes is the limit of S3 and of GCS.
const maxKeyBytes = 1024

// URL is the place of an object or of a prefix. Key is byte-exact: nothing in a
// URL is percent-decoded, and '?', '#', '%' and '+' are ordinary bytes of a
// key. For file URLs Bucket is "" and Key is the absolute path without its
// first slash. A URL cannot hold a credential.
type URL struct {
	Scheme Scheme `json:"scheme"`
	Bucket string `json:"bucket,omitempty"`
	Key    string `json:"key"`
}

// bucketPattern covers the names of S3 and GCS buckets.
var bucketPattern = rft.Pattern(`^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$`)

// ParseURL reads file:///path, s3://bucket/key, gs://bucket/key and
// https://ACCOUNT.blob.core.windows.net/CONTAINER/key. Errors are INVALID_ARGUMENT.
func ParseURL(s string) (URL, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return URL{}, rft.Errorf(rft.KindInvalidArgument, "storage URL: want file:///path, s3://bucket/key, gs://bucket/key or https://ACCOUNT.blob.core.windows.net/CONTAINER/key")
	}
	bucket, key, slash := strings.Cut(rest, "/")
	u := URL{Scheme: Scheme(scheme), Bucket: bucket, Key: key}
	switch u.Scheme {
	case File:
		if bucket != "" || !slash {
			return URL{}, rft.Errorf(rft.KindInvalidArgument, "storage URL: a file URL has three slashes and an absolute path: file:///path")
		}
	case S3, GS:
		if !bucketPattern.MatchString(bucket) {
			return URL{}, rft.Errorf(rft.KindInvalidArgument, "storage URL: the bucket name is not 3 to 222 of a-z, 0-9, '.', '_' and '-'")
		}
	case Azure:
		name, rest, _ := strings.Cut(key, "/")
		u.Bucket, u.Key = bucket+"/"+name, rest
		if _, _, _, ok := azurePlace(u.Bucket); !ok {
			return URL{}, rft.Errorf(rft.KindInvalidArgument, "storage URL: want https://ACCOUNT.blob.core.windows.net/CONTAINER/key")
		}
	default:
		return URL{}, rft.Errorf(rft.KindInvalidArgument, "storage URL: unknown scheme; want file, s3, gs or https (Azure Blob Storage)")
	}
	if err := u.checkKey(); err != nil {
		return URL{}, err
	}
	return u, nil
}

func (u URL) checkKey() error {
	if len(u.Key) > maxKeyBytes && u.Scheme != File {
		return rft.Errorf(rft.KindInvalidArgument, "storage URL: the key has %d bytes; at most %d are allowed", len(u.Key), maxKeyBytes)
	}
	if !utf8.ValidString(u.Key) {
		return rft.Errorf(rft.KindInvalidArgument, "storage URL: the key is not valid UTF-8")
	}
	for _, r := range u.Key {
		if r < 0x20 || r == 0x7f {
			return rft.Errorf(rft.KindInvalidArgument, "storage URL: the key has a control character")
		}
	}
	if u.Scheme == File {
		return checkFileKey(u.Key)
	}
	return nil
}

// String is the text that ParseURL reads.
func (u URL) String() string { return string(u.Scheme) + "://" + u.Bucket + "/" + u.Key }

// IsZero reports whether u is no URL at all.
func (u URL) IsZero() bool { return u == URL{} }

// IsPrefix reports whether u names everything below it: its text ends in '/'.
func (u URL) IsPrefix() bool { return u.Key == "" || strings.HasSuffix(u.Key, "/") }

// Join is the URL whose key is u's key followed by rel, as bytes.
func (u URL) Join(rel string) URL { u.Key += rel; return u }

// Base is the last segment of the key.
func (u URL) Base() string { return path.Base(u.Key) }

// Under reports whether u lies under prefix: the same bucket, and a key that
// begins with prefix's bytes. prefix must end in '/'.
func (u URL) Under(prefix URL) bool {
	return prefix.IsPrefix() && u.Scheme == prefix.Scheme && u.Bucket == prefix.Bucket && strings.HasPrefix(u.Key, prefix.Key)
}

// scopePattern is the grammar of prefixes that credentials are limited to.
// Policy languages give a meaning to * ? $ { } \ " and ', so these stay out.
var scopePattern = rft.Pattern(`^[A-Za-z0-9!_.()/=+@,-]*$`)

// CheckScope reports whether u may be the prefix of a connection: it ends in
// '/', holds no "..", and only letters, digits and ! _ . ( ) / = + @ , -.
// Errors name the request field.
func (u URL) CheckScope(field string) error {
	switch {
	case !u.IsPrefix():
		return rft.FieldErrorf(field, "%s: a prefix ends in '/'", field)
	case strings.Contains(u.Key, ".."):
		return rft.FieldErrorf(field, "%s: a prefix may not hold \"..\"", field)
	case !scopePattern.MatchString(u.Key):
		return rft.FieldErrorf(field, "%s: a prefix may hold letters, digits and ! _ . ( ) / = + @ , - only", field)
	}
	return nil
}

// checkFileKey refuses keys that a directory tree cannot hold byte for byte.
func checkFileKey(key string) error {
	for part := range strings.SplitSeq(strings.TrimSuffix(key, "/"), "/") {
		if part == "." || part == ".." || len(part) > 255 || part == "" && key != "" {
			return rft.Errorf(rft.KindInvalidArgument, "file key: segments are 1 to 255 bytes, and neither \".\" nor \"..\"")
		}
		if strings.ContainsRune(part, 0) {
			return rft.Errorf(rft.KindInvalidArgument, "file key: a zero byte")
		}
	}
	return nil
}

// ScopeSafe reports whether u's key holds only characters that no policy
// language gives a meaning to.
func (u URL) ScopeSafe() bool {
	return scopePattern.MatchString(u.Key) && !strings.Contains(u.Key, "..")
}
