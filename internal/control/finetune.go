package control

import (
	"context"
	"errors"
	"strings"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Supervised and preference jobs run on the engine of the steps; what differs is
// the loss, the rows, and how the wire writes them down.

// ListSFTJobs lists supervised fine-tuning jobs.
func (c *Control) ListSFTJobs(ctx context.Context, who Caller, account string, q ListQuery) (*api.SFTJobList, error) {
	p, page, err := c.page(ctx, who, supervised, account, q)
	if err != nil {
		return nil, err
	}
	return &api.SFTJobList{Jobs: items(p.Items, wireSFT), Page: page}, nil
}

// GetSFTJob returns a supervised fine-tuning job.
func (c *Control) GetSFTJob(ctx context.Context, who Caller, account, id string) (*api.SupervisedFineTuningJob, error) {
	return shown(wireSFT)(c.one(ctx, who, supervised, account, id))
}

// CreateSFTJob queues a supervised fine-tuning job.
func (c *Control) CreateSFTJob(ctx context.Context, who Caller, account, id string, r *api.SupervisedFineTuningJob) (*api.SupervisedFineTuningJob, error) {
	x := api.StepExtension{}
	if r.Firekeep != nil {
		x = *r.Firekeep
	}
	var wrong error
	if x.LossMethod != "" && x.LossMethod != "SFT" {
		wrong = rft.FieldErrorf("firekeep.lossMethod", "firekeep.lossMethod: a supervised job has the loss SFT; other losses belong to rlorTrainerJobs and dpoJobs")
	}
	switch {
	case r.EarlyStop:
		wrong = rft.FieldErrorf("earlyStop", "earlyStop: a job trains all its epochs; with evaluationDataset it says what the result is worth")
	case r.MTPEnabled:
		wrong = rft.FieldErrorf("mtpEnabled", "mtpEnabled: only LoRA weights are trained, no heads that predict several tokens")
	}
	x.LossMethod = "SFT"
	step := &api.RlorTrainerJob{DisplayName: r.DisplayName, Dataset: r.Dataset, EvalDataset: r.EvalDataset, EvalCarveout: r.EvalCarveout, Wandb: r.Wandb, StorageAccess: r.StorageAccess, Firekeep: &x,
		TrainingConfig: &api.TrainingConfig{OutputModel: r.OutputModel, BaseModel: r.BaseModel, WarmStartFrom: r.WarmStartFrom, JinjaTemplate: r.JinjaTemplate,
			LearningRate: r.LearningRate, MaxContextLength: r.MaxContextLength, LoraRank: r.LoraRank, Epochs: r.Epochs, BatchSize: r.BatchSize, BatchSizeSamples: r.BatchSizeSamples,
			GradAccumulation: r.GradAccumulation, WarmupSteps: r.WarmupSteps, WeightDecay: r.WeightDecay, Region: r.Region}}
	j, err := c.submit(ctx, who, supervised, account, id, step, wrong)
	return shown(wireSFT)(j, ofTopLevel(err))
}

// ofTopLevel names fields as a supervised job has them, whose training parameters
// stand at the top.
func ofTopLevel(err error) error {
	const inside = "trainingConfig"
	e, ok := errors.AsType[*rft.Error](err)
	if !ok || !strings.HasPrefix(e.Field, inside+".") {
		return err
	}
	flat := *e
	flat.Field = strings.TrimPrefix(e.Field, inside+".")
	flat.Message = strings.ReplaceAll(strings.TrimPrefix(e.Message, inside+": "), inside+".", "")
	return &flat
}

// ResumeSFTJob takes a failed or cancelled supervised job up again.
func (c *Control) ResumeSFTJob(ctx context.Context, who Caller, account, id string) (*api.SupervisedFineTuningJob, error) {
	return shown(wireSFT)(c.resume(ctx, who, supervised, account, id, false))
}

// CancelSFTJob asks a supervised job to end.
func (c *Control) CancelSFTJob(ctx context.Context, who Caller, account, id string) error {
	return c.cancel(ctx, who, supervised, account, id)
}

// DeleteSFTJob removes the record of a supervised job; its checkpoint stays.
func (c *Control) DeleteSFTJob(ctx context.Context, who Caller, account, id string) error {
	return c.remove(ctx, who, supervised, account, id)
}

// ListDPOJobs lists preference jobs.
func (c *Control) ListDPOJobs(ctx context.Context, who Caller, account string, q ListQuery) (*api.DPOJobList, error) {
	p, page, err := c.page(ctx, who, preference, account, q)
	if err != nil {
		return nil, err
	}
	return &api.DPOJobList{Jobs: items(p.Items, wireDPO), Page: page}, nil
}

// GetDPOJob returns a preference job.
func (c *Control) GetDPOJob(ctx context.Context, who Caller, account, id string) (*api.DpoJob, error) {
	return shown(wireDPO)(c.one(ctx, who, preference, account, id))
}

// CreateDPOJob queues a preference job: DPO, or ORPO where lossConfig says so.
func (c *Control) CreateDPOJob(ctx context.Context, who Caller, account, id string, r *api.DpoJob) (*api.DpoJob, error) {
	loss := api.LossConfig{}
	if r.LossConfig != nil {
		loss = *r.LossConfig
	}
	if loss.Method == "" || loss.Method == "METHOD_UNSPECIFIED" {
		loss.Method = "DPO"
	}
	var wrong error
	if loss.Method != "DPO" && loss.Method != "ORPO" {
		wrong = rft.FieldErrorf("lossConfig.method", "lossConfig.method: %q is no loss of preferences; use DPO or ORPO", clip(loss.Method, 40))
	}
	step := &api.RlorTrainerJob{DisplayName: r.DisplayName, Dataset: r.Dataset, TrainingConfig: r.TrainingConfig, LossConfig: &loss, Wandb: r.Wandb, StorageAccess: r.StorageAccess, Firekeep: r.Firekeep}
	j, err := c.submit(ctx, who, preference, account, id, step, wrong)
	return shown(wireDPO)(j, err)
}

// ResumeDPOJob takes a failed or cancelled preference job up again.
func (c *Control) ResumeDPOJob(ctx context.Context, who Caller, account, id string) (*api.DpoJob, error) {
	return shown(wireDPO)(c.resume(ctx, who, preference, account, id, false))
}

// CancelDPOJob asks a preference job to end.
func (c *Control) CancelDPOJob(ctx context.Context, who Caller, account, id string) error {
	return c.cancel(ctx, who, preference, account, id)
}

// DeleteDPOJob removes the record of a preference job; its checkpoint stays.
func (c *Control) DeleteDPOJob(ctx context.Context, who Caller, account, id string) error {
	return c.remove(ctx, who, preference, account, id)
}

// shown turns a job, or why there is none, into an answer.
func shown[T any](wire func(store.Job) T) func(store.Job, error) (*T, error) {
	return func(j store.Job, err error) (*T, error) {
		if err != nil {
			return nil, err
		}
		w := wire(j)
		return &w, nil
	}
}

func wireSFT(j store.Job) api.SupervisedFineTuningJob {
	s := wireStep(j)
	w := api.SupervisedFineTuningJob{Name: s.Name, DisplayName: s.DisplayName, CreateTime: s.CreateTime, UpdateTime: api.At(j.Updated), CompletedTime: s.CompletedTime,
		State: s.State, Status: s.Status, CreatedBy: s.CreatedBy, Dataset: s.Dataset, EvalDataset: s.EvalDataset, JobProgress: s.JobProgress, Firekeep: s.Firekeep}
	if t := s.TrainingConfig; t != nil {
		w.OutputModel, w.BaseModel, w.WarmStartFrom, w.JinjaTemplate, w.Epochs, w.LearningRate = t.OutputModel, t.BaseModel, t.WarmStartFrom, t.JinjaTemplate, t.Epochs, t.LearningRate
		w.MaxContextLength, w.LoraRank, w.BatchSize, w.BatchSizeSamples, w.GradAccumulation = t.MaxContextLength, t.LoraRank, t.BatchSize, t.BatchSizeSamples, t.GradAccumulation
		w.WarmupSteps, w.WeightDecay, w.Region = t.WarmupSteps, t.WeightDecay, t.Region
	}
	return w
}

func wireDPO(j store.Job) api.DpoJob {
	s := wireStep(j)
	return api.DpoJob{Name: s.Name, DisplayName: s.DisplayName, CreateTime: s.CreateTime, CompletedTime: s.CompletedTime, State: s.State, Status: s.Status,
		CreatedBy: s.CreatedBy, Dataset: s.Dataset, TrainingConfig: s.TrainingConfig, LossConfig: s.LossConfig, Firekeep: s.Firekeep}
}

// idField is what the wire calls the id of a new job.
func idField(kind store.JobKind) string {
	switch kind {
	case store.JobSFT:
		return "supervisedFineTuningJobId"
	case store.JobDPO:
		return "dpoJobId"
	}
	return "rlorTrainerJobId"
}
