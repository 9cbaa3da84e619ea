package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Prepared weights are the operator's, published to everybody, and then a plain
// file that every child of the host maps; or an account's own, and then an
// artefact of its own, {account}/models/{model}/{fence}/ with this one file. Its
// digest is in the model's row.
const weightsFile = "weights"

// IncomingWeights is prepared weights in the making: written as they come, plain
// or sealed.
type IncomingWeights struct {
	plain *Incoming

	prefix string
	pipe   *io.PipeWriter
	sealed chan error // of the object
	hash   hash.Hash
	size   int64
}

// NewWeights begins the weights of m, in the account with this UID.
func (c *Catalog) NewWeights(ctx context.Context, m store.Model, account string, fence int64) (*IncomingWeights, error) {
	if m.Account == rft.OperatorAccount {
		plain, err := c.bases.Create()
		return &IncomingWeights{plain: plain}, err
	}
	in := &IncomingWeights{prefix: ModelPrefix(account, m.UID, fence), sealed: make(chan error, 1), hash: sha256.New()}
	key, err := c.vault.newKey(ctx, in.prefix)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	in.pipe = w
	go func() {
		err := c.vault.sealFile(ctx, key, in.prefix+weightsFile+sealedSuffix, func(w io.Writer) error {
			_, err := io.Copy(w, r)
			return err
		})
		if err == nil {
			err = io.ErrClosedPipe
		}
		r.CloseWithError(err) // a writer that goes on learns why nobody reads
		in.sealed <- err
	}()
	return in, nil
}

// Write implements io.Writer.
func (in *IncomingWeights) Write(p []byte) (int, error) {
	if in.plain != nil {
		return in.plain.Write(p)
	}
	n, err := in.pipe.Write(p)
	in.hash.Write(p[:n])
	in.size += int64(n)
	return n, err
}

// Finish ends the weights, whose digest m must have, and enters into m where
// they lie. Plain ones are put in place by place, within the transaction that
// shows the model; for sealed ones, which are in place, it is nil.
func (in *IncomingWeights) Finish(m *store.Model) (place func() error, err error) {
	if in.plain != nil {
		return func() error { _, _, err := in.plain.Commit(); return err }, nil
	}
	if err := in.pipe.Close(); err != nil {
		return nil, err
	}
	if err := <-in.sealed; err != io.ErrClosedPipe {
		in.sealed <- err
		return nil, err
	}
	in.sealed <- nil
	if got := "sha256:" + hex.EncodeToString(in.hash.Sum(nil)); got != m.Digest || in.size != m.Size {
		return nil, rft.Errorf(rft.KindInternal, "the prepared weights that were stored are not those that were announced")
	}
	m.Artifact = in.prefix
	return nil, nil
}

// Abort drops weights that were not finished. An envelope that stays opens
// nothing, and fsck removes it.
func (in *IncomingWeights) Abort() {
	if in.plain != nil {
		in.plain.Abort()
		return
	}
	in.pipe.CloseWithError(rft.Errorf(rft.KindCancelled, "the import was given up"))
	<-in.sealed
}

// Private reports whether the weights of a base are sealed under its account's key.
func Private(m store.Model) bool { return m.Kind == store.KindBase && m.Artifact != "" }

// openWeights reads the sealed weights of m; the caller checks the digest.
func (v *Vault) openWeights(ctx context.Context, m store.Model) (io.ReadCloser, error) {
	return v.openFile(ctx, m.Artifact, m.Artifact+weightsFile+sealedSuffix)
}

// VerifyWeights reads the weights of a base whole and holds them against its digest.
func (c *Catalog) VerifyWeights(ctx context.Context, m store.Model) error {
	if !Private(m) {
		return c.bases.Verify(m.Digest, m.Size)
	}
	r, err := c.vault.openWeights(ctx, m)
	if err != nil {
		return err
	}
	defer r.Close()
	return digestOf(io.Discard, r, m)
}

// digestOf copies weights and holds them against the digest of m.
func digestOf(w io.Writer, r io.Reader, m store.Model) error {
	h := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(w, h), io.LimitReader(r, m.Size+1), make([]byte, 1<<20))
	switch {
	case err != nil:
		return err
	case n != m.Size, "sha256:"+hex.EncodeToString(h.Sum(nil)) != m.Digest:
		return rft.Errorf(rft.KindDataLoss, "the prepared weights of %s do not have their digest %s any more", m.Name(), m.Digest)
	}
	return nil
}
