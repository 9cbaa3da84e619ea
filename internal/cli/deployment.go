package cli

import (
	"fmt"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

type deploymentCmd struct {
	Create   deploymentCreateCmd   `cmd:"" help:"Serve a model under a name of its own."`
	Get      deploymentGetCmd      `cmd:"" help:"Show a deployment."`
	List     deploymentListCmd     `cmd:"" help:"List deployments."`
	Update   deploymentUpdateCmd   `cmd:"" help:"Change a deployment; what it serves stays."`
	Scale    deploymentScaleCmd    `cmd:"" help:"Set the number of replicas; 0 stops the engine until the next request."`
	Delete   deploymentDeleteCmd   `cmd:"" help:"Delete a deployment and unload what it serves."`
	Undelete deploymentUndeleteCmd `cmd:"" help:"Bring a deployment back within a month, with nothing loaded on it."`
	Load     loadLoraCmd           `cmd:"" name:"load-lora" help:"Load a checkpoint on a deployment of its base."`
	Unload   unloadLoraCmd         `cmd:"" name:"unload-lora" help:"Unload a checkpoint."`
}

type deploymentCreateCmd struct {
	Model       string         `arg:"" help:"The model to serve." complete:"models"`
	ID          string         `aliases:"deployment-id" help:"Id of the deployment; chosen by the server otherwise."`
	Display     string         `name:"display-name" help:"Shown in lists."`
	Description string         `help:"Shown with the deployment."`
	Min         int            `name:"min-replica-count" help:"0 lets it stop when nobody asks." placeholder:"N"`
	Max         int            `name:"max-replica-count" help:"At most so many." placeholder:"N"`
	ToZero      *time.Duration `name:"scale-to-zero-window" help:"How long without a request until it stops, with --min-replica-count 0." placeholder:"DURATION"`
	Addons      bool           `name:"enable-addons" help:"Let checkpoints be loaded on it beside the base."`
	HotReload   bool           `name:"enable-hot-reload-latest-addon" help:"Let load-lora replace what it answers with."`
}

// Run implements a command.
func (c *deploymentCreateCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	model, err := a.findModel(client, account, c.Model)
	if err != nil {
		return err
	}
	d := &api.Deployment{BaseModel: model.Name, DisplayName: c.Display, Description: c.Description, MinReplicaCount: c.Min, MaxReplicaCount: c.Max,
		EnableAddons: c.Addons, EnableHotReload: c.HotReload, AutoscalingPolicy: toZero(c.ToZero)}
	made, err := client.CreateDeployment(a.ctx, account, c.ID, d)
	if err != nil {
		return err
	}
	return a.show(made)
}

func toZero(d *time.Duration) *api.AutoscalingPolicy {
	if d == nil {
		return nil
	}
	return &api.AutoscalingPolicy{ScaleToZeroWindow: (*api.Duration)(d)}
}

type deploymentGetCmd struct {
	ID string `arg:"" help:"The deployment." complete:"deployments"`
}

// Run implements a command.
func (c *deploymentGetCmd) Run(a *app) error {
	return showing(a, "ID", c.ID, rft.Deployments, func(client *api.Client, account, id string) (*api.Deployment, error) {
		return client.GetDeployment(a.ctx, account, id)
	})
}

type deploymentListCmd struct {
	Deleted bool `name:"show-deleted" help:"List those that can be undeleted too."`
}

// Run implements a command.
func (c *deploymentListCmd) Run(a *app) error {
	return listing(a, "ID STATE MODEL REPLICAS CREATED DELETED", func(client *api.Client, account string, o api.ListOptions) ([]api.Deployment, api.Page, error) {
		fetch := client.ListDeployments
		if c.Deleted {
			fetch = client.ListDeletedDeployments
		}
		l, err := fetch(a.ctx, account, o)
		return l.Deployments, l.Page, err
	}, func(d api.Deployment) []string {
		return []string{id(d.Name), d.State, d.BaseModel, fmt.Sprintf("%d (%d-%d)", d.ReplicaCount, d.MinReplicaCount, d.MaxReplicaCount), at(d.CreateTime), at(d.DeleteTime)}
	})
}

type deploymentUpdateCmd struct {
	ID          string         `arg:"" help:"The deployment." complete:"deployments"`
	Display     *string        `name:"display-name" help:"Shown in lists."`
	Description *string        `help:"Shown with the deployment."`
	Min         *int           `name:"min-replica-count" help:"0 lets it stop when nobody asks." placeholder:"N"`
	Max         *int           `name:"max-replica-count" help:"At most so many." placeholder:"N"`
	ToZero      *time.Duration `name:"scale-to-zero-window" help:"How long without a request until it stops." placeholder:"DURATION"`
	Addons      *bool          `name:"enable-addons" negatable:"" help:"Let checkpoints be loaded on it beside the base."`
	HotReload   *bool          `name:"enable-hot-reload-latest-addon" negatable:"" help:"Let load-lora replace what it answers with."`
}

// Run implements a command.
func (c *deploymentUpdateCmd) Run(a *app) error {
	d, fields := &api.Deployment{}, changes{}
	set(&fields, "displayName", &d.DisplayName, c.Display)
	set(&fields, "description", &d.Description, c.Description)
	set(&fields, "minReplicaCount", &d.MinReplicaCount, c.Min)
	set(&fields, "maxReplicaCount", &d.MaxReplicaCount, c.Max)
	set(&fields, "enableAddons", &d.EnableAddons, c.Addons)
	set(&fields, "enableHotReloadLatestAddon", &d.EnableHotReload, c.HotReload)
	if policy := toZero(c.ToZero); policy != nil {
		d.AutoscalingPolicy = policy
		fields = append(fields, "autoscalingPolicy.scaleToZeroWindow")
	}
	if err := fields.some("--display-name", "--description", "--min-replica-count", "--max-replica-count", "--scale-to-zero-window", "--enable-addons", "--enable-hot-reload-latest-addon"); err != nil {
		return err
	}
	return showing(a, "ID", c.ID, rft.Deployments, func(client *api.Client, account, id string) (*api.Deployment, error) {
		return client.UpdateDeployment(a.ctx, account, id, d, fields...)
	})
}

type deploymentScaleCmd struct {
	ID       string `arg:"" help:"The deployment." complete:"deployments"`
	Replicas int    `required:"" aliases:"replica-count" help:"How many replicas; 0 = stop." placeholder:"N"`
}

// Run implements a command.
func (c *deploymentScaleCmd) Run(a *app) error {
	return showing(a, "ID", c.ID, rft.Deployments, func(client *api.Client, account, id string) (*api.Deployment, error) {
		if err := client.ScaleDeployment(a.ctx, account, id, c.Replicas); err != nil {
			return nil, err
		}
		return client.GetDeployment(a.ctx, account, id)
	})
}

type deploymentDeleteCmd struct {
	ID   string `arg:"" help:"The deployment." complete:"deployments"`
	Hard bool   `help:"For good: it cannot be undeleted."`
}

// Run implements a command.
func (c *deploymentDeleteCmd) Run(a *app) error {
	return doing(a, "deleted", "ID", c.ID, rft.Deployments, func(client *api.Client, account, id string) error {
		if c.Hard {
			return client.PurgeDeployment(a.ctx, account, id)
		}
		return client.DeleteDeployment(a.ctx, account, id)
	})
}

type deploymentUndeleteCmd struct {
	ID string `arg:"" help:"The deployment."`
}

// Run implements a command.
func (c *deploymentUndeleteCmd) Run(a *app) error {
	return showing(a, "ID", c.ID, rft.Deployments, func(client *api.Client, account, id string) (*api.Deployment, error) {
		return client.UndeleteDeployment(a.ctx, account, id)
	})
}

type loadLoraCmd struct {
	Model      string `arg:"" help:"The checkpoint." complete:"models"`
	Deployment string `help:"Where to; without it the model answers by its own name, on an engine that it shares." complete:"deployments"`
	Replace    bool   `name:"replace-merged-addon" help:"In the place of what the deployment answers with."`
	Display    string `name:"display-name" help:"Shown in lists."`
	Wait       bool   `help:"Wait until it is loaded."`
}

// Run implements a command.
func (c *loadLoraCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	model, err := a.findModel(client, account, c.Model)
	if err != nil {
		return err
	}
	load := client.CreateDeployedModel
	if c.Replace {
		load = client.ReplaceDeployedModel
	}
	made, err := load(a.ctx, account, &api.DeployedModel{Model: model.Name, Deployment: c.Deployment, DisplayName: c.Display})
	if err != nil {
		return err
	}
	if c.Wait && made.State != "DEPLOYED" {
		name := id(made.Name)
		made, err = watch(a, func() (*api.DeployedModel, error) { return client.GetDeployedModel(a.ctx, account, name) }, func(d *api.DeployedModel) (string, string, bool) {
			return d.State, "loading " + d.Model, d.State != "DEPLOYING"
		})
		if err == nil {
			err = failed(made.Status, "")
		}
		if err != nil {
			return err
		}
	}
	return a.show(made)
}

type unloadLoraCmd struct {
	Model      string `arg:"" help:"The checkpoint, or the id of what deployed-model list shows." complete:"models"`
	Deployment string `help:"Where from, if it is loaded in several places." complete:"deployments"`
}

// Run implements a command. A model is named as people know it; what is deleted is
// that it is loaded.
func (c *unloadLoraCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	list, err := all(func(o api.ListOptions) ([]api.DeployedModel, api.Page, error) {
		l, err := client.ListDeployedModels(a.ctx, account, o)
		return l.DeployedModels, l.Page, err
	})
	if err != nil {
		return err
	}
	var found []api.DeployedModel
	for _, d := range list {
		if is(d.Name, c.Model) || is(d.Model, c.Model) && (c.Deployment == "" || is(d.Deployment, c.Deployment)) {
			found = append(found, d)
		}
	}
	switch len(found) {
	case 0:
		return rft.Errorf(rft.KindNotFound, "%s is not loaded; `firekeep deployed-model list` shows what is", oneLine(c.Model))
	case 1:
	default:
		return rft.FieldErrorf("deployment", "%s is loaded in %d places; --deployment says which, or name one of `firekeep deployed-model list`", oneLine(c.Model), len(found))
	}
	if err := client.DeleteDeployedModel(a.ctx, account, id(found[0].Name)); err != nil {
		return err
	}
	return a.done("unloaded %s", found[0].Model)
}

// is reports whether ref, a bare id or a full name, means a resource.
func is(name, ref string) bool { return name != "" && (name == ref || id(name) == ref) }
