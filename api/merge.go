package api

import "context"

// PeftMergeJob merges a LoRA into the base that it stands on: its result is a base
// model of its own.
type PeftMergeJob struct {
	Name        string `json:"name"`
	DisplayName string `json:"displayName"`
	CreateTime  Time   `json:"createTime"`
	UpdateTime  Time   `json:"updateTime,omitzero"`
	CreatedBy   string `json:"createdBy"`
	State       string `json:"state"` // JOB_STATE_...
	Status      Status `json:"status"`
	PeftModel   string `json:"peftModel"`   // the LoRA; required
	MergedModel string `json:"mergedModel"` // the model to make; required
}

// PeftMergeJobList answers GET PeftMergeJobs.
type PeftMergeJobList struct {
	Jobs []PeftMergeJob `json:"peftMergeJobs"`
	Page
}

// CreateMergeJob queues a merge.
func (c *Client) CreateMergeJob(ctx context.Context, account string, j *PeftMergeJob) (*PeftMergeJob, error) {
	return post[PeftMergeJob](ctx, c, path(account, "PeftMergeJobs"), nil, j)
}

// GetMergeJob returns a merge.
func (c *Client) GetMergeJob(ctx context.Context, account, id string) (*PeftMergeJob, error) {
	return get[PeftMergeJob](ctx, c, path(account, "PeftMergeJobs", id), nil)
}

// ListMergeJobs lists merges.
func (c *Client) ListMergeJobs(ctx context.Context, account string, o ListOptions) (*PeftMergeJobList, error) {
	return get[PeftMergeJobList](ctx, c, path(account, "PeftMergeJobs"), o.values())
}

// DeleteMergeJob ends a merge and deletes its record. The model of one that is
// COMPLETED stays.
func (c *Client) DeleteMergeJob(ctx context.Context, account, id string) error {
	return c.call(ctx, "DELETE", path(account, "PeftMergeJobs", id), nil, nil, nil)
}
