package control

import (
	"context"
	"encoding/json"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// ListModels lists models: the account's own, or what the operator published.
func (c *Control) ListModels(ctx context.Context, who Caller, account string, q ListQuery) (*api.ModelList, error) {
	if err := c.allow(ctx, who, authz.ListModels, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	scope := "models/" + account
	o, err := q.options(scope, "")
	if err != nil {
		return nil, err
	}
	if account != who.Account {
		o.Filter = append(o.Filter, store.Term{Field: "public", Op: "=", Value: "true"})
	}
	p, err := c.DB.ListModels(ctx, account, o)
	if err != nil {
		return nil, err
	}
	return &api.ModelList{Models: items(p.Items, wireModel), Page: q.page(scope, p.Next, p.Total)}, nil
}

// GetModel returns a model.
func (c *Control) GetModel(ctx context.Context, who Caller, account, id string) (*api.Model, error) {
	name := modelName(account, id)
	if err := c.allow(ctx, who, authz.GetModel, account, name); err != nil {
		return nil, err
	}
	m, err := c.DB.Model(ctx, account, id)
	if err != nil {
		return nil, err
	}
	if account != who.Account && !m.Public {
		return nil, authz.NotFound(name)
	}
	w := wireModel(m)
	refs, err := c.DB.ListDeployedModels(ctx, who.Account, store.ListOptions{Filter: []store.Term{{Field: "model", Op: "=", Value: name}}})
	if err != nil {
		return nil, err
	}
	for _, d := range refs.Items {
		w.DeployedModelRefs = append(w.DeployedModelRefs, api.DeployedModelRef{Name: deployedName(d.Account, d.ID), Deployment: d.Deployment,
			State: d.State, Default: d.Default, Public: d.Public})
	}
	return &w, nil
}

// CreateModel imports a model from its source: a bucket, a directory of the
// server, or Hugging Face. Without a source the model waits for its files.
func (c *Control) CreateModel(ctx context.Context, who Caller, account string, r *api.CreateModelRequest) (*api.Model, error) {
	if err := c.allow(ctx, who, authz.CreateModel, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	m := r.Model
	if m == nil {
		m = &api.Model{}
	}
	source := m.ImportedFrom
	if m.Firekeep != nil && m.Firekeep.Source != "" {
		source = m.Firekeep.Source
	}
	switch {
	case r.ModelID == "":
		return nil, rft.FieldErrorf("modelId", "modelId: is required")
	case source == "" && c.Uploads == UploadsRefused:
		return nil, rft.FieldErrorf("model.firekeep.source", "model.firekeep.source: this server takes no uploads; give the place to import from: file://, s3://, gs:// or hf://ORG/NAME")
	case !importedKinds[m.Kind]:
		return nil, rft.FieldErrorf("model.kind", "model.kind: %s is not supported; HF_BASE_MODEL and HF_PEFT_ADDON are", clip(m.Kind, 40))
	case m.Kind == store.KindAdapter && (m.PeftDetails == nil || m.PeftDetails.BaseModel == ""):
		return nil, rft.FieldErrorf("model.peftDetails.baseModel", "model.peftDetails.baseModel: an adapter needs the base model that it stands on")
	case len(m.Description) > 1000:
		return nil, rft.FieldErrorf("model.description", "model.description: is longer than 1000 bytes")
	}
	if err := checkDisplayName(m.DisplayName); err != nil {
		return nil, err
	}
	if err := rft.CheckID("modelId", r.ModelID); err != nil {
		return nil, err
	}
	if source != "" {
		if err := c.Files.check("model.firekeep.source", source); err != nil {
			return nil, err
		}
		if err := c.checkQuotas(ctx, who); err != nil {
			return nil, err
		}
	}
	n := catalog.NewImport{Account: account, ID: r.ModelID, DisplayName: m.DisplayName, Description: m.Description, Source: source, CreatedBy: who.Name,
		// What the operator's account holds is there for every account.
		Public: m.Public || account == rft.OperatorAccount}
	if m.PeftDetails != nil {
		n.BaseModel = m.PeftDetails.BaseModel
	}
	act := who.act("CreateModel", modelName(account, r.ModelID), "source", source)
	var made store.Model
	var err error
	if source == "" {
		made, err = c.Catalog.ReserveModel(ctx, n, act)
	} else {
		made, _, err = c.Catalog.ImportModel(ctx, n, act)
	}
	if err != nil {
		return nil, err
	}
	w := wireModel(made)
	return &w, nil
}

// importedKinds are the kinds of models that can come in; "" = by what is given.
var importedKinds = map[string]bool{"": true, "KIND_UNSPECIFIED": true, store.KindBase: true, store.KindAdapter: true}

// UpdateModel changes what people read of a model. What it computes is what was
// signed, for good.
func (c *Control) UpdateModel(ctx context.Context, who Caller, account, id string, p api.Patch) (*api.Model, error) {
	name := modelName(account, id)
	if err := c.allow(ctx, who, authz.UpdateModel, account, name); err != nil {
		return nil, err
	}
	m, err := c.DB.Model(ctx, account, id)
	if err != nil {
		return nil, err
	}
	w := wireModel(m)
	if err := p.Apply(&w); err != nil {
		return nil, badPatch(err)
	}
	switch {
	case w.Kind != m.Kind:
		return nil, rft.FieldErrorf("kind", "kind: cannot change from %s", m.Kind)
	case len(w.Description) > 1000:
		return nil, rft.FieldErrorf("description", "description: is longer than 1000 bytes")
	}
	if err := checkDisplayName(w.DisplayName); err != nil {
		return nil, err
	}
	change := store.ModelChange{DisplayName: &w.DisplayName, Description: &w.Description, Public: &w.Public}
	if m, err = c.DB.UpdateModel(ctx, account, id, change, who.act("UpdateModel", name)); err != nil {
		return nil, err
	}
	w = wireModel(m)
	return &w, nil
}

// DeleteModel deletes a model and its artefact, and takes it out of the memory of
// the children that have it.
func (c *Control) DeleteModel(ctx context.Context, who Caller, account, id string) error {
	name := modelName(account, id)
	if err := c.allow(ctx, who, authz.DeleteModel, account, name); err != nil {
		return err
	}
	m, err := c.DB.Model(ctx, account, id)
	if err != nil {
		return err
	}
	if err := c.Catalog.DeleteModel(ctx, account, id, who.act("DeleteModel", name)); err != nil {
		return err
	}
	c.forget(context.WithoutCancel(ctx), m)
	return nil
}

// forget ends what has m in memory; a server without engines has no router.
func (c *Control) forget(ctx context.Context, m store.Model) {
	switch {
	case c.Router == nil:
	case m.Kind == store.KindBase:
		c.Router.Forget(ctx, m.Name(), "")
	default:
		c.Router.Forget(ctx, m.BaseModel, m.Digest)
	}
}

func modelName(account, id string) string {
	return rft.Name{Account: account, Collection: rft.Models, ID: id}.String()
}

func wireModel(m store.Model) api.Model {
	w := api.Model{Name: m.Name(), DisplayName: m.DisplayName, Description: m.Description, CreateTime: api.At(m.Created), UpdateTime: api.At(m.Updated),
		State: m.State, Status: wireStatus(m.Status), Kind: m.Kind, Public: m.Public, ContextLength: m.ContextLength, ImportedFrom: m.ImportedFrom,
		SupportsServerless: m.State == store.StateReady, FineTuningJob: m.FineTuningJob, Firekeep: &api.ModelExtension{Digest: m.Digest, Bytes: api.Int64(m.Size), HasChatTemplate: m.HasChat, Signed: m.Attestation != ""}}
	if m.Kind == store.KindAdapter {
		w.PeftDetails = &api.PeftDetails{BaseModel: m.BaseModel, R: m.Rank, TargetModules: append([]string{}, m.Targets...)} // never null: clients want a list
		w.Firekeep.LoraAlpha = m.Alpha
		w.RLTunable, w.RLLoraTunable = true, true
		return w
	}
	w.SupportsLora, w.Tunable, w.RLTunable, w.RLLoraTunable = true, true, true, true
	w.BaseModelDetails = &api.BaseModelDetails{ParameterCount: api.Int64(m.Parameters), CheckpointFormat: "HUGGINGFACE", Tunable: true}
	var config engine.Config
	if len(m.Config) > 0 && json.Unmarshal(m.Config, &config) == nil {
		w.BaseModelDetails.ModelType, w.Firekeep.Family = config.Family, config.Family
	}
	return w
}
