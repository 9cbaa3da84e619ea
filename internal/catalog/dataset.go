package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// NewDataset describes a dataset to create.
type NewDataset struct {
	Account, ID string // ID "" = chosen here
	DisplayName string
	ExternalURL string // an object, or a prefix ending in '/'; "" = rows will be uploaded
	Format      string // "RL", "CHAT", "COMPLETION", "DPO", "BATCH" or "" = by the first row
	CreatedBy   string
}

// ValidationSpec is the Spec of a validation job.
type ValidationSpec struct {
	UID     string `json:"uid"` // of the dataset
	Dataset string `json:"dataset"`
	URL     string `json:"url,omitempty"` // "" = uploaded rows
	Format  string `json:"format,omitempty"`
}

// CreateDataset adds a dataset. One with a URL is validated by a job that is
// queued in the same transaction; one without waits for Upload.
func (c *Catalog) CreateDataset(ctx context.Context, n NewDataset, act store.Act) (store.Dataset, error) {
	if n.ID == "" {
		n.ID = store.NewUID()
	}
	if err := rft.CheckID("datasetId", n.ID); err != nil {
		return store.Dataset{}, err
	}
	switch n.Format {
	case "", "RL", "CHAT", "COMPLETION", "DPO", store.FormatBatch:
	default:
		return store.Dataset{}, rft.FieldErrorf("dataset.format", "dataset.format: %q is not supported; use RL, CHAT, COMPLETION, DPO or BATCH", n.Format)
	}
	d := store.Dataset{UID: store.NewUID(), Account: n.Account, ID: n.ID, DisplayName: n.DisplayName, Format: n.Format,
		State: store.StateUploading, Status: store.OK(), CreatedBy: n.CreatedBy}
	if n.ExternalURL == "" {
		return c.db.CreateDataset(ctx, d, nil, act)
	}
	u, err := ownURL("dataset.externalUrl", n.ExternalURL)
	if err != nil {
		return store.Dataset{}, err
	}
	d.ExternalURL = u.String()
	job, err := validation(d, n.CreatedBy)
	if err != nil {
		return store.Dataset{}, err
	}
	return c.db.CreateDataset(ctx, d, job, act)
}

func validation(d store.Dataset, by string) (*store.Job, error) {
	spec, err := json.Marshal(ValidationSpec{UID: d.UID, Dataset: d.Name(), URL: d.ExternalURL, Format: d.Format})
	if err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "the validation cannot be described")
	}
	return &store.Job{Account: d.Account, Kind: store.JobValidation, Spec: spec, Dataset: d.Name(), CreatedBy: by}, nil
}

// MaxUploadBytes is the contract's limit of one upload.
const MaxUploadBytes = 150 << 20

// Upload seals the rows of r into the home bucket, a part at a time, and queues
// their validation. It returns the bytes read. Nothing of them is written in
// the clear.
func (c *Catalog) Upload(ctx context.Context, account, ref string, r io.Reader, room store.Room, act store.Act) (int64, error) {
	d, err := c.Dataset(ctx, account, "dataset", ref)
	if err != nil {
		return 0, err
	}
	if d.State == store.StateReady && d.ExternalURL == "" {
		return d.Counts.Bytes, c.SameRows(ctx, d, r) // a client that lost the answer sends them again
	}
	if d.ExternalURL != "" {
		return 0, rft.Errorf(rft.KindFailedPrecondition, "%s cannot take an upload: its rows lie in a bucket", d.Name())
	}
	a, err := c.db.Account(ctx, account)
	if err != nil {
		return 0, err
	}
	o, err := c.vault.putRows(ctx, a.UID, d.UID, r)
	if err != nil {
		return 0, err
	}
	job, err := validation(d, act.Actor)
	if err == nil {
		err = c.db.UploadedDataset(ctx, d.UID, []store.Object{o}, job, room, act)
	}
	if err != nil {
		c.vault.removeRows(context.WithoutCancel(ctx), o)
		return 0, err
	}
	return o.Pin.Size, nil
}

// SameRows reads r to its end and reports whether it holds the rows that d was
// uploaded with; otherwise d cannot take it.
func (c *Catalog) SameRows(ctx context.Context, d store.Dataset, r io.Reader) error {
	_, objects, err := c.db.DatasetByUID(ctx, d.UID)
	if err != nil {
		return err
	}
	whole := sha256.New()
	if _, err := io.Copy(whole, r); err != nil {
		return rft.Wrap(rft.KindInvalidArgument, err, "file: the upload broke off")
	}
	if len(objects) == 1 && objects[0].SHA256 == hex.EncodeToString(whole.Sum(nil)) {
		return nil
	}
	return rft.Errorf(rft.KindFailedPrecondition, "%s cannot take an upload: it is %s, with other rows", d.Name(), d.State)
}

