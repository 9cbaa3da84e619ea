package cli

import (
	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

type deployedCmd struct {
	Create loadLoraCmd       `cmd:"" help:"Load a model, as deployment load-lora does."`
	Get    deployedGetCmd    `cmd:"" help:"Show where and how a model is loaded."`
	List   deployedListCmd   `cmd:"" help:"List what is loaded where."`
	Update deployedUpdateCmd `cmd:"" help:"Change what people read of a loaded model, and whether its deployment answers with it."`
	Delete deployedDeleteCmd `cmd:"" help:"Unload a model."`
}

type deployedGetCmd struct {
	ID string `arg:"" help:"The loaded model." complete:"deployed"`
}

// Run implements a command.
func (c *deployedGetCmd) Run(a *app) error {
	return showing(a, "ID", c.ID, rft.Deployed, func(client *api.Client, account, id string) (*api.DeployedModel, error) {
		return client.GetDeployedModel(a.ctx, account, id)
	})
}

type deployedListCmd struct{}

// Run implements a command.
func (c *deployedListCmd) Run(a *app) error {
	return listing(a, "ID MODEL DEPLOYMENT STATE DEFAULT CREATED", func(client *api.Client, account string, o api.ListOptions) ([]api.DeployedModel, api.Page, error) {
		l, err := client.ListDeployedModels(a.ctx, account, o)
		return l.DeployedModels, l.Page, err
	}, func(d api.DeployedModel) []string {
		on := "(by its own name)"
		if d.Deployment != "" {
			on = id(d.Deployment)
		}
		return []string{id(d.Name), d.Model, on, stateOf(d.State, d.Status), tick(d.Default), at(d.CreateTime)}
	})
}

type deployedUpdateCmd struct {
	ID          string  `arg:"" help:"The loaded model." complete:"deployed"`
	Display     *string `name:"display-name" help:"Shown in lists."`
	Description *string `help:"Shown with it."`
	Default     *bool   `negatable:"" help:"Let the deployment's own name mean this model."`
}

// Run implements a command.
func (c *deployedUpdateCmd) Run(a *app) error {
	d, fields := &api.DeployedModel{}, changes{}
	set(&fields, "displayName", &d.DisplayName, c.Display)
	set(&fields, "description", &d.Description, c.Description)
	set(&fields, "default", &d.Default, c.Default)
	if err := fields.some("--display-name", "--description", "--default"); err != nil {
		return err
	}
	return showing(a, "ID", c.ID, rft.Deployed, func(client *api.Client, account, id string) (*api.DeployedModel, error) {
		return client.UpdateDeployedModel(a.ctx, account, id, d, fields...)
	})
}

type deployedDeleteCmd struct {
	ID string `arg:"" help:"The loaded model." complete:"deployed"`
}

// Run implements a command.
func (c *deployedDeleteCmd) Run(a *app) error {
	return doing(a, "unloaded", "ID", c.ID, rft.Deployed, func(client *api.Client, account, id string) error {
		return client.DeleteDeployedModel(a.ctx, account, id)
	})
}
