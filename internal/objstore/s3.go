package objstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/firekeep/firekeep/internal/rft"
)

// S3Credential is the JSON in the Secret of an s3:// connection.
type S3Credential struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
	SessionToken    string `json:"sessionToken,omitempty"`
	Region          string `json:"region,omitempty"`
	// BucketOwner is the account that must own the bucket; every request says so.
	BucketOwner string `json:"bucketOwner,omitempty"`
}

func (c S3Credential) check() error {
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return rft.Errorf(rft.KindInvalidArgument, "S3 credential: want accessKeyId and secretAccessKey")
	}
	return nil
}

// s3Bucket implements Bucket on the S3 protocol.
type s3Bucket struct {
	client *s3.Client
	bucket string
	owner  *string
	cfg    Config
}

func openS3(u URL, secret Secret, c Config) (Bucket, error) {
	o := s3.Options{
		Region:       c.S3.Region,
		Credentials:  aws.AnonymousCredentials{},
		HTTPClient:   c.HTTPClient(),
		UsePathStyle: c.S3.PathStyle,
		// A read is checked by its pin and by digests of ours; a checksum of the
		// whole object says nothing about a range.
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = c.Retries + 1
			o.MaxBackoff = 100 * c.Backoff
			o.Backoff = retry.BackoffDelayerFunc(func(n int, _ error) (time.Duration, error) { return backoff(c.Backoff, n), nil })
		}),
	}
	b := &s3Bucket{bucket: u.Bucket, cfg: c}
	if !secret.Empty() {
		var cred S3Credential
		if err := json.Unmarshal([]byte(secret.Reveal()), &cred); err != nil {
			return nil, rft.Errorf(rft.KindInvalidArgument, "S3 credential: not a JSON object with accessKeyId and secretAccessKey")
		}
		if err := cred.check(); err != nil {
			return nil, err
		}
		o.Credentials = credentials.NewStaticCredentialsProvider(cred.AccessKeyID, cred.SecretAccessKey, cred.SessionToken)
		if cred.Region != "" {
			o.Region = cred.Region
		}
		if cred.BucketOwner != "" {
			b.owner = &cred.BucketOwner
		}
	}
	if c.S3.Endpoint != "" {
		o.BaseEndpoint = aws.String(strings.TrimSuffix(c.S3.Endpoint, "/"))
	}
	b.client = s3.New(o)
	return b, nil
}

func (b *s3Bucket) at(key string) URL { return URL{Scheme: S3, Bucket: b.bucket, Key: key} }

// check refuses keys that the protocol has no name for.
func (b *s3Bucket) check(key string) error {
	if key == "" {
		return rft.Errorf(rft.KindInvalidArgument, "%s names a bucket, not an object", b.at(key))
	}
	return b.at(key).checkKey()
}

// Stat implements Bucket.
func (b *s3Bucket) Stat(ctx context.Context, key string) (Info, error) {
	if err := b.check(key); err != nil {
		return Info{}, err
	}
	out, err := b.head(ctx, key)
	if err != nil {
		return Info{}, b.fault(key, err)
	}
	return Info{Key: key, Pin: s3Pin(out.ContentLength, out.VersionId, out.ETag), Modified: aws.ToTime(out.LastModified)}, nil
}

func (b *s3Bucket) head(ctx context.Context, key string) (*s3.HeadObjectOutput, error) {
	return b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.bucket, Key: &key, ExpectedBucketOwner: b.owner})
}

// s3Pin makes a pin. Buckets without versions call every version "null".
func s3Pin(size *int64, version, etag *string) Pin {
	p := Pin{Size: aws.ToInt64(size), Version: aws.ToString(version), ETag: aws.ToString(etag)}
	if p.Version == "null" {
		p.Version = ""
	}
	return p
}

// Open implements Bucket.
func (b *s3Bucket) Open(ctx context.Context, key string, pin Pin, offset, length int64) (io.ReadCloser, error) {
	if err := b.check(key); err != nil {
		return nil, err
	}
	if pin == (Pin{}) {
		info, err := b.Stat(ctx, key)
		if err != nil {
			return nil, err
		}
		pin = info.Pin
	}
	return resume(ctx, b.at(key), b.cfg, pin, offset, length, func(ctx context.Context, offset, n int64) (io.ReadCloser, error) {
		return b.openRange(ctx, key, pin, offset, n)
	})
}

// openRange is one GET with the pin's conditions. A range of no bytes, which
// HTTP cannot express, is a HEAD.
func (b *s3Bucket) openRange(ctx context.Context, key string, pin Pin, offset, n int64) (io.ReadCloser, error) {
	if n == 0 {
		return b.openNothing(ctx, key, pin)
	}
	in := &s3.GetObjectInput{Bucket: &b.bucket, Key: &key, ExpectedBucketOwner: b.owner}
	in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+n-1))
	if pin.ETag != "" {
		in.IfMatch = &pin.ETag
	}
	if pin.Version != "" {
		in.VersionId = &pin.Version
	}
	out, err := b.client.GetObject(ctx, in)
	if err != nil {
		return nil, b.pinFault(key, err)
	}
	start, total, ok := contentRange(aws.ToString(out.ContentRange))
	if !ok || start != offset || total != pin.Size || pin.ETag != "" && aws.ToString(out.ETag) != pin.ETag {
		_ = out.Body.Close()
		return nil, changed(b.at(key))
	}
	return out.Body, nil
}

