package job

import (
	"cmp"
	"context"
	"encoding/json"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// createTrainer adds a keep-alive trainer, and its first step when there is a dataset.
func (s *Service) createTrainer(ctx context.Context, r StepRequest, j store.Job, base store.Model, spec StepSpec, inputs []string, act store.Act) (store.Job, error) {
	if r.Kind != store.JobStep {
		return j, rft.FieldErrorf("keepAlive", "keepAlive: only rlorTrainerJobs wait for steps")
	}
	first, err := s.firstStep(ctx, r, j, base, spec)
	if err != nil {
		return j, err
	}
	if j, err = described(j, spec); err != nil {
		return j, err
	}
	return s.db.CreateTrainer(ctx, j, first, inputs, act)
}

// firstStep is the step that a trainer's own dataset asks for, nil without one.
func (s *Service) firstStep(ctx context.Context, r StepRequest, trainer store.Job, base store.Model, spec StepSpec) (*store.TrainStep, error) {
	if r.Dataset == "" {
		if r.OutputModel != "" {
			return nil, rft.FieldErrorf("trainingConfig.outputModel", "trainingConfig.outputModel: a trainer without a dataset makes no model; name it when the step is executed")
		}
		return nil, nil
	}
	if r.OutputModel == "" {
		r.OutputModel = trainer.ID
	}
	spec.KeepAlive = false
	n, err := s.prepare(ctx, r, stepOf(trainer, r.CreatedBy), base, spec)
	return &n, err
}

// stepOf is the job of a step of a trainer, still without inputs.
func stepOf(trainer store.Job, by string) store.Job {
	uid := store.NewUID()
	return store.Job{UID: uid, ID: uid, Account: trainer.Account, Kind: store.JobTrain, CreatedBy: by}
}

// Execute queues a step of a trainer: it trains on dataset, with the trainer's
// parameters, from where the step before it ended, and makes outputModel.
func (s *Service) Execute(ctx context.Context, account, trainer, dataset, outputModel, by string, act store.Act) (store.Job, error) {
	p, err := s.db.Job(ctx, account, store.JobStep, trainer)
	if err != nil {
		return p, err
	}
	spec, err := readSpec(p)
	if err != nil {
		return p, err
	}
	switch {
	case !p.KeepsAlive():
		return p, rft.Errorf(rft.KindFailedPrecondition, "%s takes no steps: it was created without keepAlive", p.Name())
	case dataset == "":
		return p, rft.FieldErrorf("dataset", "dataset: is required")
	case outputModel == "":
		return p, rft.FieldErrorf("outputModel", "outputModel: is required")
	}
	base, err := s.stillThere(ctx, p, spec)
	if err != nil {
		return p, err
	}
	spec.KeepAlive = false
	n, err := s.prepare(ctx, StepRequest{Account: account, Dataset: dataset, OutputModel: outputModel, CreatedBy: by}, stepOf(p, by), base, spec)
	if err != nil {
		return p, err
	}
	return s.db.ExecuteStep(ctx, p.UID, n, act)
}

// stillThere finds the base of a job that goes on, and asks whether the account may
// read it, and the LoRA that the job has yet to begin with, now.
func (s *Service) stillThere(ctx context.Context, j store.Job, spec StepSpec) (base store.Model, err error) {
	if base, err = s.catalog.Standing(ctx, j.Account, "", spec.BaseModel, spec.BaseUID); err != nil {
		return base, err
	}
	warm, err := warmUID(j, spec)
	if err == nil && warm != "" && warm == spec.WarmUID {
		_, err = s.catalog.Standing(ctx, j.Account, "", spec.WarmStartFrom, spec.WarmUID)
	}
	return base, err
}

// warmUID is the LoRA that a job that goes on begins with, "" = none: a trainer's is
// what its last step made.
func warmUID(j store.Job, spec StepSpec) (string, error) {
	if !j.KeepsAlive() {
		return spec.WarmUID, nil
	}
	state, err := j.TrainerState()
	if err != nil {
		return "", rft.Wrap(rft.KindDataLoss, err, "the state of %s cannot be read", j.Name())
	}
	return cmp.Or(state.ModelUID, spec.WarmUID), nil
}

func readSpec(j store.Job) (spec StepSpec, err error) {
	if err := json.Unmarshal(j.Spec, &spec); err != nil {
		return spec, rft.Wrap(rft.KindDataLoss, err, "the description of %s cannot be read", j.Name())
	}
	return spec, nil
}

// Resume takes a FAILED or CANCELLED job up again, from its last resume point. With
// discard a trainer forgets the steps that are not done.
func (s *Service) Resume(ctx context.Context, account string, kind store.JobKind, id string, discard bool, act store.Act) (store.Job, error) {
	j, err := s.db.Job(ctx, account, kind, id)
	if err != nil {
		return j, err
	}
	spec, err := readSpec(j)
	if err != nil {
		return j, err
	}
	base, err := s.stillThere(ctx, j, spec)
	if err != nil {
		return j, err
	}
	inputs := []string{base.UID}
	warm, err := warmUID(j, spec)
	if err != nil {
		return j, err
	}
	if warm != "" {
		inputs = append(inputs, warm)
	}
	var out *store.Model
	switch {
	case j.KeepsAlive():
	case discard:
		return j, rft.FieldErrorf("discardSteps", "discardSteps: %s is no trainer that waits for steps", j.Name())
	default:
		made, err := outputModel(StepRequest{Account: account, OutputModel: spec.OutputModel, CreatedBy: j.CreatedBy}, j, base, spec.Train)
		if err != nil {
			return j, err
		}
		made.UID = spec.OutputUID // the name was freed when the job ended
		out = &made
	}
	j, dropped, err := s.db.ResumeJob(ctx, j, discard, out, spec.DatasetUID, inputs, act)
	s.remove(ctx, dropped)
	return j, err
}

// Steps returns the newest steps of a trainer, the newest first.
func (s *Service) Steps(ctx context.Context, trainer store.Job, limit int) ([]store.Job, error) {
	if !trainer.KeepsAlive() {
		return nil, nil
	}
	return s.db.TrainSteps(ctx, trainer.UID, limit)
}
