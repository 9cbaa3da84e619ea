package api

import (
	"context"
	"net/url"
)

// This file has one method per operation of the control plane.

func get[T any](ctx context.Context, c *Client, path string, q url.Values) (*T, error) {
	out := new(T)
	return out, c.call(ctx, "GET", path, q, nil, out)
}

func post[T any](ctx context.Context, c *Client, path string, q url.Values, in any) (*T, error) {
	out := new(T)
	return out, c.call(ctx, "POST", path, q, in, out)
}

// GetAccount returns an account.
func (c *Client) GetAccount(ctx context.Context, account string) (*Account, error) {
	return get[Account](ctx, c, path(account), nil)
}

// ListUsers lists the users of an account.
func (c *Client) ListUsers(ctx context.Context, account string, o ListOptions) (*UserList, error) {
	return get[UserList](ctx, c, path(account, "users"), o.values())
}

// CreateUser creates a user.
func (c *Client) CreateUser(ctx context.Context, account, id string, u *User) (*User, error) {
	return post[User](ctx, c, path(account, "users"), url.Values{"userId": {id}}, u)
}

// CreateAPIKey creates a key; the answer is the only one that holds it.
func (c *Client) CreateAPIKey(ctx context.Context, account, user string, k *APIKey) (*APIKey, error) {
	return post[APIKey](ctx, c, path(account, "users", user, "apiKeys"), nil, CreateAPIKeyRequest{k})
}

// ListAPIKeys lists the keys of a user.
func (c *Client) ListAPIKeys(ctx context.Context, account, user string, o ListOptions) (*APIKeyList, error) {
	return get[APIKeyList](ctx, c, path(account, "users", user, "apiKeys"), o.values())
}

// DeleteAPIKey revokes a key.
func (c *Client) DeleteAPIKey(ctx context.Context, account, user, keyID string) error {
	return c.call(ctx, "POST", path(account, "users", user, "apiKeys")+":delete", nil, DeleteAPIKeyRequest{keyID}, nil)
}

// CreateDataset registers a dataset.
func (c *Client) CreateDataset(ctx context.Context, account, id string, d *Dataset) (*Dataset, error) {
	return post[Dataset](ctx, c, path(account, "datasets"), nil, CreateDatasetRequest{DatasetID: id, Dataset: d})
}

// GetDataset returns a dataset.
func (c *Client) GetDataset(ctx context.Context, account, id string) (*Dataset, error) {
	return get[Dataset](ctx, c, path(account, "datasets", id), nil)
}

// ListDatasets lists datasets.
func (c *Client) ListDatasets(ctx context.Context, account string, o ListOptions) (*DatasetList, error) {
	return get[DatasetList](ctx, c, path(account, "datasets"), o.values())
}

// DeleteDataset forgets a dataset. Rows in the user's bucket stay.
func (c *Client) DeleteDataset(ctx context.Context, account, id string) error {
	return c.call(ctx, "DELETE", path(account, "datasets", id), nil, nil, nil)
}

// CreateModel registers a model; with a source, the server imports it.
func (c *Client) CreateModel(ctx context.Context, account, id string, m *Model) (*Model, error) {
	return post[Model](ctx, c, path(account, "models"), nil, CreateModelRequest{ModelID: id, Model: m})
}

// GetModel returns a model.
func (c *Client) GetModel(ctx context.Context, account, id string) (*Model, error) {
	return get[Model](ctx, c, path(account, "models", id), nil)
}

// ListModels lists models.
func (c *Client) ListModels(ctx context.Context, account string, o ListOptions) (*ModelList, error) {
	return get[ModelList](ctx, c, path(account, "models"), o.values())
}

// DeleteModel deletes a model.
func (c *Client) DeleteModel(ctx context.Context, account, id string) error {
	return c.call(ctx, "DELETE", path(account, "models", id), nil, nil, nil)
}

// ExportModel writes a checkpoint to a prefix of a bucket.
func (c *Client) ExportModel(ctx context.Context, account, id, destination string) (*Operation, error) {
	return post[Operation](ctx, c, path(account, "models", id)+":export", nil, ExportModelRequest{destination})
}

