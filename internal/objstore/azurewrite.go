package objstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// azureWriteKey marks a blob with the write that made it; metadata of Azure
// allows no '-' in names.
const azureWriteKey = "firekeepwrite"

// maxBlocks is Azure's limit for one blob.
const maxBlocks = 50_000

// azureWrite is one conditional write.
type azureWrite struct {
	b    *azureBucket
	key  string
	id   string
	src  *source
	o    PutOptions
	blob *blockblob.Client
	when *blob.AccessConditions
	lost error // when the condition does not hold
}

// Create implements Bucket.
func (b *azureBucket) Create(ctx context.Context, key string, r io.Reader, o PutOptions) (Info, error) {
	none := azcore.ETagAny
	when := &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: &none}}
	return b.write(ctx, key, when, exists(b.at(key)), r, o)
}

// Replace implements Bucket.
func (b *azureBucket) Replace(ctx context.Context, key string, was Pin, r io.Reader, o PutOptions) (Info, error) {
	if was.ETag == "" {
		return Info{}, changed(b.at(key))
	}
	return b.write(ctx, key, matching(azcore.ETag(was.ETag)), changed(b.at(key)), r, o)
}

func (b *azureBucket) write(ctx context.Context, key string, when *blob.AccessConditions, lost error, r io.Reader, o PutOptions) (Info, error) {
	if err := b.check(key); err != nil {
		return Info{}, err
	}
	w := &azureWrite{b: b, key: key, id: seal.RandomID(20), src: newSource(ctx, b.at(key), r, o), o: o,
		blob: b.client.NewBlockBlobClient(key), when: when, lost: lost}
	size := max(b.cfg.PartBytes, (o.Size+maxBlocks-1)/maxBlocks)
	if o.Size >= 0 {
		size = min(size, o.Size+1)
	}
	part := make([]byte, size)
	n, err := w.fill(part)
	if err != nil {
		return Info{}, err
	}
	if n < len(part) && b.cfg.Encryption.Scope == "" {
		if err := w.src.check(); err != nil {
			return Info{}, err
		}
		return w.whole(ctx, part[:n])
	}
	return w.blocks(ctx, part, n)
}

// fill reads a part; less than its length at the source's end.
func (w *azureWrite) fill(part []byte) (int, error) {
	n, err := io.ReadFull(w.src, part)
	if w.src.err != nil {
		return n, w.src.err
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return n, sourceError(w.b.at(w.key), err)
	}
	return n, nil
}

func (w *azureWrite) headers() *blob.HTTPHeaders {
	h := &blob.HTTPHeaders{}
	if w.o.ContentType != "" {
		h.BlobContentType = &w.o.ContentType
	}
	if w.o.CacheControl != "" {
		h.BlobCacheControl = &w.o.CacheControl
	}
	return h
}

func (w *azureWrite) metadata() map[string]*string { return map[string]*string{azureWriteKey: &w.id} }

// scope is the customer's encryption scope, nil for none.
func (w *azureWrite) scope() *blob.CPKScopeInfo {
	if w.b.cfg.Encryption.Scope == "" {
		return nil
	}
	return &blob.CPKScopeInfo{EncryptionScope: &w.b.cfg.Encryption.Scope}
}

func (w *azureWrite) whole(ctx context.Context, body []byte) (Info, error) {
	out, err := w.blob.Upload(ctx, streaming.NopCloser(bytes.NewReader(body)),
		&blockblob.UploadOptions{HTTPHeaders: w.headers(), Metadata: w.metadata(), AccessConditions: w.when})
	if err != nil {
		return w.failed(ctx, err)
	}
	return w.info(out.ETag), nil
}

func (w *azureWrite) info(etag *azcore.ETag) Info {
	return Info{Key: w.key, Pin: azurePin(&w.src.n, etag), Modified: azureNow(nil)}
}

// blocks uploads the part at hand and those after it, and then makes them the
// blob. Blocks without that last request are never visible; Azure forgets them.
// With an encryption scope even a small body goes this way: the answer to its
// first block says whether the scope is used, before anything can be seen.
func (w *azureWrite) blocks(ctx context.Context, part []byte, n int) (Info, error) {
	var ids []string
	for first := true; first || n > 0; first = false {
		if len(ids) == maxBlocks {
			return Info{}, rft.Errorf(rft.KindOutOfRange, "%s was not written: more than %d blocks of %d bytes", w.b.at(w.key), maxBlocks, len(part))
		}
		if n > 0 { // an empty blob has no block
			id := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s%06d", w.id, len(ids)))
			out, err := w.blob.StageBlock(ctx, id, streaming.NopCloser(bytes.NewReader(part[:n])), &blockblob.StageBlockOptions{CPKScopeInfo: w.scope()})
			if err != nil {
				return w.failed(ctx, err)
			}
			if err := w.confirmed(out.EncryptionScope); err != nil {
				return Info{}, err
			}
			ids = append(ids, id)
		}
		var err error
		if n, err = w.fill(part); err != nil {
			return Info{}, err
		}
	}
	if err := w.src.check(); err != nil {
		return Info{}, err
	}
	out, err := w.blob.CommitBlockList(ctx, ids, &blockblob.CommitBlockListOptions{HTTPHeaders: w.headers(), Metadata: w.metadata(), AccessConditions: w.when, CPKScopeInfo: w.scope()})
	if err != nil {
		return w.failed(ctx, err)
	}
	if err := w.confirmed(out.EncryptionScope); err != nil {
		_, _ = w.blob.Delete(context.WithoutCancel(ctx), &blob.DeleteOptions{AccessConditions: matching(value(out.ETag))})
		return Info{}, err
	}
	return w.info(out.ETag), nil
}

// confirmed checks that an answer names the scope that was asked for.
func (w *azureWrite) confirmed(got *string) error {
	if want := w.b.cfg.Encryption.Scope; want != "" && value(got) != want {
		return notEncrypted(w.b.at(w.key), "the encryption scope "+want)
	}
	return nil
}

// failed maps the refusal of a write. 409 and 412 say that the condition does
// not hold; 400 says so too when another writer's blob came in between, which
// discards our blocks. Unless it was this very write that came before.
func (w *azureWrite) failed(ctx context.Context, err error) (Info, error) {
	fault := w.b.fault(w.key, err)
	f, ok := errors.AsType[*azureFault](fault)
	if !ok || f.status != 409 && f.status != 412 && f.status != 404 && f.code != "InvalidBlockList" {
		return Info{}, fault
	}
	info, props, err := w.b.properties(ctx, w.key)
	for k, v := range props.Metadata {
		if err == nil && value(v) == w.id && len(k) == len(azureWriteKey) { // Azure changes the case of names
			return info, nil
		}
	}
	if f.status == 404 && f.code == "ContainerNotFound" {
		return Info{}, fault
	}
	return Info{}, w.lost
}