func (b *s3Bucket) openNothing(ctx context.Context, key string, pin Pin) (io.ReadCloser, error) {
	in := &s3.HeadObjectInput{Bucket: &b.bucket, Key: &key, ExpectedBucketOwner: b.owner}
	if pin.Version != "" {
		in.VersionId = &pin.Version
	}
	out, err := b.client.HeadObject(ctx, in)
	if err != nil {
		return nil, b.pinFault(key, err)
	}
	if aws.ToInt64(out.ContentLength) != pin.Size || pin.ETag != "" && aws.ToString(out.ETag) != pin.ETag {
		return nil, changed(b.at(key))
	}
	return io.NopCloser(strings.NewReader("")), nil
}

// contentRange reads "bytes START-END/TOTAL".
func contentRange(s string) (start, total int64, ok bool) {
	s, ok1 := strings.CutPrefix(s, "bytes ")
	span, size, ok2 := strings.Cut(s, "/")
	first, _, ok3 := strings.Cut(span, "-")
	start, err1 := strconv.ParseInt(first, 10, 64)
	total, err2 := strconv.ParseInt(size, 10, 64)
	return start, total, ok1 && ok2 && ok3 && err1 == nil && err2 == nil
}

// List implements Bucket. S3 lists keys in byte order. Listed pins have no
// version; the ETag pins the content.
func (b *s3Bucket) List(ctx context.Context, prefix, startAfter string, yield func(Info) error) error {
	in := &s3.ListObjectsV2Input{Bucket: &b.bucket, Prefix: &prefix, ExpectedBucketOwner: b.owner}
	if startAfter != "" {
		in.StartAfter = &startAfter
	}
	for {
		out, err := b.client.ListObjectsV2(ctx, in)
		if err != nil {
			return b.fault(prefix, err)
		}
		for _, o := range out.Contents {
			key := aws.ToString(o.Key)
			if !strings.HasPrefix(key, prefix) || key <= startAfter {
				continue
			}
			if err := yield(Info{Key: key, Pin: s3Pin(o.Size, nil, o.ETag), Modified: aws.ToTime(o.LastModified)}); err != nil {
				return err
			}
		}
		if !aws.ToBool(out.IsTruncated) || aws.ToString(out.NextContinuationToken) == "" {
			return nil
		}
		in.ContinuationToken = out.NextContinuationToken
	}
}

// Delete implements Bucket.
func (b *s3Bucket) Delete(ctx context.Context, key string) error {
	if err := b.check(key); err != nil {
		return err
	}
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.bucket, Key: &key, ExpectedBucketOwner: b.owner})
	if err = b.fault(key, err); rft.KindOf(err) == rft.KindNotFound {
		return nil
	}
	return err
}

// Close implements Bucket.
func (b *s3Bucket) Close() error {
	if c, ok := b.client.Options().HTTPClient.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
	return nil
}

// codeKinds are error codes whose status says too little.
var codeKinds = map[string]rft.Kind{
	"ExpiredToken": rft.KindPermissionDenied, "InvalidToken": rft.KindPermissionDenied, "TokenRefreshRequired": rft.KindPermissionDenied,
	"InvalidAccessKeyId": rft.KindPermissionDenied, "SignatureDoesNotMatch": rft.KindPermissionDenied,
	"BadDigest": rft.KindDataLoss, "XAmzContentSHA256Mismatch": rft.KindDataLoss, "XAmzContentChecksumMismatch": rft.KindDataLoss,
	"RequestTimeout": rft.KindUnavailable, "IncompleteBody": rft.KindUnavailable,
}

// fault maps an error of the SDK.
func (b *s3Bucket) fault(key string, err error) error {
	if err == nil {
		return nil
	}
	u := b.at(key)
	if e := contextError(u, err); e != nil {
		return e
	}
	if e, ok := errors.AsType[*rft.Error](err); ok {
		return e // of the source of a write
	}
	if errors.Is(err, errBlocked) {
		return rft.Wrap(rft.KindPermissionDenied, err, "%s: the endpoint's address is blocked by the operator's configuration", u)
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		if kind, ok := codeKinds[api.ErrorCode()]; ok {
			return rft.Wrap(kind, err, "%s: the storage answered %s", u, api.ErrorCode())
		}
	}
	return statusError(u, s3Status(err), err)
}

// s3Status is the HTTP status of a refused request, 0 when there was no answer.
func s3Status(err error) int {
	if r, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return r.HTTPStatusCode()
	}
	return 0
}

// pinFault maps the errors of a pinned read: a version that is gone or that
// does not match has changed.
func (b *s3Bucket) pinFault(key string, err error) error {
	switch s3Status(err) {
	case 404, 412, 416:
		return changed(b.at(key))
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "InvalidArgument" {
		return changed(b.at(key)) // a version id that the store does not know
	}
	return b.fault(key, err)
}

// owned reports whether a conditional write that met another object met one
// that the same write had made: the answer was lost and the SDK tried again.
func (b *s3Bucket) owned(ctx context.Context, key, id string) (Info, bool) {
	out, err := b.head(ctx, key)
	if err != nil || out.Metadata[writeIDKey] != id {
		return Info{}, false
	}
	return Info{Key: key, Pin: s3Pin(out.ContentLength, out.VersionId, out.ETag), Modified: aws.ToTime(out.LastModified)}, true
}