// GetOperation returns the state of an operation.
func (c *Client) GetOperation(ctx context.Context, account, id string) (*Operation, error) {
	return get[Operation](ctx, c, path(account, "operations", id), nil)
}

// CreateStep queues a reinforcement step; id may be "".
func (c *Client) CreateStep(ctx context.Context, account, id string, j *RlorTrainerJob) (*RlorTrainerJob, error) {
	q := url.Values{}
	if id != "" {
		q.Set("rlorTrainerJobId", id)
	}
	return post[RlorTrainerJob](ctx, c, path(account, "rlorTrainerJobs"), q, j)
}

// GetStep returns a step.
func (c *Client) GetStep(ctx context.Context, account, id string) (*RlorTrainerJob, error) {
	return get[RlorTrainerJob](ctx, c, path(account, "rlorTrainerJobs", id), nil)
}

// ListSteps lists steps.
func (c *Client) ListSteps(ctx context.Context, account string, o ListOptions) (*StepList, error) {
	return get[StepList](ctx, c, path(account, "rlorTrainerJobs"), o.values())
}

// CancelStep asks a step to end.
func (c *Client) CancelStep(ctx context.Context, account, id string) error {
	return c.call(ctx, "POST", path(account, "rlorTrainerJobs", id)+":cancel", nil, struct{}{}, nil)
}

// ExecuteTrainStep asks a keep-alive trainer for a step; it answers at once.
func (c *Client) ExecuteTrainStep(ctx context.Context, account, id string, r *ExecuteTrainStepRequest) error {
	return c.call(ctx, "POST", path(account, "rlorTrainerJobs", id)+":executeTrainStep", nil, r, nil)
}

// ResumeStep takes a failed or cancelled step, or trainer, up again.
func (c *Client) ResumeStep(ctx context.Context, account, id string, r *ResumeJobRequest) (*RlorTrainerJob, error) {
	out := &RlorTrainerJob{}
	return out, c.call(ctx, "POST", path(account, "rlorTrainerJobs", id)+":resume", nil, r, out)
}

// DeleteStep deletes the record of a step.
func (c *Client) DeleteStep(ctx context.Context, account, id string) error {
	return c.call(ctx, "DELETE", path(account, "rlorTrainerJobs", id), nil, nil, nil)
}

// CreateDeployment creates a deployment.
func (c *Client) CreateDeployment(ctx context.Context, account, id string, d *Deployment) (*Deployment, error) {
	return post[Deployment](ctx, c, path(account, "deployments"), url.Values{"deploymentId": {id}}, d)
}

// GetDeployment returns a deployment.
func (c *Client) GetDeployment(ctx context.Context, account, id string) (*Deployment, error) {
	return get[Deployment](ctx, c, path(account, "deployments", id), nil)
}

// ListDeployments lists deployments.
func (c *Client) ListDeployments(ctx context.Context, account string, o ListOptions) (*DeploymentList, error) {
	return get[DeploymentList](ctx, c, path(account, "deployments"), o.values())
}

// DeleteDeployment deletes a deployment.
func (c *Client) DeleteDeployment(ctx context.Context, account, id string) error {
	return c.call(ctx, "DELETE", path(account, "deployments", id), nil, nil, nil)
}

// CreateDeployedModel loads a model on a deployment.
func (c *Client) CreateDeployedModel(ctx context.Context, account string, d *DeployedModel) (*DeployedModel, error) {
	return post[DeployedModel](ctx, c, path(account, "deployedModels"), nil, d)
}

// ListDeployedModels lists loaded models.
func (c *Client) ListDeployedModels(ctx context.Context, account string, o ListOptions) (*DeployedModelList, error) {
	return get[DeployedModelList](ctx, c, path(account, "deployedModels"), o.values())
}

// DeleteDeployedModel unloads a model.
func (c *Client) DeleteDeployedModel(ctx context.Context, account, id string) error {
	return c.call(ctx, "DELETE", path(account, "deployedModels", id), nil, nil, nil)
}
