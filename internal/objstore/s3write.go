package objstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// writeIDKey is the metadata that marks an object with the write that made it.
// A repeated request can so recognise its own success.
const writeIDKey = "firekeep-write"

// maxParts is S3's limit for one upload.
const maxParts = 10_000

// condition is what must hold of the object that a write replaces.
type condition struct {
	create bool
	match  string // ETag
}

func (c condition) headers() (ifNoneMatch, ifMatch *string) {
	if c.create {
		return aws.String("*"), nil
	}
	return nil, &c.match
}

// failed is the error of a condition that does not hold.
func (c condition) failed(u URL) error {
	if c.create {
		return exists(u)
	}
	return changed(u)
}

// Create implements Bucket.
func (b *s3Bucket) Create(ctx context.Context, key string, r io.Reader, o PutOptions) (Info, error) {
	return b.write(ctx, key, condition{create: true}, r, o)
}

// Replace implements Bucket. The look beforehand is for stores that compare with
// a deleted version, or not at all; the condition decides.
func (b *s3Bucket) Replace(ctx context.Context, key string, was Pin, r io.Reader, o PutOptions) (Info, error) {
	if was.ETag == "" {
		return Info{}, rft.Errorf(rft.KindInternal, "%s: a pin without an ETag cannot be compared by S3", b.at(key))
	}
	now, err := b.Stat(ctx, key)
	if rft.KindOf(err) == rft.KindNotFound || err == nil && now.Pin.ETag != was.ETag {
		return Info{}, changed(b.at(key))
	}
	if err != nil {
		return Info{}, err
	}
	return b.write(ctx, key, condition{match: was.ETag}, r, o)
}

// write sends a body that fits into one part in one request, and others in parts.
func (b *s3Bucket) write(ctx context.Context, key string, c condition, r io.Reader, o PutOptions) (Info, error) {
	if err := b.check(key); err != nil {
		return Info{}, err
	}
	size := b.partBytes(o.Size)
	w := &s3Write{b: b, key: key, when: c, id: seal.RandomID(20), src: newSource(ctx, b.at(key), r, o), contentType: o.ContentType, cache: o.CacheControl, part: make([]byte, min(size, max(o.Size, 0)+1))}
	if o.Size < 0 {
		w.part = make([]byte, size)
	}
	n, err := io.ReadFull(w.src, w.part)
	if w.src.err != nil {
		return Info{}, w.src.err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		if err := w.src.check(); err != nil {
			return Info{}, err
		}
		if b.cfg.Encryption.KMSKeyID == "" {
			return w.whole(ctx, w.part[:n])
		}
	}
	return w.parts(ctx, w.part[:n])
}

// partBytes is the size of the parts of a body of size bytes.
func (b *s3Bucket) partBytes(size int64) int64 {
	return max(b.cfg.PartBytes, (size+maxParts-1)/maxParts)
}

// s3Write is one conditional write.
type s3Write struct {
	b           *s3Bucket
	key, id     string
	when        condition
	src         *source
	contentType string
	cache       string
	part        []byte
}

// sum is a body's SHA-256 as S3 wants it, or nothing where stores know none.
func (w *s3Write) sum(body []byte) (types.ChecksumAlgorithm, *string) {
	if w.b.cfg.S3.PlainChecksums {
		return "", nil
	}
	sum := sha256.Sum256(body)
	return types.ChecksumAlgorithmSha256, aws.String(base64.StdEncoding.EncodeToString(sum[:]))
}

func (w *s3Write) contentTypePointer() *string {
	return given(w.contentType)
}

func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (w *s3Write) whole(ctx context.Context, body []byte) (Info, error) {
	in := &s3.PutObjectInput{
		Bucket: &w.b.bucket, Key: &w.key, ExpectedBucketOwner: w.b.owner,
		Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body))), ContentType: w.contentTypePointer(), CacheControl: given(w.cache),
		Metadata: map[string]string{writeIDKey: w.id},
	}
	in.IfNoneMatch, in.IfMatch = w.when.headers()
	_, in.ChecksumSHA256 = w.sum(body)
	out, err := w.b.client.PutObject(ctx, in)
	if err != nil {
		return w.lost(ctx, err)
	}
	return Info{Key: w.key, Pin: s3Pin(in.ContentLength, out.VersionId, out.ETag), Modified: time.Now()}, nil
}

