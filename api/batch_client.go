package api

import "context"

// CreateBatchJob queues a batch inference job; id may be "".
func (c *Client) CreateBatchJob(ctx context.Context, account, id string, j *BatchInferenceJob) (*BatchInferenceJob, error) {
	return post[BatchInferenceJob](ctx, c, path(account, "batchInferenceJobs"), jobID("batchInferenceJobId", id), j)
}

// GetBatchJob returns a batch inference job.
func (c *Client) GetBatchJob(ctx context.Context, account, id string) (*BatchInferenceJob, error) {
	return get[BatchInferenceJob](ctx, c, path(account, "batchInferenceJobs", id), nil)
}

// ListBatchJobs lists batch inference jobs.
func (c *Client) ListBatchJobs(ctx context.Context, account string, o ListOptions) (*BatchInferenceJobList, error) {
	return get[BatchInferenceJobList](ctx, c, path(account, "batchInferenceJobs"), o.values())
}

// DeleteBatchJob ends a batch inference job and deletes its record. The answers of
// one that is COMPLETED stay.
func (c *Client) DeleteBatchJob(ctx context.Context, account, id string) error {
	return c.call(ctx, "DELETE", path(account, "batchInferenceJobs", id), nil, nil, nil)
}
