package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"
	"sync"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// Draft is an artefact in the making. Its files are sealed and made durable side
// by side, from when they are there; the artefact exists when Commit has written
// the manifest behind all of them. One goroutine uses a draft; Commit and Abandon
// wait for what it writes.
type Draft struct {
	vault  *Vault
	ctx    context.Context
	prefix string

	key    *seal.DataKey // once ready is closed
	ready  chan struct{}
	files  []ManifestFile
	coming map[string]*coming // by name
	writes sync.WaitGroup

	mu  sync.Mutex
	err error // the first of a write
}

// coming is a file that is written while its content comes.
type coming struct{ size int64 }

// Begin draws the key of a new artefact under prefix and begins to put its
// envelope in place. ctx bounds all of its writes.
func (v *Vault) Begin(ctx context.Context, prefix string) *Draft {
	d := &Draft{vault: v, ctx: ctx, prefix: prefix, ready: make(chan struct{}), coming: map[string]*coming{}}
	d.writes.Go(func() {
		key, envelope, err := v.keys.Seal(ctx, accountOf(prefix), prefix)
		d.key = key
		d.failed(err)
		close(d.ready)
		if err == nil {
			_, err = v.home.Create(ctx, EnvelopeKey(prefix), bytes.NewReader(envelope), objstore.PutOptions{Size: int64(len(envelope)), ContentType: "application/octet-stream"})
			d.failed(err)
		}
	})
	return d
}

// Stream begins to write a file whose content comes, once. Add says what it was when
// all of it is there.
func (d *Draft) Stream(name string, content io.WriterTo) {
	c := &coming{}
	d.coming[name] = c
	d.writes.Go(func() {
		if <-d.ready; d.key != nil {
			d.failed(d.vault.sealFile(d.ctx, d.key, d.prefix+name+sealedSuffix, func(w io.Writer) (err error) {
				c.size, err = content.WriteTo(w)
				return err
			}))
		}
	})
}

// Add begins to write a file, once. Its data must not change until Commit.
func (d *Draft) Add(f File) {
	if slices.ContainsFunc(d.files, func(have ManifestFile) bool { return have.Name == f.Name }) {
		return
	}
	if f.SHA256 == "" {
		sum := sha256.Sum256(f.Data)
		f.SHA256 = hex.EncodeToString(sum[:])
	}
	d.files = append(d.files, ManifestFile{Name: f.Name, Size: int64(len(f.Data)), SHA256: f.SHA256})
	if d.coming[f.Name] != nil {
		return
	}
	d.writes.Go(func() {
		if <-d.ready; d.key != nil {
			d.failed(d.vault.putSealed(d.ctx, d.key, d.prefix+f.Name+sealedSuffix, f.Data))
		}
	})
}

// failed keeps the first error.
func (d *Draft) failed(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = err
	}
}

// Commit waits until the files are durable, writes the manifest and returns its
// digest. The files of the artefact are those of list, in this order: what of it
// was not added is, and a file that was added with other bytes is an error. On an
// error the prefix may hold files without a manifest, which fsck calls orphans.
func (d *Draft) Commit(m Manifest, list []File) (digest string, err error) {
	m.Version, m.Files = 2, make([]ManifestFile, len(list))
	for i, f := range list {
		if m.Files[i], err = d.added(f); err != nil {
			d.writes.Wait()
			return "", err
		}
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	d.writes.Wait()
	switch {
	case err != nil:
		return "", rft.Wrap(rft.KindInternal, err, "the manifest cannot be written")
	case d.err != nil:
		return "", d.err
	case len(d.files) != len(list):
		return "", rft.Errorf(rft.KindInternal, "%s was given %d files of %d", d.prefix, len(d.files), len(list))
	}
	if err := d.came(); err != nil {
		return "", err
	}
	if _, err := d.vault.home.Create(d.ctx, d.prefix+FileManifest, bytes.NewReader(raw), objstore.PutOptions{Size: int64(len(raw)), ContentType: "application/json"}); err != nil {
		return "", err
	}
	return Digest(raw), nil
}

// came holds what came in pieces against what it was said to be.
func (d *Draft) came() error {
	for name, c := range d.coming {
		i := slices.IndexFunc(d.files, func(f ManifestFile) bool { return f.Name == name })
		if i < 0 || d.files[i].Size != c.size {
			return rft.Errorf(rft.KindInternal, "%s came with %d bytes, which are not those of the artefact", d.prefix+name, c.size)
		}
	}
	return nil
}

// added is the manifest's entry of f, which is added where it was not.
func (d *Draft) added(f File) (ManifestFile, error) {
	for _, have := range d.files {
		if have.Name != f.Name {
			continue
		}
		if have.Size != int64(len(f.Data)) || f.SHA256 != "" && have.SHA256 != f.SHA256 {
			return have, rft.Errorf(rft.KindInternal, "%s was written with other bytes", d.prefix+f.Name)
		}
		return have, nil
	}
	d.Add(f)
	return d.files[len(d.files)-1], nil
}

// Abandon waits for what is being written and removes the artefact, before or after
// its Commit; what a failure leaves is an orphan for fsck.
func (d *Draft) Abandon() {
	d.writes.Wait()
	_ = d.vault.Remove(context.WithoutCancel(d.ctx), d.prefix)
}
