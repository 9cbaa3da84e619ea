package control

import (
	"context"
	"encoding/json"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// ListDeployments lists deployments.
func (c *Control) ListDeployments(ctx context.Context, who Caller, account string, q ListQuery) (*api.DeploymentList, error) {
	if err := c.allow(ctx, who, authz.ListDeployments, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	scope := "deployments/" + account
	o, err := q.options(scope, "create_time")
	if err != nil {
		return nil, err
	}
	p, err := c.DB.ListDeployments(ctx, account, o)
	if err != nil {
		return nil, err
	}
	return &api.DeploymentList{Deployments: items(p.Items, wireDeployment), Page: q.page(scope, p.Next, p.Total)}, nil
}

// GetDeployment returns a deployment.
func (c *Control) GetDeployment(ctx context.Context, who Caller, account, id string) (*api.Deployment, error) {
	if err := c.allow(ctx, who, authz.GetDeployment, account, deploymentName(account, id)); err != nil {
		return nil, err
	}
	d, err := c.DB.Deployment(ctx, account, id)
	if err != nil {
		return nil, err
	}
	w := wireDeployment(d)
	return &w, nil
}

// CreateDeployment creates a deployment of a model. One host serves it: it is
// READY at once, and its engine starts with the first request.
func (c *Control) CreateDeployment(ctx context.Context, who Caller, account, id string, d *api.Deployment) (*api.Deployment, error) {
	if err := c.allow(ctx, who, authz.CreateDeployment, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	switch {
	case d.Name != "":
		return nil, rft.FieldErrorf("name", "name: is output only; give the id in the query as deploymentId")
	case d.BaseModel == "":
		return nil, rft.FieldErrorf("baseModel", "baseModel: is required")
	case d.MinReplicaCount < 0 || d.MaxReplicaCount < 0 || d.MaxReplicaCount > 1000:
		return nil, rft.FieldErrorf("maxReplicaCount", "minReplicaCount and maxReplicaCount: want 0 to 1000")
	}
	if err := checkDisplayName(d.DisplayName); err != nil {
		return nil, err
	}
	id, err := newID("deploymentId", id)
	if err != nil {
		return nil, err
	}
	m, err := c.model(ctx, "baseModel", d.BaseModel, account)
	if err != nil {
		return nil, err
	}
	if m.State != store.StateReady {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "baseModel: %s is %s, not READY", m.Name(), m.State)
	}
	echoed, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	row := store.Deployment{Account: account, ID: id, DisplayName: d.DisplayName, BaseModel: m.Name(), State: "READY", Status: store.OK(),
		MinReplicas: d.MinReplicaCount, MaxReplicas: max(d.MaxReplicaCount, d.MinReplicaCount, 1), EnableAddons: d.EnableAddons,
		EnableHotReload: d.EnableHotReload, Config: echoed, CreatedBy: who.Name}
	made, err := c.DB.CreateDeployment(ctx, row, who.act("CreateDeployment", row.Name(), "baseModel", m.Name()))
	if err != nil {
		return nil, err
	}
	w := wireDeployment(made)
	return &w, nil
}

// DeleteDeployment deletes a deployment and unloads what it serves.
func (c *Control) DeleteDeployment(ctx context.Context, who Caller, account, id string) error {
	name := deploymentName(account, id)
	if err := c.allow(ctx, who, authz.DeleteDeployment, account, name); err != nil {
		return err
	}
	return c.DB.DeleteDeployment(ctx, account, id, who.act("DeleteDeployment", name))
}

func deploymentName(account, id string) string {
	return rft.Name{Account: account, Collection: rft.Deployments, ID: id}.String()
}

// wireDeployment starts from the fields that are echoed and sets the rest.
func wireDeployment(d store.Deployment) api.Deployment {
	var w api.Deployment
	if len(d.Config) > 0 {
		_ = json.Unmarshal(d.Config, &w) // written by CreateDeployment
	}
	w.Name, w.DisplayName, w.BaseModel = d.Name(), d.DisplayName, d.BaseModel
	w.CreateTime, w.UpdateTime, w.CreatedBy = api.At(d.Created), api.At(d.Updated), d.CreatedBy
	w.State, w.Status = d.State, wireStatus(d.Status)
	w.MinReplicaCount, w.MaxReplicaCount = d.MinReplicas, d.MaxReplicas
	w.DesiredReplicaCount, w.ReplicaCount = 1, 1
	w.EnableAddons, w.EnableHotReload = d.EnableAddons, d.EnableHotReload
	w.AcceleratorType = orElse(w.AcceleratorType, "ACCELERATOR_TYPE_UNSPECIFIED")
	w.Precision = orElse(w.Precision, "PRECISION_UNSPECIFIED")
	// No direct route exists; programs make host names of other values.
	w.DirectRouteType = "DIRECT_ROUTE_TYPE_UNSPECIFIED"
	w.Region = "REGION_UNSPECIFIED"
	return w
}

// ListDeployedModels lists loaded models.
func (c *Control) ListDeployedModels(ctx context.Context, who Caller, account string, q ListQuery) (*api.DeployedModelList, error) {
	if err := c.allow(ctx, who, authz.ListDeployedModels, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	scope := "deployedModels/" + account
	o, err := q.options(scope, "")
	if err != nil {
		return nil, err
	}
	p, err := c.DB.ListDeployedModels(ctx, account, o)
	if err != nil {
		return nil, err
	}
	return &api.DeployedModelList{DeployedModels: items(p.Items, wireDeployed), Page: q.page(scope, p.Next, p.Total)}, nil
}

// GetDeployedModel returns a loaded model.
func (c *Control) GetDeployedModel(ctx context.Context, who Caller, account, id string) (*api.DeployedModel, error) {
	if err := c.allow(ctx, who, authz.GetDeployedModel, account, deployedName(account, id)); err != nil {
		return nil, err
	}
	d, err := c.DB.DeployedModel(ctx, account, id)
	if err != nil {
		return nil, err
	}
	w := wireDeployed(d)
	return &w, nil
}

// CreateDeployedModel loads a model on a deployment of its base.
func (c *Control) CreateDeployedModel(ctx context.Context, who Caller, account string, d *api.DeployedModel, replace bool) (*api.DeployedModel, error) {
	if err := c.allow(ctx, who, authz.CreateDeployedModel, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	if d.Model == "" {
		return nil, rft.FieldErrorf("model", "model: is required")
	}
	if err := checkDisplayName(d.DisplayName); err != nil {
		return nil, err
	}
	m, err := c.model(ctx, "model", d.Model, account)
	if err != nil {
		return nil, err
	}
	if m.State != store.StateReady {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "model: %s is %s, not READY", m.Name(), m.State)
	}
	deployment := ""
	if d.Deployment != "" {
		n, err := rft.ParseName("deployment", d.Deployment, account, rft.Deployments)
		if err != nil {
			return nil, err
		}
		if n.Account != account {
			return nil, authz.NotFound(n.String())
		}
		on, err := c.DB.Deployment(ctx, account, n.ID)
		if err != nil {
			return nil, err
		}
		if err := fits(m, on, replace); err != nil {
			return nil, err
		}
		deployment = on.Name()
	}
	id, err := newID("deployedModelId", "")
	if err != nil {
		return nil, err
	}
	row := store.DeployedModel{Account: account, ID: id, DisplayName: d.DisplayName, Description: d.Description, Model: m.Name(), Deployment: deployment,
		Default: true, Public: d.Public, Serverless: deployment == "", State: "DEPLOYED", Status: store.OK(), CreatedBy: who.Name}
	made, err := c.DB.CreateDeployedModel(ctx, row, replace, who.act("CreateDeployedModel", deployedName(account, id), "model", m.Name(), "deployment", deployment))
	if err != nil {
		return nil, err
	}
	w := wireDeployed(made)
	return &w, nil
}

// fits reports whether deployment on can serve m.
func fits(m store.Model, on store.Deployment, replace bool) error {
	base := m.Name()
	if m.Kind == store.KindAdapter {
		base = m.BaseModel
	}
	switch {
	case base != on.BaseModel && m.Name() != on.BaseModel:
		return rft.Errorf(rft.KindFailedPrecondition, "model: %s stands on %s, but %s serves %s", m.Name(), base, on.Name(), on.BaseModel)
	case on.EnableHotReload && !replace:
		return rft.FieldErrorf("replaceMergedAddon", "replaceMergedAddon: must be true on a deployment with enableHotReloadLatestAddon")
	}
	return nil
}

// DeleteDeployedModel unloads a model.
func (c *Control) DeleteDeployedModel(ctx context.Context, who Caller, account, id string) error {
	name := deployedName(account, id)
	if err := c.allow(ctx, who, authz.DeleteDeployedModel, account, name); err != nil {
		return err
	}
	return c.DB.DeleteDeployedModel(ctx, account, id, who.act("DeleteDeployedModel", name))
}

func deployedName(account, id string) string {
	return rft.Name{Account: account, Collection: rft.Deployed, ID: id}.String()
}

func wireDeployed(d store.DeployedModel) api.DeployedModel {
	return api.DeployedModel{Name: deployedName(d.Account, d.ID), DisplayName: d.DisplayName, Description: d.Description,
		CreateTime: api.At(d.Created), UpdateTime: api.At(d.Updated), Model: d.Model, Deployment: d.Deployment, Default: d.Default,
		State: d.State, Serverless: d.Serverless, Status: wireStatus(d.Status), Public: d.Public}
}
