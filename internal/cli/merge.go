package cli

import (
	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

type mergeCmd struct {
	Create mergeCreateCmd `cmd:"" help:"Merge a LoRA into the base that it stands on: a base model of its own."`
	Get    mergeGetCmd    `cmd:"" help:"Show a job."`
	List   mergeListCmd   `cmd:"" help:"List merges."`
	Wait   mergeWaitCmd   `cmd:"" help:"Wait for the end of a job."`
	Delete mergeDeleteCmd `cmd:"" help:"End a job and delete its record; the model of one that is done stays."`
}

type mergeCreateCmd struct {
	Model   string `required:"" short:"m" aliases:"peft-model" help:"The LoRA." complete:"models"`
	Output  string `required:"" short:"o" aliases:"merged-model" help:"Name of the model to make; it must not exist."`
	Display string `name:"display-name" help:"Shown in lists."`
	Wait    bool   `help:"Wait for the end."`
}

// Run implements a command.
func (c *mergeCreateCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	made, err := client.CreateMergeJob(a.ctx, account, &api.PeftMergeJob{DisplayName: c.Display, PeftModel: c.Model, MergedModel: c.Output})
	if err != nil {
		return err
	}
	if c.Wait {
		return a.waitMerge(client, account, id(made.Name))
	}
	return a.show(made)
}

// waitMerge follows a job to its end and shows it.
func (a *app) waitMerge(client *api.Client, account, id string) error {
	return waitJob(a, "merge", "delete", id, func() (*api.PeftMergeJob, error) { return client.GetMergeJob(a.ctx, account, id) }, func(j *api.PeftMergeJob) training {
		return training{Name: j.Name, State: rft.JobState(j.State), Status: j.Status, Said: j.MergedModel}
	})
}

type mergeWaitCmd struct {
	ID string `arg:"" help:"The job." complete:"merge"`
}

// Run implements a command.
func (c *mergeWaitCmd) Run(a *app) error {
	client, account, id, err := a.named("ID", c.ID, rft.MergeJobs)
	if err != nil {
		return err
	}
	return a.waitMerge(client, account, id)
}

type mergeGetCmd struct {
	ID string `arg:"" help:"The job." complete:"merge"`
}

// Run implements a command.
func (c *mergeGetCmd) Run(a *app) error {
	return showing(a, "ID", c.ID, rft.MergeJobs, func(client *api.Client, account, id string) (*api.PeftMergeJob, error) {
		return client.GetMergeJob(a.ctx, account, id)
	})
}

type mergeListCmd struct{}

// Run implements a command.
func (c *mergeListCmd) Run(a *app) error {
	return listing(a, "ID STATE LORA MODEL CREATED", func(client *api.Client, account string, o api.ListOptions) ([]api.PeftMergeJob, api.Page, error) {
		l, err := client.ListMergeJobs(a.ctx, account, o)
		return l.Jobs, l.Page, err
	}, func(j api.PeftMergeJob) []string {
		return []string{id(j.Name), jobState(j.State), id(j.PeftModel), id(j.MergedModel), at(j.CreateTime)}
	})
}

type mergeDeleteCmd struct {
	ID string `arg:"" help:"The job." complete:"merge"`
}

// Run implements a command.
func (c *mergeDeleteCmd) Run(a *app) error {
	return doing(a, "deleted", "ID", c.ID, rft.MergeJobs, func(client *api.Client, account, id string) error {
		return client.DeleteMergeJob(a.ctx, account, id)
	})
}