// parts uploads the part at hand and those after it. Whatever goes wrong, the
// upload is aborted: nothing of it stays, nothing of it was visible. With a KMS
// key even a small body goes this way: the answer to the first request names the
// key, before a byte of the body has left.
func (w *s3Write) parts(ctx context.Context, first []byte) (Info, error) {
	in := &s3.CreateMultipartUploadInput{
		Bucket: &w.b.bucket, Key: &w.key, ExpectedBucketOwner: w.b.owner,
		ContentType: w.contentTypePointer(), CacheControl: given(w.cache), Metadata: map[string]string{writeIDKey: w.id},
	}
	in.ChecksumAlgorithm, _ = w.sum(nil)
	key := w.b.cfg.Encryption.KMSKeyID
	if key != "" {
		in.ServerSideEncryption, in.SSEKMSKeyId, in.SSEKMSEncryptionContext = types.ServerSideEncryptionAwsKms, &key, w.b.cfg.Encryption.context()
	}
	up, err := w.b.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return Info{}, w.b.fault(w.key, err)
	}
	if key != "" && (up.ServerSideEncryption != types.ServerSideEncryptionAwsKms || aws.ToString(up.SSEKMSKeyId) != key) {
		w.abort(ctx, up.UploadId)
		return Info{}, notEncrypted(w.b.at(w.key), "the KMS key "+key)
	}
	info, err := w.uploadAll(ctx, up.UploadId, first)
	if err != nil {
		w.abort(ctx, up.UploadId)
	}
	return info, err
}

func (w *s3Write) uploadAll(ctx context.Context, upload *string, first []byte) (Info, error) {
	var done []types.CompletedPart
	for body := first; len(done) == 0 || len(body) > 0; {
		if len(done) == maxParts {
			return Info{}, rft.Errorf(rft.KindOutOfRange, "%s was not written: more than %d parts of %d bytes", w.b.at(w.key), maxParts, len(w.part))
		}
		part, err := w.upload(ctx, upload, int32(len(done)+1), body)
		if err != nil {
			return Info{}, err
		}
		done = append(done, part)
		n, err := io.ReadFull(w.src, w.part)
		if w.src.err != nil {
			return Info{}, w.src.err
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return Info{}, sourceError(w.b.at(w.key), err)
		}
		body = w.part[:n]
	}
	if err := w.src.check(); err != nil {
		return Info{}, err
	}
	return w.complete(ctx, upload, done)
}

func (w *s3Write) upload(ctx context.Context, upload *string, number int32, body []byte) (types.CompletedPart, error) {
	in := &s3.UploadPartInput{
		Bucket: &w.b.bucket, Key: &w.key, UploadId: upload, PartNumber: &number, ExpectedBucketOwner: w.b.owner,
		Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body))),
	}
	_, in.ChecksumSHA256 = w.sum(body)
	out, err := w.b.client.UploadPart(ctx, in)
	if err != nil {
		return types.CompletedPart{}, w.b.fault(w.key, err)
	}
	return types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumSHA256: in.ChecksumSHA256}, nil
}

func (w *s3Write) complete(ctx context.Context, upload *string, parts []types.CompletedPart) (Info, error) {
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &w.b.bucket, Key: &w.key, UploadId: upload, ExpectedBucketOwner: w.b.owner,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	}
	in.IfNoneMatch, in.IfMatch = w.when.headers()
	out, err := w.b.client.CompleteMultipartUpload(ctx, in)
	if err != nil {
		return w.lost(ctx, err)
	}
	if key := w.b.cfg.Encryption.KMSKeyID; key != "" && (out.ServerSideEncryption != types.ServerSideEncryptionAwsKms || aws.ToString(out.SSEKMSKeyId) != key) {
		w.remove(ctx, out.VersionId)
		return Info{}, notEncrypted(w.b.at(w.key), "the KMS key "+key)
	}
	return Info{Key: w.key, Pin: s3Pin(&w.src.n, out.VersionId, out.ETag), Modified: time.Now()}, nil
}

// abort removes the parts of an upload, also when ctx has ended.
func (w *s3Write) abort(ctx context.Context, upload *string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	_, _ = w.b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &w.b.bucket, Key: &w.key, UploadId: upload, ExpectedBucketOwner: w.b.owner})
}

// remove takes back what was written under another key than the customer's.
func (w *s3Write) remove(ctx context.Context, version *string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	_, _ = w.b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &w.b.bucket, Key: &w.key, VersionId: version, ExpectedBucketOwner: w.b.owner})
}

// lost maps the refusal of a conditional write. 412 and, in a race, 409 say
// that the condition does not hold; so does 404 for a replacement. Unless it
// was this very write that came before.
func (w *s3Write) lost(ctx context.Context, err error) (Info, error) {
	status := s3Status(err)
	api, _ := errors.AsType[smithy.APIError](err)
	switch {
	case status == 412, status == 409, status == 404 && !w.when.create && (api == nil || api.ErrorCode() != "NoSuchBucket"):
		if info, ok := w.b.owned(ctx, w.key, w.id); ok {
			return info, nil
		}
		return Info{}, w.when.failed(w.b.at(w.key))
	case status == 404 && api != nil && api.ErrorCode() == "NoSuchUpload":
		if info, ok := w.b.owned(ctx, w.key, w.id); ok {
			return info, nil
		}
	}
	return Info{}, w.b.fault(w.key, err)
}
