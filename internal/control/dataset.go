package control

import (
	"context"
	"io"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// ListDatasets lists datasets.
func (c *Control) ListDatasets(ctx context.Context, who Caller, account string, q ListQuery) (*api.DatasetList, error) {
	if err := c.allow(ctx, who, authz.ListDatasets, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	scope := "datasets/" + account
	o, err := q.options(scope, "")
	if err != nil {
		return nil, err
	}
	p, err := c.DB.ListDatasets(ctx, account, o)
	if err != nil {
		return nil, err
	}
	return &api.DatasetList{Datasets: items(p.Items, wireDataset), Page: q.page(scope, p.Next, p.Total)}, nil
}

// GetDataset returns a dataset with its pinned objects.
func (c *Control) GetDataset(ctx context.Context, who Caller, account, id string) (*api.Dataset, error) {
	if err := c.allow(ctx, who, authz.GetDataset, account, datasetName(account, id)); err != nil {
		return nil, err
	}
	d, err := c.DB.Dataset(ctx, account, id)
	if err != nil {
		return nil, err
	}
	w := wireDataset(d)
	_, objects, err := c.DB.DatasetByUID(ctx, d.UID)
	if err != nil {
		return nil, err
	}
	if w.Firekeep != nil && !d.Uploaded {
		w.Firekeep.Objects = items(objects[:min(len(objects), maxObjectsShown)], wireObject)
	}
	return &w, nil
}

// maxObjectsShown bounds an answer about a dataset of very many objects.
const maxObjectsShown = 1000

// CreateDataset registers rows: by URL, which queues their validation, or for
// an upload that follows.
func (c *Control) CreateDataset(ctx context.Context, who Caller, account string, r *api.CreateDatasetRequest) (*api.Dataset, error) {
	if err := c.allow(ctx, who, authz.CreateDataset, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	if r.SourceDatasetID != "" || r.Filter != "" {
		return nil, rft.Errorf(rft.KindUnimplemented, "sourceDatasetId: this server does not derive datasets from others")
	}
	d := r.Dataset
	if d == nil {
		d = &api.Dataset{}
	}
	if err := checkDisplayName(d.DisplayName); err != nil {
		return nil, err
	}
	if d.ExternalURL != "" && d.UserUploaded != nil {
		return nil, rft.FieldErrorf("dataset.externalUrl", "dataset.externalUrl and dataset.userUploaded exclude each other")
	}
	if d.ExternalURL == "" && c.Uploads == UploadsRefused {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "this server takes no uploads; put the rows in a bucket and give its URL as dataset.externalUrl")
	}
	if err := c.Files.check("dataset.externalUrl", d.ExternalURL); err != nil {
		return nil, err
	}
	id, err := newID("datasetId", r.DatasetID)
	if err != nil {
		return nil, err
	}
	format := d.Format
	if format == "FORMAT_UNSPECIFIED" {
		format = ""
	}
	n := catalog.NewDataset{Account: account, ID: id, DisplayName: d.DisplayName, ExternalURL: d.ExternalURL, Format: format, CreatedBy: who.Name}
	made, err := c.Catalog.CreateDataset(ctx, n, who.act("CreateDataset", datasetName(account, id), "externalUrl", d.ExternalURL))
	if err != nil {
		return nil, err
	}
	w := wireDataset(made)
	return &w, nil
}

// UploadDataset seals the rows of in and queues their validation. It returns
// the dataset and the bytes read.
func (c *Control) UploadDataset(ctx context.Context, who Caller, account, id string, in io.Reader) (*api.Dataset, int64, error) {
	name := datasetName(account, id)
	if err := c.allow(ctx, who, authz.UploadDataset, account, name); err != nil {
		return nil, 0, err
	}
	if c.Uploads == UploadsRefused {
		return nil, 0, rft.Errorf(rft.KindFailedPrecondition, "this server takes no uploads; put the rows in a bucket and give its URL as dataset.externalUrl")
	}
	n, err := c.Catalog.Upload(ctx, account, id, in, room(who), who.act("UploadDataset", name))
	if err != nil {
		return nil, 0, quoted(who, err)
	}
	d, err := c.validated(ctx, account, id)
	if err != nil {
		return nil, 0, err
	}
	w := wireDataset(d)
	return &w, n, nil
}

// validationWait bounds how long an upload's answer waits for the verdict. It is
// shorter than the silence after which clients repeat a request.
const validationWait = 30 * time.Second

// validated returns a dataset once it is READY, or as it is when the wait is
// over; rows that were found wrong are an error. Clients that upload do not ask
// again, and need the line that is wrong in the answer.
func (c *Control) validated(ctx context.Context, account, id string) (store.Dataset, error) {
	ctx, cancel := context.WithTimeout(ctx, validationWait)
	defer cancel()
	for {
		changed := c.DB.JobsChanged()
		d, err := c.DB.Dataset(context.WithoutCancel(ctx), account, id)
		switch {
		case err != nil || d.State == store.StateReady:
			return d, err
		case d.Status.Code != "OK":
			return d, rft.Errorf(rft.Kind(d.Status.Code), "%s", d.Status.Message)
		case !d.Uploaded && d.ExternalURL == "":
			return d, nil
		}
		select {
		case <-ctx.Done():
			return d, nil
		case <-changed:
		case <-time.After(time.Second): // a runner of another process
		}
	}
}

// ValidateUpload answers whether an uploaded dataset is in order. Validation
// began with the upload; here its end is awaited.
func (c *Control) ValidateUpload(ctx context.Context, who Caller, account, id string) error {
	if err := c.allow(ctx, who, authz.ValidateDataset, account, datasetName(account, id)); err != nil {
		return err
	}
	d, err := c.validated(ctx, account, id)
	if err == nil && !d.Uploaded && d.ExternalURL == "" {
		err = rft.Errorf(rft.KindFailedPrecondition, "%s has no rows yet; upload them first", d.Name())
	}
	return err
}

// UpdateDataset changes what people read of a dataset. Its rows are what was
// registered, for good.
func (c *Control) UpdateDataset(ctx context.Context, who Caller, account, id string, p api.Patch) (*api.Dataset, error) {
	name := datasetName(account, id)
	if err := c.allow(ctx, who, authz.UpdateDataset, account, name); err != nil {
		return nil, err
	}
	d, err := c.DB.Dataset(ctx, account, id)
	if err != nil {
		return nil, err
	}
	w := wireDataset(d)
	if err := p.Apply(&w); err != nil {
		return nil, badPatch(err)
	}
	if w.ExternalURL != d.ExternalURL {
		return nil, rft.FieldErrorf("externalUrl", "externalUrl: cannot change; register the other rows as another dataset")
	}
	if err := checkDisplayName(w.DisplayName); err != nil {
		return nil, err
	}
	if d, err = c.DB.UpdateDataset(ctx, account, id, w.DisplayName, who.act("UpdateDataset", name)); err != nil {
		return nil, err
	}
	w = wireDataset(d)
	return &w, nil
}

// DeleteDataset forgets a dataset; rows in the user's bucket stay.
func (c *Control) DeleteDataset(ctx context.Context, who Caller, account, id string) error {
	name := datasetName(account, id)
	owner := ""
	if account == who.Account {
		d, err := c.DB.Dataset(ctx, account, id)
		if err != nil && rft.KindOf(err) != rft.KindNotFound {
			return err
		}
		owner = d.CreatedBy
	}
	if err := c.allowOwned(ctx, who, authz.DeleteDataset, account, name, owner); err != nil {
		return err
	}
	return c.Catalog.DeleteDataset(ctx, account, id, who.act("DeleteDataset", name))
}

func datasetName(account, id string) string {
	return rft.Name{Account: account, Collection: rft.Datasets, ID: id}.String()
}

func wireDataset(d store.Dataset) api.Dataset {
	w := api.Dataset{Name: d.Name(), DisplayName: d.DisplayName, CreateTime: api.At(d.Created), UpdateTime: api.At(d.Updated), State: d.State,
		Status: wireStatus(d.Status), ExampleCount: api.Int64(d.Counts.Rows), ExternalURL: d.ExternalURL, Format: wireFormat(d.Format),
		CreatedBy: d.CreatedBy}
	if d.ExternalURL == "" {
		w.UserUploaded = &struct{}{}
	}
	if d.State != store.StateReady {
		return w
	}
	n := d.Counts
	if n.Samples > 0 {
		w.AverageTurnCount = float64(n.Turns) / float64(n.Samples)
	}
	w.Firekeep = &api.DatasetExtension{Digest: d.IndexDigest, Bytes: api.Int64(n.Bytes), Rows: api.Int64(n.Rows), Groups: api.Int64(n.Groups),
		Samples: api.Int64(n.Samples), Format: d.Format, SamplesPerGroup: n.SamplesPerGroup, WithLogprobs: api.Int64(n.WithLogprobs), EvalKeys: n.EvalKeys, Warnings: n.Warnings}
	return w
}

// wireFormat is the contract's name of a format: it has none for preferences and
// batches.
func wireFormat(format string) string {
	switch format {
	case "RL", "CHAT", "COMPLETION":
		return format
	}
	return "FORMAT_UNSPECIFIED"
}

func wireObject(o store.Object) api.PinnedObject {
	return api.PinnedObject{Key: o.Key, Size: api.Int64(o.Pin.Size), Version: o.Pin.Version, ETag: o.Pin.ETag, SHA256: o.SHA256}
}
