package catalog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// An artefact is what has a data key of its own: a prefix of the home bucket
// that ends in '/', with all files below it, or one object. Its envelope lies
// beside it, as an object that alone is replaced when the account's key changes.
// Deleting the envelope destroys the artefact.
//
//	{account}/models/{model}/{fence}/data.key       of a prefix
//	{account}/datasets/{dataset}/{job}-1.index.key  of an object
const (
	envelopeFile   = "data.key"
	envelopeSuffix = ".key"
)

// EnvelopeKey is where the envelope of an artefact lies.
func EnvelopeKey(artefact string) string {
	if strings.HasSuffix(artefact, "/") {
		return artefact + envelopeFile
	}
	return artefact + envelopeSuffix
}

// artefactOf is the artefact whose envelope lies at key.
func artefactOf(key string) (string, bool) {
	if prefix, ok := strings.CutSuffix(key, "/"+envelopeFile); ok {
		return prefix + "/", true
	}
	return strings.CutSuffix(key, envelopeSuffix)
}

// accountOf is the UID of the account that an artefact belongs to: keys of the
// home bucket begin with it.
func accountOf(artefact string) string {
	account, _, _ := strings.Cut(artefact, "/")
	return account
}

// fileAAD binds a sealed file to its place: moved elsewhere it does not open.
func fileAAD(key string) []byte { return []byte("firekeep/artefact\x00" + key) }

// newKey draws the data key of a new artefact and puts its envelope in place.
func (v *Vault) newKey(ctx context.Context, artefact string) (*seal.DataKey, error) {
	key, envelope, err := v.keys.Seal(ctx, accountOf(artefact), artefact)
	if err != nil {
		return nil, err
	}
	_, err = v.home.Create(ctx, EnvelopeKey(artefact), bytes.NewReader(envelope), objstore.PutOptions{Size: int64(len(envelope)), ContentType: "application/octet-stream"})
	return key, err
}

// key opens the data key of an artefact.
func (v *Vault) key(ctx context.Context, artefact string) (*seal.DataKey, error) {
	envelope, _, err := v.envelope(ctx, EnvelopeKey(artefact))
	if err != nil {
		return nil, err
	}
	return v.keys.Open(ctx, accountOf(artefact), artefact, envelope)
}

// envelope reads an envelope with its pin.
func (v *Vault) envelope(ctx context.Context, at string) ([]byte, objstore.Pin, error) {
	info, err := v.home.Stat(ctx, at)
	if err != nil {
		return nil, info.Pin, missing(err, at)
	}
	r, err := v.home.Open(ctx, at, info.Pin, 0, -1)
	if errors.Is(err, objstore.ErrChanged) { // rewrapped between the two: either will do
		return v.envelope(ctx, at)
	}
	if err != nil {
		return nil, info.Pin, missing(err, at)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, int64(seal.MaxEnvelopeBytes)+1))
	if err != nil {
		return nil, info.Pin, broken(err, at)
	}
	return b, info.Pin, nil
}

// missing says of an absent object that something is lost.
func missing(err error, key string) error {
	if rft.KindOf(err) == rft.KindNotFound {
		return rft.Wrap(rft.KindDataLoss, err, "%s is missing from the home bucket", key)
	}
	return err
}

// sealFile seals what write writes into a new object.
func (v *Vault) sealFile(ctx context.Context, dataKey *seal.DataKey, key string, write func(io.Writer) error) error {
	r, w := io.Pipe()
	go func() {
		sealed, err := dataKey.NewWriter(w, fileAAD(key))
		if err == nil {
			err = write(sealed)
		}
		if err == nil {
			err = sealed.Close()
		}
		w.CloseWithError(err)
	}()
	_, err := v.home.Create(ctx, key, r, objstore.PutOptions{Size: -1, ContentType: "application/octet-stream"})
	r.CloseWithError(io.ErrClosedPipe) // ends the writer when Create gave up early
	return err
}

func (v *Vault) putSealed(ctx context.Context, dataKey *seal.DataKey, key string, b []byte) error {
	return v.sealFile(ctx, dataKey, key, func(w io.Writer) error { _, err := w.Write(b); return err })
}

