package control

import (
	"context"
	"strconv"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/store"
)

// ListCheckpoints lists what a step, or trainer, can go on from: resume points of
// its training, and the LoRAs that it made. The LoRAs are models already, so there
// is nothing to promote.
func (c *Control) ListCheckpoints(ctx context.Context, who Caller, account, id string) (*api.CheckpointList, error) {
	name := stepName(account, id)
	if err := c.allow(ctx, who, authz.ListCheckpoints, account, name); err != nil {
		return nil, err
	}
	j, err := c.DB.Job(ctx, account, store.JobStep, id)
	if err != nil {
		return nil, err
	}
	jobs, err := c.Jobs.Steps(ctx, j, stepsShown)
	if err != nil {
		return nil, err
	}
	if !j.KeepsAlive() {
		jobs = []store.Job{j}
	}
	out := &api.CheckpointList{Checkpoints: []api.Checkpoint{}}
	for _, j := range jobs {
		points, err := c.DB.ResumePoints(ctx, j.UID)
		if err != nil {
			return nil, err
		}
		for _, p := range points {
			out.Checkpoints = append(out.Checkpoints, api.Checkpoint{Name: name + "/checkpoints/" + j.UID + "-" + strconv.FormatInt(p.Update, 10),
				CreateTime: api.At(p.Created), UpdateTime: api.At(p.Created), CheckpointType: "CHECKPOINT_TYPE_TRAINING_LORA"})
		}
		if j.Completed.IsZero() || len(j.Result) == 0 {
			continue
		}
		out.Checkpoints = append(out.Checkpoints, api.Checkpoint{Name: name + "/checkpoints/" + j.UID, CreateTime: api.At(j.Completed), UpdateTime: api.At(j.Completed),
			CheckpointType: "CHECKPOINT_TYPE_INFERENCE_LORA", Model: j.OutputModel})
	}
	out.TotalSize = len(out.Checkpoints)
	return out, nil
}
