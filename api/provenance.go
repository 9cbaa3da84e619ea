package api

import (
	"context"
	"encoding/json"
)

// ModelPolicy is what an account demands of models that come in and go out.
type ModelPolicy struct {
	// RequireSignature refuses imports of sources without a valid signature.
	RequireSignature bool `json:"requireSignature,omitempty"`
	// TrustedKeys are public keys (PEM) that sign models elsewhere.
	TrustedKeys []string `json:"trustedKeys,omitempty"`
	// Destinations are the prefixes that exports may go to; absent = any.
	Destinations []string `json:"destinations,omitempty"`
	// RequireApproval makes each export wait for another principal.
	RequireApproval bool `json:"requireApproval,omitempty"`
	// Require are results that a model must have reached to be exported.
	Require []ResultThreshold `json:"require,omitempty"`
}

// ResultThreshold demands a metric of the last update of a model's training.
type ResultThreshold struct {
	Metric string   `json:"metric"`
	Min    *float64 `json:"min,omitempty"`
	Max    *float64 `json:"max,omitempty"`
}

// ExportRequest is an export that waits for another principal, or did.
type ExportRequest struct {
	Name        string `json:"name"`
	Model       string `json:"model"`
	Digest      string `json:"digest"` // of the version that may leave
	Destination string `json:"destination"`
	State       string `json:"state"` // AWAITING_APPROVAL, APPROVED, REJECTED, EXPIRED
	RequestedBy string `json:"requestedBy"`
	DecidedBy   string `json:"decidedBy,omitempty"`
	Reason      string `json:"reason,omitempty"`
	CreateTime  Time   `json:"createTime,omitzero"`
	ExpireTime  Time   `json:"expireTime,omitzero"`
	DecideTime  Time   `json:"decideTime,omitzero"`
}

// ExportRequestList is a page of export requests.
type ExportRequestList struct {
	Requests []ExportRequest `json:"exportRequests"`
	Page
}

// RejectExportRequest is the body of POST exportRequests/{id}:reject.
type RejectExportRequest struct {
	Reason string `json:"reason,omitempty"`
}

// SigningKey is the key that an installation signs models with.
type SigningKey struct {
	ID  string `json:"id"`  // hex SHA-256 of PEM, the hint of model signatures
	PEM string `json:"pem"` // public part
	// Retired are keys that signed before and still verify.
	Retired []SigningKey `json:"retired,omitempty"`
}

// RegistryLogin is how an account signs in to an OCI registry. The password
// goes in and never comes out; an empty one removes the login.
type RegistryLogin struct {
	Host     string `json:"host"`
	Username string `json:"username"`
	Password string `json:"password,omitempty"`
}

// ModelAttestation is the signed statements about a model.
type ModelAttestation struct {
	Model      string          `json:"model"`
	Key        string          `json:"key"`
	Signature  json.RawMessage `json:"signature"`  // Sigstore bundle of OpenSSF Model Signing
	Provenance json.RawMessage `json:"provenance"` // DSSE envelope of SLSA provenance
	BOM        json.RawMessage `json:"bom"`        // CycloneDX
}

// GetModelPolicy returns an account's policy.
func (c *Client) GetModelPolicy(ctx context.Context, account string) (*ModelPolicy, error) {
	return get[ModelPolicy](ctx, c, path(account, "modelPolicy"), nil)
}

// SetModelPolicy replaces an account's policy by the JSON of a ModelPolicy.
func (c *Client) SetModelPolicy(ctx context.Context, account string, policy json.RawMessage) (*ModelPolicy, error) {
	var out ModelPolicy
	return &out, c.call(ctx, "PUT", path(account, "modelPolicy"), nil, policy, &out)
}

// ListExportRequests lists export requests.
func (c *Client) ListExportRequests(ctx context.Context, account string, o ListOptions) (*ExportRequestList, error) {
	return get[ExportRequestList](ctx, c, path(account, "exportRequests"), o.values())
}

// ApproveExport lets another principal's export run.
func (c *Client) ApproveExport(ctx context.Context, account, id string) (*ExportRequest, error) {
	return post[ExportRequest](ctx, c, path(account, "exportRequests", id)+":approve", nil, struct{}{})
}

// RejectExport ends an export request.
func (c *Client) RejectExport(ctx context.Context, account, id, reason string) (*ExportRequest, error) {
	return post[ExportRequest](ctx, c, path(account, "exportRequests", id)+":reject", nil, RejectExportRequest{reason})
}

// SignModel signs a model as it lies there.
func (c *Client) SignModel(ctx context.Context, account, id string) (*Model, error) {
	return post[Model](ctx, c, path(account, "models", id)+":sign", nil, struct{}{})
}

// GetModelAttestation returns the signed statements about a model.
func (c *Client) GetModelAttestation(ctx context.Context, account, id string) (*ModelAttestation, error) {
	return get[ModelAttestation](ctx, c, path(account, "models", id, "attestation"), nil)
}

// GetSigningKey returns the installation's public key for models.
func (c *Client) GetSigningKey(ctx context.Context, account string) (*SigningKey, error) {
	return get[SigningKey](ctx, c, path(account, "modelSigningKey"), nil)
}

// RotateSigningKey makes a new key sign models from now on.
func (c *Client) RotateSigningKey(ctx context.Context, account string) (*SigningKey, error) {
	return post[SigningKey](ctx, c, path(account, "modelSigningKey")+":rotate", nil, struct{}{})
}

// SetRegistryLogin stores a login of an OCI registry.
func (c *Client) SetRegistryLogin(ctx context.Context, account string, l RegistryLogin) error {
	return c.call(ctx, "POST", path(account, "registryLogins"), nil, l, nil)
}
