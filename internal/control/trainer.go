package control

import (
	"context"
	"encoding/json"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/store"
)

// ExecuteTrainStep queues a step of a keep-alive trainer and answers at once. How
// it ends shows in the model that it makes and in the state of the trainer.
func (c *Control) ExecuteTrainStep(ctx context.Context, who Caller, account, id string, r *api.ExecuteTrainStepRequest) error {
	name := stepName(account, id)
	owner, err := c.jobOwner(ctx, who, account, store.JobStep, id)
	if err != nil {
		return err
	}
	res := stepResource(account, &api.RlorTrainerJob{Dataset: r.Dataset, OutputModel: r.OutputModel})
	res.Name, res.Owner = name, owner
	if err := c.authorize(ctx, who, authz.ExecuteStep, res); err != nil {
		return err
	}
	if err := c.checkQuotas(ctx, who); err != nil {
		return err
	}
	_, err = c.Jobs.Execute(ctx, account, id, r.Dataset, r.OutputModel, who.Name, who.act("ExecuteRlorTrainStep", name, "dataset", r.Dataset, "outputModel", r.OutputModel))
	return err
}

// ResumeStep takes a failed or cancelled step, or trainer, up again.
func (c *Control) ResumeStep(ctx context.Context, who Caller, account, id string, r *api.ResumeJobRequest) (*api.RlorTrainerJob, error) {
	j, err := c.resume(ctx, who, reinforcement, account, id, r.DiscardSteps)
	if err != nil {
		return nil, err
	}
	w := wireStep(j)
	return &w, c.showSteps(ctx, j, &w)
}

// stepsShown bounds the steps that an answer about a trainer lists.
const stepsShown = 50

// showSteps adds the newest steps of a trainer, and how far the one is that runs.
func (c *Control) showSteps(ctx context.Context, j store.Job, w *api.RlorTrainerJob) error {
	steps, err := c.Jobs.Steps(ctx, j, stepsShown)
	if err != nil {
		return err
	}
	for _, s := range steps {
		shown := api.TrainerStep{Dataset: s.Dataset, OutputModel: s.OutputModel, State: string(s.State), Status: wireStatus(s.Status), CreateTime: api.At(s.Created),
			CompletedTime: api.At(s.Completed), JobProgress: &api.JobProgress{Percent: s.Progress.Percent, Epoch: s.Progress.Epoch}}
		var done job.StepResult
		if len(s.Result) > 0 && json.Unmarshal(s.Result, &done) == nil {
			shown.Evaluation = evaluation(done)
		}
		if s.Owner != "" {
			w.JobProgress = shown.JobProgress
			w.Firekeep.Stage, w.Firekeep.ETASeconds, w.Firekeep.Attempt = s.Progress.Stage, s.Progress.ETASeconds, s.Attempt
		}
		w.Firekeep.Steps = append(w.Firekeep.Steps, shown)
	}
	return nil
}
