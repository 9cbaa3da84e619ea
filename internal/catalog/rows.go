package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Uploaded rows are one logical object, stored as parts of partBytes that are
// sealed each on its own, so that a range can be read without the rest.
const partBytes = 4 << 20

func partKey(rows string, i int64) string { return fmt.Sprintf("%s/%05d", rows, i) }

// putRows seals the rows of r as a new upload of a dataset.
func (v *Vault) putRows(ctx context.Context, account, dataset string, r io.Reader) (store.Object, error) {
	return v.putFile(ctx, datasetPrefix(account, dataset)+"rows/", r, MaxUploadBytes)
}

// maxAnswersBytes is the contract's limit of the answers of a batch.
const maxAnswersBytes = 8 << 30

// PutAnswers seals the answers of a batch as rows of the dataset that they make.
// Errors of r have the kind INVALID_ARGUMENT.
func (v *Vault) PutAnswers(ctx context.Context, account, dataset string, r io.Reader) (store.Object, error) {
	return v.putFile(ctx, datasetPrefix(account, dataset)+"rows/", r, maxAnswersBytes)
}

// uploadPrefix is where the files of a model lie until they are imported.
func uploadPrefix(account, model string) string {
	return fmt.Sprintf("%s/uploads/%s/", account, model)
}

// putFile seals r as a new object under a prefix, at most limit bytes of it.
func (v *Vault) putFile(ctx context.Context, prefix string, r io.Reader, limit int64) (store.Object, error) {
	o := store.Object{Key: prefix + store.NewUID()}
	key, err := v.newKey(ctx, o.Key+"/")
	if err != nil {
		return o, err
	}
	whole := sha256.New()
	buf := make([]byte, partBytes)
	for i := int64(0); ; i++ {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			whole.Write(buf[:n])
			o.Pin.Size += int64(n)
			if o.Pin.Size > limit {
				v.removeRows(context.WithoutCancel(ctx), o)
				return o, rft.Errorf(rft.KindInvalidArgument, "file: more than %d MiB; put it into a bucket and register its URL", limit>>20)
			}
			if err := v.putSealed(ctx, key, partKey(o.Key, i), buf[:n]); err != nil {
				v.removeRows(context.WithoutCancel(ctx), o)
				return o, err
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			v.removeRows(context.WithoutCancel(ctx), o)
			return o, rft.Wrap(rft.KindInvalidArgument, err, "file: the upload broke off")
		}
	}
	o.SHA256 = hex.EncodeToString(whole.Sum(nil))
	o.Pin.ETag = o.SHA256
	return o, nil
}

// removeRows deletes an upload; what a failure leaves is an orphan.
func (v *Vault) removeRows(ctx context.Context, o store.Object) { _ = v.removeAll(ctx, o.Key+"/") }

// OpenRows reads [offset, offset+length) of uploaded rows; length < 0 = to the end.
func (v *Vault) OpenRows(ctx context.Context, o store.Object, offset, length int64) (io.ReadCloser, error) {
	if length < 0 {
		length = o.Pin.Size - offset
	}
	if offset < 0 || offset+length > o.Pin.Size {
		return nil, rft.Errorf(rft.KindOutOfRange, "uploaded rows have %d bytes; %d from %d were asked for", o.Pin.Size, length, offset)
	}
	return &rowReader{ctx: ctx, vault: v, object: o, offset: offset, left: length}, nil
}

type rowReader struct {
	ctx          context.Context
	vault        *Vault
	object       store.Object
	offset, left int64
	part         *bytes.Reader
}

// Read implements io.Reader.
func (r *rowReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if r.part == nil || r.part.Len() == 0 {
		index := r.offset / partBytes
		size := min(partBytes, r.object.Pin.Size-index*partBytes)
		key := partKey(r.object.Key, index)
		b, err := r.vault.getSealed(r.ctx, r.object.Key+"/", key, size, size)
		if err != nil {
			return 0, err
		}
		if int64(len(b)) != size {
			return 0, rft.Errorf(rft.KindDataLoss, "%s has %d bytes instead of %d", key, len(b), size)
		}
		r.part = bytes.NewReader(b[r.offset-index*partBytes:])
	}
	n, _ := r.part.Read(p[:min(int64(len(p)), r.left)])
	r.offset += int64(n)
	r.left -= int64(n)
	return n, nil
}

// Close implements io.Closer.
func (r *rowReader) Close() error { return nil }

// PutIndex seals the index of a dataset and returns the digest of its plain bytes.
func (v *Vault) PutIndex(ctx context.Context, at string, raw []byte) (string, error) {
	key, err := v.newKey(ctx, at)
	if err != nil {
		return "", err
	}
	return Digest(raw), v.putSealed(ctx, key, at, raw)
}

// maxIndexBytes bounds an index in memory: some hundred million groups.
const maxIndexBytes = 1 << 30

// Index reads the index of a dataset and holds it against its digest.
func (v *Vault) Index(ctx context.Context, d store.Dataset) (*Index, error) {
	raw, err := v.getSealed(ctx, d.Index, d.Index, 0, maxIndexBytes)
	if err != nil {
		return nil, err
	}
	if got := Digest(raw); got != d.IndexDigest {
		return nil, rft.Errorf(rft.KindDataLoss, "%s has digest %s instead of %s", d.Index, got, d.IndexDigest)
	}
	return ParseIndex(raw)
}

// Parts are the keys of the sealed parts of uploaded rows.
func Parts(o store.Object) []string {
	var keys []string
	for i := int64(0); i*partBytes < o.Pin.Size; i++ {
		keys = append(keys, partKey(o.Key, i))
	}
	return keys
}