// openFile opens a sealed file of an artefact for reading, also one that this
// host's own key sealed before accounts had theirs.
func (v *Vault) openFile(ctx context.Context, artefact, key string) (io.ReadCloser, error) {
	raw, err := v.open(ctx, key)
	if err != nil {
		return nil, err
	}
	plain, err := v.unsealed(ctx, artefact, key, raw)
	if err != nil {
		raw.Close()
		return nil, broken(err, key)
	}
	return &sealedFile{plain, raw, key}, nil
}

func (v *Vault) unsealed(ctx context.Context, artefact, key string, raw io.Reader) (io.Reader, error) {
	buffered := bufio.NewReaderSize(raw, 1<<20)
	head, err := buffered.Peek(8)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if err := v.keys.Check(ctx, accountOf(artefact)); err != nil {
		return nil, err
	}
	if seal.IsFirstFormat(head) {
		return seal.NewReader(buffered, v.keys.Host, fileAAD(key))
	}
	if bytes.Equal(head, []byte(indexMagic)) {
		return buffered, nil // of the first format, in the clear: byte ranges and digests, and the caller holds a digest of all
	}
	dataKey, err := v.key(ctx, artefact)
	if err != nil {
		return nil, err
	}
	return dataKey.NewReader(buffered, fileAAD(key))
}

// sealedFile is the plaintext of an object.
type sealedFile struct {
	plain io.Reader
	raw   io.Closer
	key   string
}

// Read implements io.Reader; a file that does not open is DATA_LOSS.
func (f *sealedFile) Read(p []byte) (int, error) {
	n, err := f.plain.Read(p)
	if err != nil && err != io.EOF {
		err = broken(err, f.key)
	}
	return n, err
}

// Close implements io.Closer.
func (f *sealedFile) Close() error { return f.raw.Close() }

// getSealed opens what putSealed wrote: about size bytes, at most limit.
func (v *Vault) getSealed(ctx context.Context, artefact, key string, size, limit int64) ([]byte, error) {
	r, err := v.openFile(ctx, artefact, key)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	b.Grow(int(min(size, limit)) + bytes.MinRead)
	if n, err := b.ReadFrom(io.LimitReader(r, limit+1)); err != nil {
		return nil, err
	} else if n > limit {
		return nil, rft.Errorf(rft.KindDataLoss, "%s is longer than its manifest says", key)
	}
	return b.Bytes(), nil
}

// broken gives a failed read of an artefact its kind.
func broken(err error, key string) error {
	if k := rft.KindOf(err); k != rft.KindUnknown {
		return err
	}
	return rft.Wrap(rft.KindDataLoss, err, "%s does not open: its bytes or its key were changed", key)
}

// envelopes lists the envelopes of an account.
func (v *Vault) envelopes(ctx context.Context, account string) (keys []string, err error) {
	err = v.home.List(ctx, account+"/", "", func(i objstore.Info) error {
		if _, ok := artefactOf(i.Key); ok {
			keys = append(keys, i.Key)
		}
		return nil
	})
	return keys, err
}

// Rewrap writes every envelope of an account anew under its current key and
// returns how many. Files are not touched; a crash leaves each envelope old or
// new, and both open.
func (v *Vault) Rewrap(ctx context.Context, account string) (n int, err error) {
	keys, err := v.envelopes(ctx, account)
	for _, at := range keys {
		done, err := v.rewrap(ctx, account, at)
		if err != nil {
			return n, err
		}
		if done {
			n++
		}
	}
	return n, err
}

// rewrap is Rewrap of one envelope; it is not done when that went meanwhile.
func (v *Vault) rewrap(ctx context.Context, account, at string) (done bool, err error) {
	old, pin, err := v.envelope(ctx, at)
	if rft.KindOf(errors.Unwrap(err)) == rft.KindNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	artefact, _ := artefactOf(at)
	fresh, err := v.keys.Rewrap(ctx, account, artefact, old)
	if err != nil {
		return false, err
	}
	_, err = v.home.Replace(ctx, at, pin, bytes.NewReader(fresh), objstore.PutOptions{Size: int64(len(fresh)), ContentType: "application/octet-stream"})
	if errors.Is(err, objstore.ErrChanged) || rft.KindOf(err) == rft.KindNotFound {
		return false, nil
	}
	return err == nil, err
}

// Shred removes every envelope of an account: no key opens its artefacts any
// more, wherever a copy of them may be.
func (v *Vault) Shred(ctx context.Context, account string) error {
	keys, err := v.envelopes(ctx, account)
	for _, k := range keys {
		err = errors.Join(err, v.home.Delete(ctx, k))
	}
	return err
}
