package api

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Operations on secrets, the life of deployments, updates, and files by signed
// URLs.

// masked is the query of an update that names what changes.
func masked(fields []string) url.Values {
	if len(fields) == 0 {
		return nil
	}
	return url.Values{"updateMask": {strings.Join(fields, ",")}}
}

func patchMasked[T any](ctx context.Context, c *Client, path string, fields []string, in *T) (*T, error) {
	out := new(T)
	return out, c.call(ctx, "PATCH", path, masked(fields), in, out)
}

// ListSecrets lists the secrets of an account, without their values.
func (c *Client) ListSecrets(ctx context.Context, account string, o ListOptions) (*SecretList, error) {
	return get[SecretList](ctx, c, path(account, "secrets"), o.values())
}

// GetSecret returns a secret without its value.
func (c *Client) GetSecret(ctx context.Context, account, id string) (*Secret, error) {
	return get[Secret](ctx, c, path(account, "secrets", id), nil)
}

// CreateSecret seals a value; s.Name is accounts/{account}/secrets/{id}.
func (c *Client) CreateSecret(ctx context.Context, account string, s *Secret) (*Secret, error) {
	return post[Secret](ctx, c, path(account, "secrets"), nil, s)
}

// UpdateSecret changes the named fields of a secret: keyName, value.
func (c *Client) UpdateSecret(ctx context.Context, account, id string, s *Secret, fields ...string) (*Secret, error) {
	return patchMasked(ctx, c, path(account, "secrets", id), fields, s)
}

// DeleteSecret destroys a secret.
func (c *Client) DeleteSecret(ctx context.Context, account, id string) error {
	return c.call(ctx, "DELETE", path(account, "secrets", id), nil, nil, nil)
}

// UpdateDeployment changes the named fields of a deployment.
func (c *Client) UpdateDeployment(ctx context.Context, account, id string, d *Deployment, fields ...string) (*Deployment, error) {
	return patchMasked(ctx, c, path(account, "deployments", id), fields, d)
}

// ScaleDeployment sets how many replicas a deployment has; 0 stops its engine.
func (c *Client) ScaleDeployment(ctx context.Context, account, id string, replicas int) error {
	return c.call(ctx, "PATCH", path(account, "deployments", id)+":scale", nil, ScaleDeploymentRequest{replicas}, nil)
}

// UndeleteDeployment brings back a deployment that was deleted within a month.
func (c *Client) UndeleteDeployment(ctx context.Context, account, id string) (*Deployment, error) {
	return post[Deployment](ctx, c, path(account, "deployments", id)+":undelete", nil, struct{}{})
}

// PurgeDeployment deletes a deployment for good.
func (c *Client) PurgeDeployment(ctx context.Context, account, id string) error {
	return c.call(ctx, "DELETE", path(account, "deployments", id), url.Values{"hard": {"true"}}, nil, nil)
}

// ListDeletedDeployments lists deployments, with those that can be undeleted.
func (c *Client) ListDeletedDeployments(ctx context.Context, account string, o ListOptions) (*DeploymentList, error) {
	q := o.values()
	q.Set("showDeleted", "true")
	return get[DeploymentList](ctx, c, path(account, "deployments"), q)
}

// ReplaceDeployedModel loads a model on a deployment in the place of what is
// loaded there (replaceMergedAddon).
func (c *Client) ReplaceDeployedModel(ctx context.Context, account string, d *DeployedModel) (*DeployedModel, error) {
	return post[DeployedModel](ctx, c, path(account, "deployedModels"), url.Values{"replaceMergedAddon": {"true"}}, d)
}

// GetDeployedModel returns a loaded model.
func (c *Client) GetDeployedModel(ctx context.Context, account, id string) (*DeployedModel, error) {
	return get[DeployedModel](ctx, c, path(account, "deployedModels", id), nil)
}

// UpdateDeployedModel changes the named fields of a loaded model.
func (c *Client) UpdateDeployedModel(ctx context.Context, account, id string, d *DeployedModel, fields ...string) (*DeployedModel, error) {
	return patchMasked(ctx, c, path(account, "deployedModels", id), fields, d)
}

// UpdateDataset changes the named fields of a dataset: displayName.
func (c *Client) UpdateDataset(ctx context.Context, account, id string, d *Dataset, fields ...string) (*Dataset, error) {
	return patchMasked(ctx, c, path(account, "datasets", id), fields, d)
}

// UpdateModel changes the named fields of a model: displayName, description, public.
func (c *Client) UpdateModel(ctx context.Context, account, id string, m *Model, fields ...string) (*Model, error) {
	return patchMasked(ctx, c, path(account, "models", id), fields, m)
}

// DatasetFiles returns where the files of a dataset can be read for a while.
func (c *Client) DatasetFiles(ctx context.Context, account, id string) (*SignedURLs, error) {
	return get[SignedURLs](ctx, c, path(account, "datasets", id)+":getDownloadEndpoint", nil)
}

// ModelFiles returns where the files of a model can be read for a while.
func (c *Client) ModelFiles(ctx context.Context, account, id string) (*SignedURLs, error) {
	return get[SignedURLs](ctx, c, path(account, "models", id)+":getDownloadEndpoint", nil)
}

// GetUser returns a user.
func (c *Client) GetUser(ctx context.Context, account, id string) (*User, error) {
	return get[User](ctx, c, path(account, "users", id), nil)
}

// GetQuota returns a limit of an account.
func (c *Client) GetQuota(ctx context.Context, account, id string) (*Quota, error) {
	return get[Quota](ctx, c, path(account, "quotas", id), nil)
}

// GetIdentityProvider returns an issuer that the account trusts.
func (c *Client) GetIdentityProvider(ctx context.Context, account, id string) (*IdentityProvider, error) {
	return get[IdentityProvider](ctx, c, path(account, "identityProviders", id), nil)
}

// OpenSigned reads a file by the URL that the server signed. The key is not sent:
// the URL is the permission. A body that ends early is an error of its last read.
func (c *Client) OpenSigned(ctx context.Context, signed string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, signed, nil)
	if err != nil || req.URL.Host == "" {
		return nil, &Error{Kind: "UNKNOWN", Message: "the server's answer holds no URL for the file"}
	}
	if c.UserAgent != "" {
		req.Header.Set("User-Agent", c.UserAgent)
	}
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	resp, err := h.Do(req)
	if err != nil {
		return nil, unavailable(err)
	}
	if resp.StatusCode >= 300 {
		data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		resp.Body.Close()
		return nil, errorOf(resp.StatusCode, resp.Header, data)
	}
	return resp.Body, nil
}
