package control

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// ListDeployments lists deployments; with deleted, those too that can be undeleted.
func (c *Control) ListDeployments(ctx context.Context, who Caller, account string, q ListQuery, deleted bool) (*api.DeploymentList, error) {
	if err := c.allow(ctx, who, authz.ListDeployments, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	scope := "deployments/" + account
	if deleted {
		scope += "+deleted"
	}
	o, err := q.options(scope, "create_time")
	if err != nil {
		return nil, err
	}
	list := c.DB.ListDeployments
	if deleted {
		list = c.DB.ListAllDeployments
	}
	p, err := list(ctx, account, o)
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

// DeploymentOptions are the query parameters of a deployment's creation. Those
// about shapes and images are accepted: there are none here.
type DeploymentOptions struct {
	// ValidateOnly checks everything and makes nothing.
	ValidateOnly bool
}

// CreateDeployment creates a deployment of a model. One host serves it: it is
// READY at once, and its engine starts with the first request.
func (c *Control) CreateDeployment(ctx context.Context, who Caller, account, id string, d *api.Deployment, o DeploymentOptions) (*api.Deployment, error) {
	if err := c.allow(ctx, who, authz.CreateDeployment, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	switch {
	case d.Name != "":
		return nil, rft.FieldErrorf("name", "name: is output only; give the id in the query as deploymentId")
	case d.BaseModel == "":
		return nil, rft.FieldErrorf("baseModel", "baseModel: is required")
	}
	if err := checkDeploymentFields(d); err != nil {
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
	row := store.Deployment{Account: account, ID: id, State: "READY", Status: store.OK(), BaseModel: m.Name(), CreatedBy: who.Name}
	if err := fillDeployment(&row, d); err != nil {
		return nil, err
	}
	row.Replicas = max(row.MinReplicas, 1)
	if o.ValidateOnly {
		row.Created = c.DB.Now()
		w := wireDeployment(row)
		return &w, nil
	}
	made, err := c.DB.CreateDeployment(ctx, row, who.act("CreateDeployment", row.Name(), "baseModel", m.Name()))
	if err != nil {
		return nil, err
	}
	w := wireDeployment(made)
	return &w, nil
}

// checkDeploymentFields checks what can be set at creation and later.
func checkDeploymentFields(d *api.Deployment) error {
	switch {
	case d.MinReplicaCount < 0 || d.MaxReplicaCount < 0 || max(d.MinReplicaCount, d.MaxReplicaCount) > maxReplicas:
		return rft.FieldErrorf("maxReplicaCount", "minReplicaCount and maxReplicaCount: want 0 to %d", maxReplicas)
	case len(d.Description) > 1000:
		return rft.FieldErrorf("description", "description: is longer than 1000 bytes")
	case d.EnableAddons && d.EnableHotReload:
		return rft.FieldErrorf("enableHotReloadLatestAddon", "enableHotReloadLatestAddon and enableAddons exclude each other")
	}
	if p := d.AutoscalingPolicy; p != nil && p.ScaleToZeroWindow != nil && time.Duration(*p.ScaleToZeroWindow) < minScaleToZero {
		return rft.FieldErrorf("autoscalingPolicy.scaleToZeroWindow", "autoscalingPolicy.scaleToZeroWindow: must be at least %s", minScaleToZero)
	}
	return checkDisplayName(d.DisplayName)
}

// fillDeployment puts what a request may set into a row; the rest is echoed.
func fillDeployment(row *store.Deployment, d *api.Deployment) error {
	echoed, err := json.Marshal(d)
	if err != nil {
		return err
	}
	row.DisplayName, row.Config = d.DisplayName, echoed
	row.MinReplicas, row.MaxReplicas = d.MinReplicaCount, max(d.MaxReplicaCount, d.MinReplicaCount, 1)
	row.EnableAddons, row.EnableHotReload = d.EnableAddons, d.EnableHotReload
	return nil
}

// UpdateDeployment changes a deployment; what it serves stays.
func (c *Control) UpdateDeployment(ctx context.Context, who Caller, account, id string, p api.Patch) (*api.Deployment, error) {
	name := deploymentName(account, id)
	if err := c.allow(ctx, who, authz.UpdateDeployment, account, name); err != nil {
		return nil, err
	}
	made, err := c.DB.UpdateDeployment(ctx, account, id, who.act("UpdateDeployment", name), func(row *store.Deployment) error {
		w := wireDeployment(*row)
		if err := p.Apply(&w); err != nil {
			return badPatch(err)
		}
		if !sameName(w.BaseModel, row.BaseModel, account, rft.Models) {
			return rft.FieldErrorf("baseModel", "baseModel: cannot change from %s; create another deployment", row.BaseModel)
		}
		if err := checkDeploymentFields(&w); err != nil {
			return err
		}
		if err := fillDeployment(row, &w); err != nil {
			return err
		}
		row.Replicas = min(max(row.Replicas, row.MinReplicas), row.MaxReplicas)
		return nil
	})
	if err != nil {
		return nil, err
	}
	w := wireDeployment(made)
	return &w, nil
}

// sameName reports whether a reference, full or bare, names a resource.
func sameName(ref, name, account string, c rft.Collection) bool {
	n, err := rft.ParseName("name", ref, account, c)
	return ref == "" || (err == nil && (n.String() == name || (n.ID == ref && strings.HasSuffix(name, "/"+ref))))
}

// DeleteDeployment deletes a deployment and unloads what it serves. Without hard
// it can be undeleted for a month.
func (c *Control) DeleteDeployment(ctx context.Context, who Caller, account, id string, hard bool) error {
	name := deploymentName(account, id)
	if err := c.allow(ctx, who, authz.DeleteDeployment, account, name); err != nil {
		return err
	}
	return c.DB.DeleteDeployment(ctx, account, id, hard, who.act("DeleteDeployment", name))
}

// UndeleteDeployment brings back a deployment, with nothing loaded on it.
func (c *Control) UndeleteDeployment(ctx context.Context, who Caller, account, id string) (*api.Deployment, error) {
	name := deploymentName(account, id)
	if err := c.allow(ctx, who, authz.UndeleteDeployment, account, name); err != nil {
		return nil, err
	}
	d, err := c.DB.UndeleteDeployment(ctx, account, id, who.act("UndeleteDeployment", name))
	if err != nil {
		return nil, err
	}
	w := wireDeployment(d)
	return &w, nil
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
	w.DesiredReplicaCount, w.ReplicaCount = d.Replicas, d.Replicas
	// A replica is ready when it would answer: its engine starts with a request.
	w.ReplicaStats = &api.ReplicaStats{Ready: d.Replicas}
	if !d.Deleted.IsZero() {
		w.DesiredReplicaCount, w.ReplicaCount, w.ReplicaStats = 0, 0, &api.ReplicaStats{}
		w.DeleteTime, w.PurgeTime = api.At(d.Deleted), api.At(d.Deleted.Add(store.KeepDeployments))
	}
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

// CreateDeployedModel loads a model on a deployment of its base. The row, which
// says DEPLOYED and with replace takes the place of the one before, is written
// behind the load: until an adapter is proven, what was live stays live.
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
	status, err := c.load(ctx, account, m)
	if err != nil {
		return nil, err
	}
	row := store.DeployedModel{Account: account, ID: id, DisplayName: d.DisplayName, Description: d.Description, Model: m.Name(), Deployment: deployment,
		Default: true, Public: d.Public, Serverless: deployment == "", State: "DEPLOYED", Status: status, CreatedBy: who.Name}
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

// UpdateDeployedModel changes what people read of a loaded model; where it is
// loaded stays.
func (c *Control) UpdateDeployedModel(ctx context.Context, who Caller, account, id string, p api.Patch) (*api.DeployedModel, error) {
	name := deployedName(account, id)
	if err := c.allow(ctx, who, authz.UpdateDeployedModel, account, name); err != nil {
		return nil, err
	}
	made, err := c.DB.UpdateDeployedModel(ctx, account, id, who.act("UpdateDeployedModel", name), func(row *store.DeployedModel) error {
		w := wireDeployed(*row)
		if err := p.Apply(&w); err != nil {
			return badPatch(err)
		}
		switch {
		case !sameName(w.Model, row.Model, account, rft.Models):
			return rft.FieldErrorf("model", "model: cannot change; load the other one")
		case !sameName(w.Deployment, row.Deployment, account, rft.Deployments):
			return rft.FieldErrorf("deployment", "deployment: cannot change; load the model there")
		case len(w.Description) > 1000:
			return rft.FieldErrorf("description", "description: is longer than 1000 bytes")
		}
		row.DisplayName, row.Description, row.Default, row.Public = w.DisplayName, w.Description, w.Default, w.Public
		return checkDisplayName(row.DisplayName)
	})
	if err != nil {
		return nil, err
	}
	w := wireDeployed(made)
	return &w, nil
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
