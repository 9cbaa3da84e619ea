package control

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// ModelUploadEndpoint returns, by file name, the paths that the files of a model
// may be sent to: a directory in Hugging Face's form, one GGUF file, or the two
// files of an adapter.
func (c *Control) ModelUploadEndpoint(ctx context.Context, who Caller, account, id string, files map[string]int64) (map[string]string, error) {
	name := modelName(account, id)
	if err := c.allow(ctx, who, authz.UploadModel, account, name); err != nil {
		return nil, err
	}
	if c.Uploads == UploadsRefused {
		return nil, errNoUploads()
	}
	if err := checkFiles(files, catalog.MaxModelFiles, catalog.MaxModelFileBytes, catalog.MaxModelBytes); err != nil {
		return nil, err
	}
	m, err := c.DB.Model(ctx, account, id)
	if err != nil {
		return nil, err
	}
	if m.ImportedFrom != "" || m.State != store.StateUploading {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "%s takes no upload: it is %s", name, m.State)
	}
	return c.announce(ctx, who, ticket{Model: true, Account: account, ID: m.ID, UID: m.UID}, name, files)
}

// ValidateModelUpload imports the files of a model once all are there, and waits
// for the verdict for as long as clients wait without a byte; a model that is
// still UPLOADING then goes on by itself.
func (c *Control) ValidateModelUpload(ctx context.Context, who Caller, account, id string) (*api.ModelUploadVerdict, error) {
	name := modelName(account, id)
	if err := c.allow(ctx, who, authz.UploadModel, account, name); err != nil {
		return nil, err
	}
	m, err := c.DB.Model(ctx, account, id)
	if err != nil {
		return nil, err
	}
	if m.State == store.StateUploading && m.ImportedFrom == "" {
		if err := c.Catalog.ImportUploaded(ctx, m, who.act("ValidateModelUpload", name)); err != nil {
			return nil, err
		}
	}
	wait, cancel := context.WithTimeout(ctx, validationWait)
	defer cancel()
	for {
		changed := c.DB.JobsChanged()
		m, err := c.DB.Model(context.WithoutCancel(ctx), account, id)
		switch {
		case err != nil:
			return nil, err
		case m.Status.Code != "OK":
			return nil, rft.Errorf(rft.Kind(m.Status.Code), "%s", m.Status.Message)
		case m.State == store.StateReady:
			return &api.ModelUploadVerdict{Warnings: []string{}}, nil
		}
		select {
		case <-wait.Done():
			return &api.ModelUploadVerdict{Warnings: []string{"the import goes on; the model is READY when it is done"}}, nil
		case <-changed:
		case <-time.After(time.Second): // a runner of another process
		}
	}
}

// PrepareModel answers for models that are READY: weights are prepared when they
// are imported, for every precision that this server computes in.
func (c *Control) PrepareModel(ctx context.Context, who Caller, account, id string) error {
	name := modelName(account, id)
	if err := c.allow(ctx, who, authz.UpdateModel, account, name); err != nil {
		return err
	}
	m, err := c.DB.Model(ctx, account, id)
	if err == nil && m.State != store.StateReady {
		err = rft.Errorf(rft.KindFailedPrecondition, "%s is %s, not READY", name, m.State)
	}
	return err
}

// ModelDownloadEndpoint returns, by file name, the paths that an adapter's files
// can be read from. It is an export, and the account's policy decides about it.
func (c *Control) ModelDownloadEndpoint(ctx context.Context, who Caller, account, id string) (map[string]string, error) {
	name := modelName(account, id)
	if err := c.allow(ctx, who, authz.ExportModel, account, name); err != nil {
		return nil, err
	}
	m, err := c.DB.Model(ctx, account, id)
	if err != nil {
		return nil, err
	}
	if err := c.mayDownload(ctx, who, m); err != nil {
		return nil, err
	}
	t := ticket{Method: http.MethodGet, Model: true, Account: account, ID: m.ID, UID: m.UID, Key: who.KeyID, Expires: c.now().Add(downloadLife).Unix()}
	out := map[string]string{}
	for _, file := range []string{catalog.FileConfig, catalog.FileAdapter} {
		t.File = file
		if out[file], err = c.sealTransfer(t); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// downloads is what a policy calls the way out through the API.
const downloads = "https://download/"

// mayDownload asks the account's policy about a model that leaves through the
// API. What the policy refuses is audited.
func (c *Control) mayDownload(ctx context.Context, who Caller, m store.Model) error {
	switch {
	case m.Kind != store.KindAdapter:
		return rft.Errorf(rft.KindUnimplemented, "%s is a base model; only adapters can be downloaded", m.Name())
	case m.State != store.StateReady:
		return rft.Errorf(rft.KindFailedPrecondition, "%s is %s, not READY", m.Name(), m.State)
	}
	policy, err := c.mayLeave(ctx, m.Account, m, catalog.ExportSpec{URL: downloads})
	if err == nil && policy.RequireApproval {
		err = rft.Errorf(rft.KindFailedPrecondition, "the account's policy wants another principal to approve exports; ask for one with :export")
	}
	if rft.KindOf(err) == rft.KindPermissionDenied || rft.KindOf(err) == rft.KindFailedPrecondition {
		if e := c.DB.Record(ctx, who.act("DownloadModel", m.Name(), "digest", m.Digest), err); e != nil {
			return e
		}
	}
	return err
}

// openModel returns a file of an adapter. The policy is asked again: it may have
// changed since the URL was signed.
func (x *Transfer) openModel(ctx context.Context) (io.ReadCloser, int64, error) {
	c, m := x.control, x.model
	if err := c.mayDownload(ctx, x.Caller, m); err != nil {
		return nil, 0, err
	}
	if err := x.leaves(ctx, "DownloadModel", "digest", m.Digest, "file", x.ticket.File); err != nil {
		return nil, 0, err
	}
	ctx = custody.For(ctx, custody.Use{Purpose: "download", Resource: m.Name(), Actor: x.Caller.Name})
	config, tensors, err := c.Catalog.Adapter(ctx, m)
	if err != nil {
		return nil, 0, c.keyed(ctx, x.ticket.Account, err)
	}
	b := config
	if x.ticket.File == catalog.FileAdapter {
		b = tensors
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
}
