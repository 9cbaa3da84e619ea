package control

import (
	"context"
	"strconv"
	"strings"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// checkpointsOf is the collection of a job's checkpoints, and of an account's.
const checkpointsOf = "/checkpoints/"

// ListCheckpoints lists what a job, or trainer, can go on from: resume points of
// its training, and the LoRAs that it made. Only a LoRA can be promoted, while the
// model that holds it is there.
func (c *Control) ListCheckpoints(ctx context.Context, who Caller, of rft.Collection, account, id string) (*api.CheckpointList, error) {
	t, err := trainingType(of)
	if err != nil {
		return nil, err
	}
	name := t.name(account, id)
	if err := c.allow(ctx, who, authz.ListCheckpoints, account, name); err != nil {
		return nil, err
	}
	j, err := c.DB.Job(ctx, account, t.kind, id)
	if err != nil {
		return nil, err
	}
	jobs, err := c.runsOf(ctx, j)
	if err != nil {
		return nil, err
	}
	out := &api.CheckpointList{Checkpoints: []api.Checkpoint{}}
	for _, j := range jobs {
		points, err := c.DB.ResumePoints(ctx, j.UID)
		if err != nil {
			return nil, err
		}
		for _, p := range points {
			out.Checkpoints = append(out.Checkpoints, api.Checkpoint{Name: name + checkpointsOf + j.UID + "-" + strconv.FormatInt(p.Update, 10),
				CreateTime: api.At(p.Created), UpdateTime: api.At(p.Created), CheckpointType: "CHECKPOINT_TYPE_TRAINING_LORA"})
		}
		if j.Completed.IsZero() || len(j.Result) == 0 {
			continue
		}
		_, there, err := c.DB.ModelOf(ctx, j.UID)
		if err != nil {
			return nil, err
		}
		out.Checkpoints = append(out.Checkpoints, api.Checkpoint{Name: name + checkpointsOf + j.UID, CreateTime: api.At(j.Completed), UpdateTime: api.At(j.Completed),
			CheckpointType: "CHECKPOINT_TYPE_INFERENCE_LORA", Promotable: there, Model: j.OutputModel})
	}
	out.TotalSize = len(out.Checkpoints)
	return out, nil
}

// runsOf are the runs of training that a job stands for: a trainer's newest steps,
// else the job itself.
func (c *Control) runsOf(ctx context.Context, j store.Job) ([]store.Job, error) {
	if !j.KeepsAlive() {
		return []store.Job{j}, nil
	}
	return c.Jobs.Steps(ctx, j, stepsShown)
}

// PromoteNamedCheckpoint makes a model of a checkpoint whose job the body names.
func (c *Control) PromoteNamedCheckpoint(ctx context.Context, who Caller, account, checkpoint string, r *api.PromoteCheckpointRequest) (*api.PromoteCheckpointResponse, error) {
	for _, of := range []rft.Collection{rft.Steps, rft.SFTJobs, rft.DPOJobs} {
		if n, err := rft.ParseName("trainerJobId", r.TrainerJobID, account, of); err == nil && n.Account == account {
			return c.PromoteCheckpoint(ctx, who, of, account, n.ID, checkpoint, r)
		}
	}
	if err := c.allow(ctx, who, authz.PromoteCheckpoint, account, rft.AccountName(account)+checkpointsOf+checkpoint); err != nil {
		return nil, err
	}
	return nil, rft.FieldErrorf("trainerJobId", "trainerJobId: want the job of this account that made the checkpoint: %s/rlorTrainerJobs/{job}", rft.AccountName(account))
}

// PromoteCheckpoint makes a model of its own of a LoRA that a job made. It is READY
// at once and stays when the job, or the model that the job wrote, is deleted.
func (c *Control) PromoteCheckpoint(ctx context.Context, who Caller, of rft.Collection, account, id, checkpoint string, r *api.PromoteCheckpointRequest) (*api.PromoteCheckpointResponse, error) {
	t, err := trainingType(of)
	if err != nil {
		return nil, err
	}
	res := stepResource(account, &api.RlorTrainerJob{OutputModel: r.OutputModel})
	res.Name = t.name(account, id)
	if err := c.authorize(ctx, who, authz.PromoteCheckpoint, res); err != nil {
		return nil, err
	}
	j, err := c.DB.Job(ctx, account, t.kind, id)
	if err != nil {
		return nil, err
	}
	if err := c.checkStorage(ctx, who); err != nil {
		return nil, err
	}
	name := res.Name + checkpointsOf + checkpoint
	from, err := c.promotable(ctx, j, name, checkpoint)
	if err != nil {
		return nil, err
	}
	output, err := c.checkPromotion(ctx, account, from, r)
	if err != nil {
		return nil, err
	}
	ctx = custody.For(ctx, custody.Use{Purpose: "promote", Resource: from.Name(), Actor: who.Name})
	m, err := c.Catalog.Promote(ctx, from, catalog.Promotion{ID: output.ID, Checkpoint: name, CreatedBy: who.Name},
		who.act("PromoteCheckpoint", name, "model", output.String(), "from", from.Name()))
	if err != nil {
		return nil, c.keyed(ctx, account, err)
	}
	w := wireModel(m)
	return &api.PromoteCheckpointResponse{Model: &w}, nil
}

// promotable finds the LoRA that a checkpoint of a job is.
func (c *Control) promotable(ctx context.Context, j store.Job, name, checkpoint string) (store.Model, error) {
	jobs, err := c.runsOf(ctx, j)
	if err != nil {
		return store.Model{}, err
	}
	for _, j := range jobs {
		if strings.HasPrefix(checkpoint, j.UID+"-") {
			return store.Model{}, rft.Errorf(rft.KindFailedPrecondition, "%s is a state of training that goes on: let the job end, or resume it, and promote the LoRA that it makes", name)
		}
		if checkpoint != j.UID {
			continue
		}
		m, ok, err := c.DB.ModelOf(ctx, j.UID)
		if err != nil || ok {
			return m, err
		}
		return m, rft.Errorf(rft.KindFailedPrecondition, "%s cannot be promoted: its model %s is not READY, or was deleted", name, j.OutputModel)
	}
	return store.Model{}, authz.NotFound(name)
}

// checkPromotion reads the names of a request and holds them against the checkpoint.
func (c *Control) checkPromotion(ctx context.Context, account string, from store.Model, r *api.PromoteCheckpointRequest) (rft.Name, error) {
	if r.OutputModel == "" {
		return rft.Name{}, rft.FieldErrorf("outputModel", "outputModel: is required")
	}
	output, err := rft.ParseOwn("outputModel", r.OutputModel, account, rft.Models)
	switch {
	case err != nil:
		return output, err
	case r.BaseModel == "":
		return output, rft.FieldErrorf("baseModel", "baseModel: is required")
	}
	base, err := c.model(ctx, "baseModel", r.BaseModel, account)
	if err == nil && base.UID != from.BaseUID {
		err = rft.FieldErrorf("baseModel", "baseModel: the checkpoint stands on %s, not on %s", from.BaseModel, base.Name())
	}
	return output, err
}
