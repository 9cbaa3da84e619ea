package catalog

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Bounds of the files of a model that are sent through the API.
const (
	MaxModelFiles     = 512
	MaxModelFileBytes = 16 << 30
	MaxModelBytes     = 256 << 30
)

// uploadScheme is the source of an import whose files came through the API.
const uploadScheme = "upload:"

// IsUpload reports whether an import's source is an upload.
func IsUpload(source string) bool { return strings.HasPrefix(source, uploadScheme) }

// ReserveModel adds a model whose files are to come.
func (c *Catalog) ReserveModel(ctx context.Context, n NewImport, act store.Act) (store.Model, error) {
	if err := rft.CheckID("modelId", n.ID); err != nil {
		return store.Model{}, err
	}
	m := store.Model{UID: store.NewUID(), Account: n.Account, ID: n.ID, DisplayName: n.DisplayName, Description: n.Description, Kind: store.KindBase,
		State: store.StateUploading, Status: store.OK(), Public: n.Public, CreatedBy: n.CreatedBy}
	if n.BaseModel != "" {
		base, err := c.readyBase(ctx, n.Account, "model.peftDetails.baseModel", n.BaseModel)
		if err != nil {
			return store.Model{}, err
		}
		m.Kind, m.BaseModel, m.BaseUID = store.KindAdapter, base.Name(), base.UID
	}
	return c.db.CreateModel(ctx, m, nil, act)
}

// UploadModelFile seals one of the files that were announced for a model.
func (c *Catalog) UploadModelFile(ctx context.Context, m store.Model, f store.UploadFile, r io.Reader, room store.Room, act store.Act) error {
	if m.State != store.StateUploading {
		return rft.Errorf(rft.KindFailedPrecondition, "%s cannot take an upload: it is %s", m.Name(), m.State)
	}
	a, err := c.db.Account(ctx, m.Account)
	if err != nil {
		return err
	}
	return c.receive(ctx, uploadPrefix(a.UID, m.UID), f, r, room, act)
}

// ImportUploaded queues the import of the files of a model once all are there.
func (c *Catalog) ImportUploaded(ctx context.Context, m store.Model, act store.Act) error {
	files, err := c.db.UploadFiles(ctx, m.UID)
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(slices.Clone(files), store.UploadFile.Arrived)
	if len(files) == 0 || len(missing) > 0 {
		return rft.Errorf(rft.KindFailedPrecondition, "%s waits for %d of %d files; upload them first", m.Name(), len(missing), len(files))
	}
	_, err = c.importWaiting(ctx, m, uploadScheme+m.UID, "", act)
	return err
}

// ImportFrom queues the import of a model that waits for its files from where they
// lie. It returns the job, or the one that is at it already.
func (c *Catalog) ImportFrom(ctx context.Context, m store.Model, source string, act store.Act) (store.Job, error) {
	return c.importWaiting(ctx, m, source, source, act)
}

// importWaiting queues the import of a model that waits for its files; shown is
// what the model says of where it came from.
func (c *Catalog) importWaiting(ctx context.Context, m store.Model, source, shown string, act store.Act) (store.Job, error) {
	raw, err := json.Marshal(ImportSpec{UID: m.UID, Model: m.Name(), Source: source, BaseUID: m.BaseUID})
	if err != nil {
		return store.Job{}, rft.Wrap(rft.KindInternal, err, "the import cannot be described")
	}
	job := store.Job{Account: m.Account, Kind: store.JobImport, Spec: raw, BaseModel: m.BaseModel, OutputModel: m.Name(), CreatedBy: act.Actor}
	return c.db.ImportWaiting(ctx, m.UID, shown, job, act)
}

// OpenUpload reads a file that arrived.
func (c *Catalog) OpenUpload(ctx context.Context, f store.UploadFile) (io.ReadCloser, error) {
	return c.vault.OpenRows(ctx, store.Object{Key: f.Key, Pin: rowsOf([]store.UploadFile{f})[0].Pin}, 0, -1)
}

// ForgetUpload removes the files of a model that was imported from them.
func (c *Catalog) ForgetUpload(ctx context.Context, uid string) error {
	files, err := c.db.ForgetFiles(ctx, uid)
	c.dropFiles(ctx, files)
	return err
}