// Rows reads the rows of an upload, one object after another.
func (c *Catalog) Rows(ctx context.Context, objects []store.Object) (r io.ReadCloser, size int64, err error) {
	var parts []io.Reader
	for _, o := range objects {
		part, err := c.vault.OpenRows(ctx, o, 0, -1)
		if err != nil {
			return nil, 0, err
		}
		parts = append(parts, part)
		size += o.Pin.Size
	}
	return io.NopCloser(io.MultiReader(parts...)), size, nil
}

// rowsOf are an upload's files as the objects of its dataset, in the order of names.
func rowsOf(files []store.UploadFile) []store.Object {
	var out []store.Object
	for _, f := range files {
		out = append(out, store.Object{Key: f.Key, Pin: objstore.Pin{Size: f.Size, ETag: f.SHA256}, SHA256: f.SHA256})
	}
	return out
}

// UploadRows seals one of the files that were announced for a dataset. With the
// last of them the validation is queued, over all in the order of names. A file
// that is there already, every byte of it, is no error, whenever it comes.
func (c *Catalog) UploadRows(ctx context.Context, d store.Dataset, f store.UploadFile, r io.Reader, room store.Room, act store.Act) error {
	if d.State == store.StateReady || d.ExternalURL != "" {
		return c.sameFile(ctx, d, f, r)
	}
	a, err := c.db.Account(ctx, d.Account)
	if err != nil {
		return err
	}
	if err := c.receive(ctx, datasetPrefix(a.UID, d.UID)+"rows/", f, r, room, act); err != nil {
		return err
	}
	all, err := c.db.UploadFiles(ctx, d.UID)
	if err != nil || slices.ContainsFunc(all, func(f store.UploadFile) bool { return !f.Arrived() }) {
		return err
	}
	job, err := validation(d, act.Actor)
	if err != nil {
		return err
	}
	act.Method = "UploadDataset"
	return c.db.UploadedDataset(ctx, d.UID, rowsOf(all), job, store.Room{}, act) // each file found room when it arrived
}

// receive seals an announced file and records that it arrived.
func (c *Catalog) receive(ctx context.Context, prefix string, f store.UploadFile, r io.Reader, room store.Room, act store.Act) error {
	o, err := c.vault.putFile(ctx, prefix, r, f.Size)
	if err != nil {
		return err
	}
	f.Key, f.SHA256 = o.Key, o.SHA256
	act.Method = "UploadFile"
	old, err := c.db.FileArrived(ctx, f, room, act)
	if err != nil {
		c.vault.removeRows(context.WithoutCancel(ctx), o)
		return err
	}
	if old != "" {
		c.vault.removeRows(context.WithoutCancel(ctx), store.Object{Key: old})
	}
	return nil
}

// sameFile reads r to its end and reports whether it is the file of this name
// that a finished upload has.
func (c *Catalog) sameFile(ctx context.Context, d store.Dataset, f store.UploadFile, r io.Reader) error {
	all, err := c.db.UploadFiles(ctx, d.UID)
	if err != nil {
		return err
	}
	whole := sha256.New()
	if _, err := io.Copy(whole, r); err != nil {
		return rft.Wrap(rft.KindInvalidArgument, err, "file: the upload broke off")
	}
	for _, have := range all {
		if have.Name == f.Name && have.SHA256 == hex.EncodeToString(whole.Sum(nil)) {
			return nil
		}
	}
	return rft.Errorf(rft.KindFailedPrecondition, "%s cannot take an upload: it is %s, with other rows", d.Name(), d.State)
}

// Announce replaces the files that a dataset or a model waits for.
func (c *Catalog) Announce(ctx context.Context, account, owner string, files []store.UploadFile, act store.Act) error {
	replaced, err := c.db.AnnounceFiles(ctx, owner, account, files, act)
	if err != nil {
		return err
	}
	c.dropFiles(ctx, replaced)
	return nil
}

// dropFiles removes what arrived of files whose rows are gone; what a failure
// leaves is an orphan for fsck.
func (c *Catalog) dropFiles(ctx context.Context, files []store.UploadFile) {
	for _, f := range files {
		if f.Arrived() {
			c.vault.removeRows(context.WithoutCancel(ctx), store.Object{Key: f.Key})
		}
	}
}

// DeleteDataset removes a dataset and what the home bucket holds of it. Rows
// that were registered by URL stay where they are.
func (c *Catalog) DeleteDataset(ctx context.Context, account, ref string, act store.Act) error {
	d, err := c.Dataset(ctx, account, "dataset", ref)
	if err != nil {
		return err
	}
	a, err := c.db.Account(ctx, account)
	if err != nil {
		return err
	}
	if _, _, err := c.db.DeleteDataset(ctx, account, d.ID, act); err != nil {
		return err
	}
	// What a failure leaves behind is an orphan that fsck reports and removes.
	_ = c.vault.removeAll(context.WithoutCancel(ctx), datasetPrefix(a.UID, d.UID))
	return nil
}
