package cli

import (
	"fmt"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

type batchCmd struct {
	Create batchCreateCmd `cmd:"" help:"Answer every row of a dataset of requests."`
	Get    batchGetCmd    `cmd:"" help:"Show a job."`
	List   batchListCmd   `cmd:"" help:"List batch jobs."`
	Wait   batchWaitCmd   `cmd:"" help:"Wait for the end of a job, showing progress."`
	Delete batchDeleteCmd `cmd:"" help:"End a job and delete its record; the answers of one that is done stay."`
}

type batchCreateCmd struct {
	ID          string   `aliases:"job-id" help:"Id of the job; chosen by the server otherwise."`
	Display     string   `name:"display-name" help:"Shown in lists."`
	Input       string   `required:"" short:"d" aliases:"dataset,input-dataset-id" help:"Dataset of requests." complete:"datasets"`
	Model       string   `required:"" short:"m" help:"Base model, or LoRA checkpoint, that answers." complete:"models"`
	Output      string   `short:"o" aliases:"output-dataset-id" help:"Name of the dataset of answers; it must not exist. The job's id and -output by default."`
	MaxTokens   *int     `group:"Requests that do not say otherwise" help:"Most tokens of an answer." placeholder:"N"`
	Temperature *float64 `group:"Requests that do not say otherwise" help:"Of sampling." placeholder:"T"`
	TopP        *float64 `group:"Requests that do not say otherwise" help:"Nucleus of sampling." placeholder:"P"`
	TopK        *int     `group:"Requests that do not say otherwise" help:"Likeliest tokens to sample from." placeholder:"K"`
	N           *int     `group:"Requests that do not say otherwise" help:"Answers per request." placeholder:"N"`
	ExtraBody   string   `group:"Requests that do not say otherwise" help:"Further fields of a chat request, as JSON." placeholder:"JSON"`
	Wait        bool     `help:"Wait for the end, showing progress."`
}

// Run implements a command.
func (c *batchCreateCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	j := &api.BatchInferenceJob{DisplayName: c.Display, InputDatasetID: c.Input, OutputDatasetID: c.Output, Model: c.Model}
	if p := (api.InferenceParameters{MaxTokens: c.MaxTokens, Temperature: c.Temperature, TopP: c.TopP, TopK: c.TopK, N: c.N, ExtraBody: c.ExtraBody}); p != (api.InferenceParameters{}) {
		j.InferenceParameters = &p
	}
	made, err := client.CreateBatchJob(a.ctx, account, c.ID, j)
	if err != nil {
		return err
	}
	if c.Wait {
		return a.waitBatch(client, account, id(made.Name))
	}
	return a.show(made)
}

// waitBatch follows a job to its end and shows it.
func (a *app) waitBatch(client *api.Client, account, id string) error {
	return waitJob(a, "batch", "delete", id, func() (*api.BatchInferenceJob, error) { return client.GetBatchJob(a.ctx, account, id) }, func(j *api.BatchInferenceJob) training {
		return training{Name: j.Name, State: rft.JobState(j.State), Status: j.Status, Said: requests(j.JobProgress)}
	})
}

// requests says how many rows have an answer.
func requests(p *api.JobProgress) string {
	if p == nil || p.TotalInputRequests == 0 {
		return "-"
	}
	text := fmt.Sprintf("%d/%d", p.TotalProcessedRequests, p.TotalInputRequests)
	if p.FailedRequests > 0 {
		text += fmt.Sprintf(" (%d failed)", p.FailedRequests)
	}
	return text
}

type batchWaitCmd struct {
	ID string `arg:"" help:"The job." complete:"batch"`
}

// Run implements a command.
func (c *batchWaitCmd) Run(a *app) error {
	client, account, id, err := a.named("ID", c.ID, rft.BatchJobs)
	if err != nil {
		return err
	}
	return a.waitBatch(client, account, id)
}

type batchGetCmd struct {
	ID string `arg:"" help:"The job." complete:"batch"`
}

// Run implements a command.
func (c *batchGetCmd) Run(a *app) error {
	return showing(a, "ID", c.ID, rft.BatchJobs, func(client *api.Client, account, id string) (*api.BatchInferenceJob, error) {
		return client.GetBatchJob(a.ctx, account, id)
	})
}

type batchListCmd struct{}

// Run implements a command.
func (c *batchListCmd) Run(a *app) error {
	return listing(a, "ID STATE REQUESTS INPUT OUTPUT MODEL CREATED", func(client *api.Client, account string, o api.ListOptions) ([]api.BatchInferenceJob, api.Page, error) {
		l, err := client.ListBatchJobs(a.ctx, account, o)
		return l.Jobs, l.Page, err
	}, func(j api.BatchInferenceJob) []string {
		return []string{id(j.Name), jobState(j.State), requests(j.JobProgress), id(j.InputDatasetID), id(j.OutputDatasetID), id(j.Model), at(j.CreateTime)}
	})
}

type batchDeleteCmd struct {
	ID string `arg:"" help:"The job." complete:"batch"`
}

// Run implements a command.
func (c *batchDeleteCmd) Run(a *app) error {
	return doing(a, "deleted", "ID", c.ID, rft.BatchJobs, func(client *api.Client, account, id string) error {
		return client.DeleteBatchJob(a.ctx, account, id)
	})
}
