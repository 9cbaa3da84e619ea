package cli

import (
	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

type dpoCmd struct {
	Create      dpoCreateCmd      `cmd:"" help:"Train a new checkpoint on preferences."`
	Get         dpoGetCmd         `cmd:"" help:"Show a job with every parameter resolved."`
	List        dpoListCmd        `cmd:"" help:"List preference jobs."`
	Wait        dpoWaitCmd        `cmd:"" help:"Wait for the end of a job, showing progress."`
	Logs        dpoLogsCmd        `cmd:"" help:"Print what happened to a job; -f follows it to its end."`
	Metrics     dpoMetricsCmd     `cmd:"" help:"Show the metrics of each optimiser batch, or plot them."`
	Checkpoints dpoCheckpointsCmd `cmd:"" aliases:"list-checkpoints" help:"List the checkpoints of a job."`
	Promote     dpoPromoteCmd     `cmd:"" aliases:"promote-checkpoint" help:"Make a model of its own of a checkpoint."`
	Resume      dpoResumeCmd      `cmd:"" help:"Take a failed or cancelled job up again."`
	Cancel      dpoCancelCmd      `cmd:"" help:"Stop a job."`
	Delete      dpoDeleteCmd      `cmd:"" help:"Delete a job's record; its checkpoint stays."`
}

type dpoCreateCmd struct {
	jobFlags
	Method     string  `group:"Loss" enum:"DPO,ORPO" default:"DPO" aliases:"loss-method" help:"DPO or ORPO."`
	DPOBeta    float64 `group:"Loss" name:"dpo-beta" aliases:"beta" help:"Weight of the log-ratios of DPO; above 0, below 0.5." placeholder:"B"`
	ORPOLambda float64 `group:"Loss" name:"orpo-lambda" help:"Weight of the odds ratio of ORPO." placeholder:"L"`
	weightFlags
}

// Run implements a command.
func (c *dpoCreateCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	if err := c.positive(); err != nil {
		return err
	}
	model, err := a.findModel(client, account, c.Model)
	if err != nil {
		return err
	}
	j := &api.DpoJob{DisplayName: c.Display, Dataset: c.Dataset, TrainingConfig: c.config(c.Output), LossConfig: &api.LossConfig{Method: c.Method}, Firekeep: c.extension()}
	start(model, &j.TrainingConfig.BaseModel, &j.TrainingConfig.WarmStartFrom)
	if c.DPOBeta != 0 {
		j.LossConfig.DPO = &api.DPOLoss{Beta: c.DPOBeta}
	}
	if c.ORPOLambda != 0 {
		j.LossConfig.ORPO = &api.ORPOLoss{Lambda: c.ORPOLambda}
	}
	made, err := client.CreateDPOJob(a.ctx, account, c.ID, j)
	if err != nil {
		return err
	}
	if c.Wait {
		return a.waitDPO(client, account, id(made.Name))
	}
	return a.show(made)
}

// waitDPO follows a job to its end and shows it.
func (a *app) waitDPO(client *api.Client, account, id string) error {
	return waitJob(a, "dpo", "cancel", id, func() (*api.DpoJob, error) { return client.GetDPOJob(a.ctx, account, id) }, func(j *api.DpoJob) training {
		return training{Name: j.Name, State: rft.JobState(j.State), Status: j.Status, More: j.Firekeep}
	})
}

type dpoWaitCmd struct {
	ID string `arg:"" help:"The job." complete:"dpo"`
}

// Run implements a command.
func (c *dpoWaitCmd) Run(a *app) error {
	client, account, id, err := a.named("ID", c.ID, rft.DPOJobs)
	if err != nil {
		return err
	}
	return a.waitDPO(client, account, id)
}

type dpoGetCmd struct {
	ID string `arg:"" help:"The job." complete:"dpo"`
}

// Run implements a command.
func (c *dpoGetCmd) Run(a *app) error {
	return showing(a, "ID", c.ID, rft.DPOJobs, func(client *api.Client, account, id string) (*api.DpoJob, error) {
		return client.GetDPOJob(a.ctx, account, id)
	})
}

type dpoListCmd struct{}

// Run implements a command.
func (c *dpoListCmd) Run(a *app) error {
	return listing(a, "ID STATE LOSS DATASET OUTPUT CREATED", func(client *api.Client, account string, o api.ListOptions) ([]api.DpoJob, api.Page, error) {
		l, err := client.ListDPOJobs(a.ctx, account, o)
		return l.Jobs, l.Page, err
	}, func(j api.DpoJob) []string {
		loss, output := "-", "-"
		if j.LossConfig != nil {
			loss = j.LossConfig.Method
		}
		if j.TrainingConfig != nil {
			output = id(j.TrainingConfig.OutputModel)
		}
		return []string{id(j.Name), jobState(j.State), loss, id(j.Dataset), output, at(j.CreateTime)}
	})
}

type dpoResumeCmd struct {
	ID string `arg:"" help:"The job." complete:"dpo"`
}

// Run implements a command.
func (c *dpoResumeCmd) Run(a *app) error {
	return showing(a, "ID", c.ID, rft.DPOJobs, func(client *api.Client, account, id string) (*api.DpoJob, error) {
		return client.ResumeDPOJob(a.ctx, account, id)
	})
}

type dpoCancelCmd struct {
	ID string `arg:"" help:"The job." complete:"dpo"`
}

// Run implements a command.
func (c *dpoCancelCmd) Run(a *app) error {
	return doing(a, "cancelling", "ID", c.ID, rft.DPOJobs, func(client *api.Client, account, id string) error {
		return client.CancelDPOJob(a.ctx, account, id)
	})
}

type dpoDeleteCmd struct {
	ID string `arg:"" help:"The job." complete:"dpo"`
}

// Run implements a command.
func (c *dpoDeleteCmd) Run(a *app) error {
	return doing(a, "deleted", "ID", c.ID, rft.DPOJobs, func(client *api.Client, account, id string) error {
		return client.DeleteDPOJob(a.ctx, account, id)
	})
}
