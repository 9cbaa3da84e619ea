package cli

import (
	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

// jobFlags are what a supervised or preference job must be told.
type jobFlags struct {
	ID      string `aliases:"job-id" help:"Id of the job; chosen by the server otherwise."`
	Display string `name:"display-name" help:"Shown in lists."`
	Dataset string `required:"" short:"d" help:"Dataset with the rows." complete:"datasets"`
	Model   string `required:"" short:"m" aliases:"base-model,warm-start-from" help:"Base model, or the LoRA checkpoint to continue." complete:"models"`
	Output  string `required:"" short:"o" aliases:"output-model" help:"Name of the new checkpoint; it must not exist."`
	Wait    bool   `help:"Wait for the end, showing progress."`
}

type sftCmd struct {
	Create      sftCreateCmd      `cmd:"" help:"Train a new checkpoint on conversations."`
	Get         sftGetCmd         `cmd:"" help:"Show a job with every parameter resolved."`
	List        sftListCmd        `cmd:"" help:"List supervised jobs."`
	Wait        sftWaitCmd        `cmd:"" help:"Wait for the end of a job, showing progress."`
	Logs        sftLogsCmd        `cmd:"" help:"Print what happened to a job; -f follows it to its end."`
	Metrics     sftMetricsCmd     `cmd:"" help:"Show the metrics of each optimiser batch, or plot them."`
	Checkpoints sftCheckpointsCmd `cmd:"" aliases:"list-checkpoints" help:"List the checkpoints of a job."`
	Promote     sftPromoteCmd     `cmd:"" aliases:"promote-checkpoint" help:"Make a model of its own of a checkpoint."`
	Resume      sftResumeCmd      `cmd:"" help:"Take a failed or cancelled job up again."`
	Cancel      sftCancelCmd      `cmd:"" help:"Stop a job."`
	Delete      sftDeleteCmd      `cmd:"" help:"Delete a job's record; its checkpoint stays."`
}

type sftCreateCmd struct {
	jobFlags
	Evaluation string `name:"evaluation-dataset" help:"Rows held out: what the result says of them." complete:"datasets"`
	weightFlags
}

// Run implements a command.
func (c *sftCreateCmd) Run(a *app) error {
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
	t := c.config(c.Output)
	j := &api.SupervisedFineTuningJob{DisplayName: c.Display, Dataset: c.Dataset, OutputModel: t.OutputModel, JinjaTemplate: t.JinjaTemplate, Epochs: t.Epochs,
		LearningRate: t.LearningRate, MaxContextLength: t.MaxContextLength, LoraRank: t.LoraRank, BatchSize: t.BatchSize, BatchSizeSamples: t.BatchSizeSamples,
		GradAccumulation: t.GradAccumulation, WarmupSteps: t.WarmupSteps, WeightDecay: t.WeightDecay, EvalDataset: c.Evaluation, Firekeep: c.extension()}
	start(model, &j.BaseModel, &j.WarmStartFrom)
	made, err := client.CreateSFTJob(a.ctx, account, c.ID, j)
	if err != nil {
		return err
	}
	if c.Wait {
		return a.waitSFT(client, account, id(made.Name))
	}
	return a.show(made)
}

// waitSFT follows a job to its end and shows it.
func (a *app) waitSFT(client *api.Client, account, id string) error {
	return waitJob(a, "sft", "cancel", id, func() (*api.SupervisedFineTuningJob, error) { return client.GetSFTJob(a.ctx, account, id) }, func(j *api.SupervisedFineTuningJob) training {
		return training{j.Name, rft.JobState(j.State), j.Status, j.JobProgress, j.Firekeep, ""}
	})
}

type sftWaitCmd struct {
	ID string `arg:"" help:"The job." complete:"sft"`
}

// Run implements a command.
func (c *sftWaitCmd) Run(a *app) error {
	client, account, id, err := a.named("ID", c.ID, rft.SFTJobs)
	if err != nil {
		return err
	}
	return a.waitSFT(client, account, id)
}

type sftGetCmd struct {
	ID string `arg:"" help:"The job." complete:"sft"`
}

// Run implements a command.
func (c *sftGetCmd) Run(a *app) error {
	return showing(a, "ID", c.ID, rft.SFTJobs, func(client *api.Client, account, id string) (*api.SupervisedFineTuningJob, error) {
		return client.GetSFTJob(a.ctx, account, id)
	})
}

type sftListCmd struct{}

// Run implements a command.
func (c *sftListCmd) Run(a *app) error {
	return listing(a, "ID STATE DONE DATASET OUTPUT CREATED", func(client *api.Client, account string, o api.ListOptions) ([]api.SupervisedFineTuningJob, api.Page, error) {
		l, err := client.ListSFTJobs(a.ctx, account, o)
		return l.Jobs, l.Page, err
	}, func(j api.SupervisedFineTuningJob) []string {
		return []string{id(j.Name), jobState(j.State), percent(j.JobProgress), id(j.Dataset), id(j.OutputModel), at(j.CreateTime)}
	})
}

type sftResumeCmd struct {
	ID string `arg:"" help:"The job." complete:"sft"`
}

// Run implements a command.
func (c *sftResumeCmd) Run(a *app) error {
	return showing(a, "ID", c.ID, rft.SFTJobs, func(client *api.Client, account, id string) (*api.SupervisedFineTuningJob, error) {
		return client.ResumeSFTJob(a.ctx, account, id)
	})
}

type sftCancelCmd struct {
	ID string `arg:"" help:"The job." complete:"sft"`
}

// Run implements a command.
func (c *sftCancelCmd) Run(a *app) error {
	return doing(a, "cancelling", "ID", c.ID, rft.SFTJobs, func(client *api.Client, account, id string) error {
		return client.CancelSFTJob(a.ctx, account, id)
	})
}

type sftDeleteCmd struct {
	ID string `arg:"" help:"The job." complete:"sft"`
}

// Run implements a command.
func (c *sftDeleteCmd) Run(a *app) error {
	return doing(a, "deleted", "ID", c.ID, rft.SFTJobs, func(client *api.Client, account, id string) error {
		return client.DeleteSFTJob(a.ctx, account, id)
	})
}
