package cli

import (
	"context"
	"strings"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

// jobNoun is a kind of jobs that train: what its commands are called, and how the
// state of one is asked for.
type jobNoun struct {
	word       string
	collection rft.Collection
	state      func(ctx context.Context, c *api.Client, account, id string) (rft.JobState, error)
}

var (
	steps = jobNoun{"step", rft.Steps, func(ctx context.Context, c *api.Client, account, id string) (rft.JobState, error) {
		j, err := c.GetStep(ctx, account, id)
		if err != nil {
			return "", err
		}
		return rft.JobState(j.State), nil
	}}
	supervised = jobNoun{"sft", rft.SFTJobs, func(ctx context.Context, c *api.Client, account, id string) (rft.JobState, error) {
		j, err := c.GetSFTJob(ctx, account, id)
		if err != nil {
			return "", err
		}
		return rft.JobState(j.State), nil
	}}
	preferences = jobNoun{"dpo", rft.DPOJobs, func(ctx context.Context, c *api.Client, account, id string) (rft.JobState, error) {
		j, err := c.GetDPOJob(ctx, account, id)
		if err != nil {
			return "", err
		}
		return rft.JobState(j.State), nil
	}}
)

// metrics reads the metrics of a job behind an update. On an error they are those
// that were read before it.
func (of jobNoun) metrics(ctx context.Context, c *api.Client, account, id string, after int64) ([]api.StepMetrics, error) {
	all := []api.StepMetrics{}
	for {
		page, err := c.JobMetrics(ctx, account, string(of.collection), id, after)
		if err != nil {
			return all, err
		}
		all = append(all, page.Metrics...)
		if page.NextPageToken == "" || len(page.Metrics) == 0 {
			return all, nil
		}
		after = page.Metrics[len(page.Metrics)-1].Update
	}
}

type (
	stepMetricsCmd struct {
		ID string `arg:"" help:"The step." complete:"steps"`
		metricsFlags
	}
	sftMetricsCmd struct {
		ID string `arg:"" help:"The job." complete:"sft"`
		metricsFlags
	}
	dpoMetricsCmd struct {
		ID string `arg:"" help:"The job." complete:"dpo"`
		metricsFlags
	}
	metricsFlags struct {
		After int64 `help:"Only updates greater than this."`
		plotFlags
	}
)

// Run implements a command.
func (c *stepMetricsCmd) Run(a *app) error {
	return a.metrics(steps, c.ID, c.metricsFlags, rewardSeries, lossSeries, klSeries)
}

// Run implements a command.
func (c *sftMetricsCmd) Run(a *app) error {
	return a.metrics(supervised, c.ID, c.metricsFlags, lossSeries)
}

// Run implements a command.
func (c *dpoMetricsCmd) Run(a *app) error {
	return a.metrics(preferences, c.ID, c.metricsFlags, lossSeries, series{"pair accuracy", func(m *api.StepMetrics) float64 { return m.PairAccuracy }},
		series{"pair margin", func(m *api.StepMetrics) float64 { return m.PairMargin }})
}

// metrics shows the metrics of a job, or plots them.
func (a *app) metrics(of jobNoun, ref string, f metricsFlags, plotted ...series) error {
	client, account, id, err := a.named("ID", ref, of.collection)
	if err != nil {
		return err
	}
	metrics, err := of.metrics(a.ctx, client, account, id, f.After)
	if err != nil {
		return err
	}
	if f.Plot {
		return f.draw(a, metrics, plotted...)
	}
	return a.metricsTable(of, metrics)
}

type (
	stepCheckpointsCmd struct {
		ID string `arg:"" help:"The step or trainer." complete:"steps"`
	}
	sftCheckpointsCmd struct {
		ID string `arg:"" help:"The job." complete:"sft"`
	}
	dpoCheckpointsCmd struct {
		ID string `arg:"" help:"The job." complete:"dpo"`
	}
)

// Run implements a command.
func (c *stepCheckpointsCmd) Run(a *app) error { return a.checkpoints(steps, c.ID) }

// Run implements a command.
func (c *sftCheckpointsCmd) Run(a *app) error { return a.checkpoints(supervised, c.ID) }

// Run implements a command.
func (c *dpoCheckpointsCmd) Run(a *app) error { return a.checkpoints(preferences, c.ID) }

func (a *app) checkpoints(of jobNoun, ref string) error {
	client, account, jobID, err := a.named("ID", ref, of.collection)
	if err != nil {
		return err
	}
	list, err := client.ListCheckpoints(a.ctx, account, string(of.collection), jobID)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, p := range list.Checkpoints {
		model := "-"
		if p.Model != "" {
			model = id(p.Model)
		}
		rows = append(rows, []string{id(p.Name), strings.TrimPrefix(p.CheckpointType, "CHECKPOINT_TYPE_"), model, at(p.CreateTime)})
	}
	return a.table(list.Checkpoints, "ID TYPE MODEL CREATED", rows)
}

type (
	stepPromoteCmd struct {
		ID string `arg:"" help:"The step or trainer." complete:"steps"`
		promoteFlags
	}
	sftPromoteCmd struct {
		ID string `arg:"" help:"The job." complete:"sft"`
		promoteFlags
	}
	dpoPromoteCmd struct {
		ID string `arg:"" help:"The job." complete:"dpo"`
		promoteFlags
	}
	promoteFlags struct {
		Checkpoint string `arg:"" help:"The checkpoint, as the job's checkpoints list it."`
		Output     string `required:"" short:"o" aliases:"output-model" help:"Name of the new model; it must not exist."`
	}
)

// Run implements a command.
func (c *stepPromoteCmd) Run(a *app) error { return a.promote(steps, c.ID, c.promoteFlags) }

// Run implements a command.
func (c *sftPromoteCmd) Run(a *app) error { return a.promote(supervised, c.ID, c.promoteFlags) }

// Run implements a command.
func (c *dpoPromoteCmd) Run(a *app) error { return a.promote(preferences, c.ID, c.promoteFlags) }

// promote makes a model of a checkpoint. Its base is that of the model which holds it.
func (a *app) promote(of jobNoun, ref string, f promoteFlags) error {
	client, account, jobID, err := a.named("ID", ref, of.collection)
	if err != nil {
		return err
	}
	list, err := client.ListCheckpoints(a.ctx, account, string(of.collection), jobID)
	if err != nil {
		return err
	}
	r := &api.PromoteCheckpointRequest{OutputModel: f.Output}
	for _, p := range list.Checkpoints {
		if id(p.Name) != id(f.Checkpoint) || p.Model == "" {
			continue
		}
		m, err := client.GetModel(a.ctx, account, id(p.Model))
		if err == nil && m.PeftDetails != nil {
			r.BaseModel = m.PeftDetails.BaseModel
		}
	}
	made, err := client.PromoteCheckpoint(a.ctx, account, string(of.collection), jobID, id(f.Checkpoint), r)
	if err != nil {
		return err
	}
	return a.show(made.Model)
}
