package api

import (
	"context"
	"net/url"
	"strconv"
)

// Operations of jobs that train, beyond those of one-shot steps.

// jobID is the query of a creation; an id of "" is chosen by the server.
func jobID(field, id string) url.Values {
	if id == "" {
		return nil
	}
	return url.Values{field: {id}}
}

// Collections of jobs that train: where their histories and checkpoints are.
const (
	StepJobs = "rlorTrainerJobs"
	SFTJobs  = "supervisedFineTuningJobs"
	DPOJobs  = "dpoJobs"
)

// JobMetrics lists the metrics of a job's updates > after, a page at most.
func (c *Client) JobMetrics(ctx context.Context, account, collection, id string, after int64) (*StepMetricsList, error) {
	return get[StepMetricsList](ctx, c, path(account, collection, id, "metrics"), url.Values{"after": {strconv.FormatInt(after, 10)}})
}

// JobEvents lists the events of a job whose sequence number is greater than after,
// a page at most.
func (c *Client) JobEvents(ctx context.Context, account, collection, id string, after int64) (*StepEventList, error) {
	return get[StepEventList](ctx, c, path(account, collection, id, "events"), url.Values{"after": {strconv.FormatInt(after, 10)}})
}

// ListCheckpoints lists the checkpoints of a job or trainer.
func (c *Client) ListCheckpoints(ctx context.Context, account, collection, id string) (*CheckpointList, error) {
	return get[CheckpointList](ctx, c, path(account, collection, id, "checkpoints"), nil)
}

// PromoteCheckpoint makes a model of its own of a LoRA that a job made.
func (c *Client) PromoteCheckpoint(ctx context.Context, account, collection, id, checkpoint string, r *PromoteCheckpointRequest) (*PromoteCheckpointResponse, error) {
	return post[PromoteCheckpointResponse](ctx, c, path(account, collection, id, "checkpoints", checkpoint)+":promote", nil, r)
}

// CreateSFTJob queues a supervised fine-tuning job; id may be "".
func (c *Client) CreateSFTJob(ctx context.Context, account, id string, j *SupervisedFineTuningJob) (*SupervisedFineTuningJob, error) {
	return post[SupervisedFineTuningJob](ctx, c, path(account, "supervisedFineTuningJobs"), jobID("supervisedFineTuningJobId", id), j)
}

// GetSFTJob returns a supervised fine-tuning job.
func (c *Client) GetSFTJob(ctx context.Context, account, id string) (*SupervisedFineTuningJob, error) {
	return get[SupervisedFineTuningJob](ctx, c, path(account, "supervisedFineTuningJobs", id), nil)
}

// ListSFTJobs lists supervised fine-tuning jobs.
func (c *Client) ListSFTJobs(ctx context.Context, account string, o ListOptions) (*SFTJobList, error) {
	return get[SFTJobList](ctx, c, path(account, "supervisedFineTuningJobs"), o.values())
}

// CancelSFTJob asks a supervised job to end.
func (c *Client) CancelSFTJob(ctx context.Context, account, id string) error {
	return c.call(ctx, "POST", path(account, "supervisedFineTuningJobs", id)+":cancel", nil, struct{}{}, nil)
}

// ResumeSFTJob takes a failed or cancelled supervised job up again.
func (c *Client) ResumeSFTJob(ctx context.Context, account, id string) (*SupervisedFineTuningJob, error) {
	return post[SupervisedFineTuningJob](ctx, c, path(account, "supervisedFineTuningJobs", id)+":resume", nil, struct{}{})
}

// DeleteSFTJob deletes the record of a supervised job.
func (c *Client) DeleteSFTJob(ctx context.Context, account, id string) error {
	return c.call(ctx, "DELETE", path(account, "supervisedFineTuningJobs", id), nil, nil, nil)
}

// CreateDPOJob queues a preference job; id may be "".
func (c *Client) CreateDPOJob(ctx context.Context, account, id string, j *DpoJob) (*DpoJob, error) {
	return post[DpoJob](ctx, c, path(account, "dpoJobs"), jobID("dpoJobId", id), j)
}

// GetDPOJob returns a preference job.
func (c *Client) GetDPOJob(ctx context.Context, account, id string) (*DpoJob, error) {
	return get[DpoJob](ctx, c, path(account, "dpoJobs", id), nil)
}

// ListDPOJobs lists preference jobs.
func (c *Client) ListDPOJobs(ctx context.Context, account string, o ListOptions) (*DPOJobList, error) {
	return get[DPOJobList](ctx, c, path(account, "dpoJobs"), o.values())
}

// CancelDPOJob asks a preference job to end.
func (c *Client) CancelDPOJob(ctx context.Context, account, id string) error {
	return c.call(ctx, "POST", path(account, "dpoJobs", id)+":cancel", nil, struct{}{}, nil)
}

// ResumeDPOJob takes a failed or cancelled preference job up again.
func (c *Client) ResumeDPOJob(ctx context.Context, account, id string) (*DpoJob, error) {
	return post[DpoJob](ctx, c, path(account, "dpoJobs", id)+":resume", nil, struct{}{})
}

// DeleteDPOJob deletes the record of a preference job.
func (c *Client) DeleteDPOJob(ctx context.Context, account, id string) error {
	return c.call(ctx, "DELETE", path(account, "dpoJobs", id), nil, nil, nil)
}

// DPOMetricsFile returns where the metrics of a preference job can be read for a
// while: one line of JSON (StepMetrics) per optimiser batch.
func (c *Client) DPOMetricsFile(ctx context.Context, account, id string) (*SignedURL, error) {
	return get[SignedURL](ctx, c, path(account, "dpoJobs", id)+":getMetricsFileEndpoint", nil)
}
