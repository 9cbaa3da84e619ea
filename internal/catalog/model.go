package catalog

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// NewImport describes a model to import.
type NewImport struct {
	Account, ID string
	DisplayName string
	Description string
	Source      string // an object (GGUF) or a prefix ending in '/' (Hugging Face directory); hf://ORG/NAME
	BaseModel   string // for an adapter: the base it stands on; "" = a base model
	Public      bool
	CreatedBy   string
}

// ImportSpec is the Spec of an import job.
type ImportSpec struct {
	UID     string `json:"uid"` // of the model
	Model   string `json:"model"`
	Source  string `json:"source"`
	BaseUID string `json:"baseUid,omitempty"` // set for an adapter
}

// ExportSpec is the Spec of an export job.
type ExportSpec struct {
	UID   string `json:"uid"` // of the model
	Model string `json:"model"`
	URL   string `json:"url"` // prefix, ends in '/'; or oci://HOST/REPOSITORY:TAG
	// Approval is the id of the request that another principal approved.
	Approval string `json:"approval,omitempty"`
}

// ExportResult is the Result of an export job.
type ExportResult struct {
	URL    string   `json:"url"`
	Files  []string `json:"files"`
	Bytes  int64    `json:"bytes"`
	Digest string   `json:"digest,omitempty"` // of the manifest in a registry
}

// ImportModel adds a model and queues the job that imports it.
func (c *Catalog) ImportModel(ctx context.Context, n NewImport, act store.Act) (store.Model, store.Job, error) {
	if err := rft.CheckID("modelId", n.ID); err != nil {
		return store.Model{}, store.Job{}, err
	}
	source, err := importSource(n.Source)
	if err != nil {
		return store.Model{}, store.Job{}, err
	}
	m := store.Model{UID: store.NewUID(), Account: n.Account, ID: n.ID, DisplayName: n.DisplayName, Description: n.Description, Kind: store.KindBase,
		State: store.StateUploading, Status: store.OK(), ImportedFrom: source, Public: n.Public, CreatedBy: n.CreatedBy}
	spec := ImportSpec{UID: m.UID, Model: m.Name(), Source: source}
	if n.BaseModel != "" {
		base, err := c.readyBase(ctx, n.Account, "model.peftDetails.baseModel", n.BaseModel)
		if err != nil {
			return store.Model{}, store.Job{}, err
		}
		m.Kind, m.BaseModel, m.BaseUID, spec.BaseUID = store.KindAdapter, base.Name(), base.UID, base.UID
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		return store.Model{}, store.Job{}, rft.Wrap(rft.KindInternal, err, "the import cannot be described")
	}
	job := store.Job{Account: n.Account, Kind: store.JobImport, Spec: raw, BaseModel: m.BaseModel, OutputModel: m.Name(), CreatedBy: n.CreatedBy}
	m, err = c.db.CreateModel(ctx, m, &job, act)
	return m, job, err
}

// importSource checks a source: hf://ORG/NAME or a bucket URL.
func importSource(s string) (string, error) {
	if name, ok := strings.CutPrefix(s, "hf://"); ok {
		if strings.Count(name, "/") != 1 || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") || strings.ContainsAny(name, "?#%\\ ") || strings.Contains(name, "..") {
			return "", rft.FieldErrorf("source", "source: %q is not hf://ORG/NAME", s)
		}
		return s, nil
	}
	u, err := ownURL("source", s)
	return u.String(), err
}

// readyBase resolves a base model that is READY.
func (c *Catalog) readyBase(ctx context.Context, account, field, ref string) (store.Model, error) {
	m, err := c.Model(ctx, account, field, ref)
	if err != nil {
		return m, err
	}
	if m.Kind != store.KindBase {
		return m, rft.FieldErrorf(field, "%s: %s is not a base model but a LoRA adapter of %s", field, m.Name(), m.BaseModel)
	}
	if m.State != store.StateReady {
		return m, rft.Errorf(rft.KindFailedPrecondition, "%s is not READY but %s", m.Name(), m.State)
	}
	return m, nil
}

// DeleteModel removes a model and its artefact. Prepared weights go when no
// other model has the same digest.
func (c *Catalog) DeleteModel(ctx context.Context, account, id string, act store.Act) error {
	m, err := c.db.DeleteModel(ctx, account, id, act)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if a, err := c.db.Account(ctx, account); err == nil {
		_ = c.vault.removeAll(ctx, uploadPrefix(a.UID, m.UID)) // else an orphan for fsck
	}
	if m.Attestation != "" {
		_ = c.vault.Remove(ctx, m.Attestation) // else an orphan for fsck
	}
	if m.Artifact != "" {
		c.residents.forget(m.Artifact)
		return c.vault.Remove(ctx, m.Artifact) // what a failure leaves is an orphan for fsck
	}
	if m.Kind == store.KindBase && m.Digest != "" {
		return c.db.UnsharedDigest(ctx, m.Digest, func() error { return c.bases.Remove(m.Digest) })
	}
	return nil
}

// Discard removes what was stored for m, and its signature below attestation, where
// no row shows it; what a failure leaves is an orphan for fsck. Plain weights are put
// in place by the transaction that shows them.
func (c *Catalog) Discard(ctx context.Context, m store.Model, attestation string) {
	now, err := c.db.ModelByUID(ctx, m.UID)
	switch {
	case rft.KindOf(err) == rft.KindNotFound:
		now = store.Model{}
	case err != nil:
		return // whether a row shows it is not known
	}
	if m.Artifact != "" && now.Artifact != m.Artifact {
		_ = c.vault.Remove(ctx, m.Artifact)
	}
	if now.Attestation != attestation {
		_ = c.vault.Remove(ctx, attestation)
	}
}

// Weights opens the prepared weights that m runs on: its own or its base's. The
// caller closes them when the children that map them are gone.
func (c *Catalog) Weights(ctx context.Context, m store.Model) (*Weights, error) {
	if m.Kind == store.KindAdapter {
		base, err := c.db.ModelByUID(ctx, m.BaseUID)
		if err != nil {
			return nil, err
		}
		m = base
	}
	if err := c.checkWeights(ctx, m); err != nil {
		return nil, err
	}
	if Private(m) {
		return c.residents.use(ctx, m)
	}
	return c.bases.Open(m.Digest, m.Size)
}

// Adapter reads the files of an adapter: adapter_config.json and
// adapter_model.safetensors. They are held against the manifest, the manifest
// against the digest of m and against the signature.
func (c *Catalog) Adapter(ctx context.Context, m store.Model) (config, tensors []byte, err error) {
	a, err := c.Checkpoint(ctx, m)
	if err != nil {
		return nil, nil, err
	}
	return a.Adapter(ctx)
}

// Adapter reads the files of an adapter.
func (a *Artifact) Adapter(ctx context.Context) (config, tensors []byte, err error) {
	if config, err = a.Read(ctx, FileConfig); err != nil {
		return nil, nil, err
	}
	tensors, err = a.Read(ctx, FileAdapter)
	return config, tensors, err
}
