package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"
	"iter"
	"strings"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
	"github.com/firekeep/firekeep/internal/wire"
)

// maxDatasetObjects bounds a dataset that is a prefix.
const maxDatasetObjects = 100_000

// validate streams a dataset once: the child checks the rows and says where
// groups lie, this side pins the objects and takes the digests.
func (a *attempt) validate() error {
	var spec catalog.ValidationSpec
	if err := json.Unmarshal(a.job.Spec, &spec); err != nil {
		return rft.Wrap(rft.KindDataLoss, err, "the job's description cannot be read")
	}
	d, objects, err := a.DB.DatasetByUID(a.ctx, spec.UID)
	if err != nil {
		return err
	}
	if err := a.advance(rft.StateValidating); err != nil {
		return err
	}
	if d.ExternalURL != "" {
		if objects, err = a.pin(d.ExternalURL); err != nil {
			return err
		}
	}
	open, _, err := a.dataset(d, objects)
	if err != nil {
		return err
	}
	child, err := a.Host.Start(a.ctx, a.options("validate", nil))
	if err != nil {
		return err
	}
	defer child.Close()
	index := &catalog.IndexWriter{}
	in := &registration{ctx: a.ctx, objects: objects, open: open, digests: make([]*blockHash, len(objects))}
	task := wire.ValidateTask{Format: d.Format, Objects: len(objects)}
	done, err := child.Validate(a.ctx, task, in.files(), func(c wire.Chunk) error { return addChunk(index, c) })
	if err != nil {
		return changedAny(err, objects)
	}
	if done.Groups == 0 {
		return rft.Errorf(rft.KindInvalidArgument, "the dataset has no rows")
	}
	return a.register(d, objects, in, index, done)
}

// addChunk adds the child's byte ranges to the index.
func addChunk(w *catalog.IndexWriter, c wire.Chunk) error {
	at, line := c.Offset, c.FirstLine
	for i, n := range c.Lengths {
		if err := w.Group(c.Object, at, n, line, c.Lines[i]); err != nil {
			return err
		}
		at += n
		line += int64(c.Lines[i])
	}
	return nil
}

// changedAny names the object when a pin broke; the error came through the
// child's session, and one object is read at a time.
func changedAny(err error, objects []store.Object) error {
	if len(objects) == 1 {
		return changed(err, objects[0].Key)
	}
	return err
}

// pin finds the objects of a URL and fixes their versions.
func (a *attempt) pin(url string) ([]store.Object, error) {
	u, err := objstore.ParseURL(url)
	if err != nil {
		return nil, err
	}
	infos, err := a.find(a.to(u, identity.Read), u, maxDatasetObjects)
	if err != nil {
		return nil, err
	}
	var out []store.Object
	for _, i := range infos {
		if !strings.HasSuffix(i.Key, "/") && i.Pin.Size > 0 {
			out = append(out, store.Object{Key: i.Key, Pin: i.Pin})
		}
	}
	if len(out) == 0 {
		return nil, rft.Errorf(rft.KindInvalidArgument, "%s holds no rows: the object is empty, or nothing lies under the prefix", url)
	}
	return out, nil
}

// register stores the index and makes the dataset READY.
func (a *attempt) register(d store.Dataset, objects []store.Object, in *registration, index *catalog.IndexWriter, done wire.ValidateDone) error {
	if err := a.advance(rft.StateRunning); err != nil {
		return err
	}
	for i, h := range in.digests {
		objects[i].SHA256 = h.whole()
		index.Object(objects[i].Pin.Size, h.blocks)
	}
	raw, err := index.Bytes()
	if err != nil {
		return rft.Wrap(rft.KindInternal, err, "the dataset's index cannot be written")
	}
	if err := a.advance(rft.StateWriting); err != nil {
		return err
	}
	d.Index = catalog.IndexKey(a.account, d.UID, a.job.UID, a.lease.Fence())
	if d.IndexDigest, err = a.Catalog.Vault().PutIndex(a.ctx, d.Index, raw); err != nil {
		return err
	}
	d.Format = done.Format
	d.Counts = store.Counts{Objects: int64(len(objects)), Bytes: done.Bytes, Rows: done.Rows, Groups: done.Groups, Samples: done.Samples,
		SamplesPerGroup: done.SamplesPerGroup, WithLogprobs: done.WithLogprobs, Turns: done.Turns, EvalKeys: done.EvalKeys, Warnings: done.Warnings}
	act := runnerAct(a.job, "FinishValidation", map[string]string{"dataset": d.Name(), "digest": d.IndexDigest})
	return a.DB.FinishValidation(a.ctx, a.job.UID, a.lease.Fence(), d, objects, nil, act)
}

// registration streams the objects of a dataset and digests what passes.
type registration struct {
	ctx     context.Context
	objects []store.Object
	open    opener
	digests []*blockHash
}

// files yields the objects one after another.
func (r *registration) files() iter.Seq2[broker.File, error] {
	return func(yield func(broker.File, error) bool) {
		for i, o := range r.objects {
			body, err := r.open(r.ctx, i, 0, -1)
			if err != nil {
				yield(broker.File{}, changed(err, o.Key))
				return
			}
			r.digests[i] = newBlockHash()
			ok := yield(broker.File{Name: o.Key, Size: o.Pin.Size, Body: io.TeeReader(namedReader{body, o.Key}, r.digests[i])}, nil)
			body.Close()
			if !ok {
				return
			}
		}
	}
}

// namedReader names the object in errors of reading it.
type namedReader struct {
	io.Reader
	key string
}

func (n namedReader) Read(p []byte) (int, error) {
	k, err := n.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = changed(err, n.key)
	}
	return k, err
}

// blockHash takes the digests of an object's blocks and of the whole.
type blockHash struct {
	blocks [][sha256.Size]byte
	all    hash.Hash
	block  hash.Hash
	n      int64 // bytes in the open block
	closed bool
}

func newBlockHash() *blockHash { return &blockHash{all: sha256.New(), block: sha256.New()} }

// Write implements io.Writer.
func (h *blockHash) Write(p []byte) (int, error) {
	h.all.Write(p)
	for rest := p; len(rest) > 0; {
		k := min(int64(len(rest)), catalog.BlockBytes-h.n)
		h.block.Write(rest[:k])
		rest = rest[k:]
		if h.n += k; h.n == catalog.BlockBytes {
			h.flush()
		}
	}
	return len(p), nil
}

func (h *blockHash) flush() {
	h.blocks = append(h.blocks, [sha256.Size]byte(h.block.Sum(nil)))
	h.block.Reset()
	h.n = 0
}

// whole ends the object and returns its digest in hex.
func (h *blockHash) whole() string {
	if !h.closed && h.n > 0 {
		h.flush()
	}
	h.closed = true
	return hex.EncodeToString(h.all.Sum(nil))
}
