package cli

import (
	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

// stepExecuteCmd asks a trainer for a step.
type stepExecuteCmd struct {
	ID      string `arg:"" help:"The trainer." complete:"steps"`
	Dataset string `required:"" short:"d" help:"Dataset with scored samples." complete:"datasets"`
	Output  string `required:"" short:"o" help:"Name of the new checkpoint."`
}

// Run implements a command.
func (c *stepExecuteCmd) Run(a *app) error {
	return showing(a, "ID", c.ID, rft.Steps, func(client *api.Client, account, id string) (*api.RlorTrainerJob, error) {
		if err := client.ExecuteTrainStep(a.ctx, account, id, &api.ExecuteTrainStepRequest{Dataset: c.Dataset, OutputModel: c.Output}); err != nil {
			return nil, err
		}
		return client.GetStep(a.ctx, account, id)
	})
}

// stepResumeCmd takes a step up again.
type stepResumeCmd struct {
	ID      string `arg:"" help:"The step or trainer." complete:"steps"`
	Discard bool   `name:"discard-steps" help:"Let a trainer forget the steps that are not done."`
}

// Run implements a command.
func (c *stepResumeCmd) Run(a *app) error {
	return showing(a, "ID", c.ID, rft.Steps, func(client *api.Client, account, id string) (*api.RlorTrainerJob, error) {
		return client.ResumeStep(a.ctx, account, id, &api.ResumeJobRequest{DiscardSteps: c.Discard})
	})
}
