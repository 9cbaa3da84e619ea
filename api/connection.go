package api

import (
	"context"
	"net/url"
)

// Connection is the way to one prefix of a bucket: a federation with its cloud
// or, as the fallback, a sealed secret. It is Firekeep's own resource: the
// contract has none.
type Connection struct {
	Name        string `json:"name"`
	DisplayName string `json:"displayName"`
	// URL is the prefix that the credential opens: "s3://bucket/prefix/",
	// "gs://bucket/prefix/" or "https://ACCOUNT.blob.core.windows.net/CONTAINER/prefix/".
	// An object belongs to the connection with the longest matching prefix.
	URL string `json:"url"`
	// Auth is "secret" (default), "aws-role", "gcp-wif" or "azure-federated".
	Auth string `json:"auth,omitempty"`
	// Secret is input only: {"access_key_id":..,"secret_access_key":..} for S3,
	// the JSON of a service account key for GCS, {"account_key":..} for Azure.
	Secret map[string]any `json:"secret,omitempty"`
	// One of these goes with an Auth that is not "secret".
	AWS   *AWSRoles  `json:"aws,omitempty"`
	GCP   *GCPPool   `json:"gcp,omitempty"`
	Azure *AzureApps `json:"azure,omitempty"`
	// Encryption is the customer's key for what is written there.
	Encryption *Encryption `json:"encryption,omitempty"`

	CreateTime Time   `json:"createTime"`
	CreatedBy  string `json:"createdBy"`
	// State is "PENDING" (the other side is still to be set up), "READY",
	// "OVER_BROAD" (it reaches further than the prefix; Status names the
	// statement) or "FAILED". Federations serve jobs in state READY only.
	State         string `json:"state"`
	Status        Status `json:"status"`
	CheckTime     Time   `json:"checkTime,omitzero"`
	SecretSetTime Time   `json:"secretSetTime,omitzero"`
	// Warnings are what somebody should look at, such as an old secret.
	Warnings []string `json:"warnings,omitempty"`
	// Trust is what the owner of the bucket sets up. Output of create and get.
	Trust *BucketTrust `json:"trust,omitempty"`
}

// AWSRoles are the roles of an "aws-role" connection: one that reads, one that
// writes, never the same.
type AWSRoles struct {
	ReadRole    string `json:"readRole,omitempty"`
	WriteRole   string `json:"writeRole,omitempty"`
	BucketOwner string `json:"bucketOwner"`
	Region      string `json:"region"`
	SessionTags bool   `json:"sessionTags,omitempty"`
}

// GCPPool is the workload identity provider of a "gcp-wif" connection, and its
// service accounts.
type GCPPool struct {
	Provider            string `json:"provider"`
	ReadServiceAccount  string `json:"readServiceAccount,omitempty"`
	WriteServiceAccount string `json:"writeServiceAccount,omitempty"`
}

// AzureApps are the applications of an "azure-federated" connection.
type AzureApps struct {
	Tenant                string `json:"tenant"`
	ReadClient            string `json:"readClient,omitempty"`
	WriteClient           string `json:"writeClient,omitempty"`
	HierarchicalNamespace bool   `json:"hierarchicalNamespace,omitempty"`
}

// Encryption is a key of the customer: SSE-KMS, CMEK or an encryption scope.
type Encryption struct {
	KMSKeyID   string            `json:"kmsKeyId,omitempty"`
	KMSContext map[string]string `json:"kmsContext,omitempty"`
	KMSKeyName string            `json:"kmsKeyName,omitempty"`
	Scope      string            `json:"scope,omitempty"`
}

// BucketTrust is what the other side of a connection must say, exactly.
type BucketTrust struct {
	Issuer       string      `json:"issuer"`
	Audience     string      `json:"audience"`
	ReadSubject  string      `json:"readSubject,omitempty"`
	WriteSubject string      `json:"writeSubject,omitempty"`
	Proof        string      `json:"proof"`
	Outside      string      `json:"outside,omitempty"`
	Steps        []TrustStep `json:"steps"`
}

// TrustStep is one thing to paste.
type TrustStep struct {
	Title string `json:"title"`
	Text  string `json:"text"`
}

// CreateConnectionRequest is the body of POST connections.
type CreateConnectionRequest struct {
	ConnectionID string      `json:"connectionId"`
	Connection   *Connection `json:"connection"`
}

// RotateConnectionRequest is the body of POST connections/{connection}:rotate.
type RotateConnectionRequest struct {
	Secret map[string]any `json:"secret"`
}

// ConnectionCheck is what probing a connection found.
type ConnectionCheck struct {
	Connection Connection          `json:"connection"`
	Findings   []ConnectionFinding `json:"findings"`
}

// ConnectionFinding is one check. TooWide names the statement of the other side
// that allows what must be refused.
type ConnectionFinding struct {
	Check   string `json:"check"`
	Passed  bool   `json:"passed"`
	Got     string `json:"got"`
	TooWide string `json:"tooWide,omitempty"`
}

// ConnectionList is a page of connections.
type ConnectionList struct {
	Connections []Connection `json:"connections"`
	Page
}

// MintedCredential is the record of a storage credential of a step: what it was
// for, never what opens the bucket.
type MintedCredential struct {
	ID         string `json:"id"`
	Connection string `json:"connection"`
	Auth       string `json:"auth"`
	Scope      string `json:"scope"`  // the prefix or object
	Access     string `json:"access"` // "read" or "write"
	MintTime   Time   `json:"mintTime"`
	ExpireTime Time   `json:"expireTime"`
	DropTime   Time   `json:"dropTime,omitzero"`
	State      string `json:"state"` // "active", "expired" or "dropped"
}

// MintedCredentialList lists the credentials of a step in order.
type MintedCredentialList struct {
	Credentials []MintedCredential `json:"credentials"`
}

// IssuerKeyList says which keys the issuer publishes.
type IssuerKeyList struct {
	Issuer string   `json:"issuer"`
	KeyIDs []string `json:"keyIds"`
}

// ExportIssuerRequest is the body of POST issuer:export.
type ExportIssuerRequest struct {
	URL string `json:"url"`
}

// CreateConnection makes a connection: it seals a secret, or describes the
// federation that the owner of the bucket is to set up.
func (c *Client) CreateConnection(ctx context.Context, account, id string, conn *Connection) (*Connection, error) {
	return post[Connection](ctx, c, path(account, "connections"), nil, CreateConnectionRequest{id, conn})
}

// ListConnections lists connections, without their secrets.
func (c *Client) ListConnections(ctx context.Context, account string, o ListOptions) (*ConnectionList, error) {
	return get[ConnectionList](ctx, c, path(account, "connections"), o.values())
}

// GetConnection returns a connection, without its secret.
func (c *Client) GetConnection(ctx context.Context, account, id string) (*Connection, error) {
	return get[Connection](ctx, c, path(account, "connections", id), nil)
}

// CheckConnection probes what a connection can do and what it must not.
func (c *Client) CheckConnection(ctx context.Context, account, id string) (*ConnectionCheck, error) {
	return post[ConnectionCheck](ctx, c, path(account, "connections", id)+":check", nil, struct{}{})
}

// RotateConnection replaces the secret of a connection.
func (c *Client) RotateConnection(ctx context.Context, account, id string, secret map[string]any) (*Connection, error) {
	return post[Connection](ctx, c, path(account, "connections", id)+":rotate", nil, RotateConnectionRequest{secret})
}

// DeleteConnection forgets a connection.
func (c *Client) DeleteConnection(ctx context.Context, account, id string) error {
	return c.call(ctx, "DELETE", path(account, "connections", id), nil, nil, nil)
}

// StepCredentials lists the storage credentials that were minted for a step.
func (c *Client) StepCredentials(ctx context.Context, account, id string) (*MintedCredentialList, error) {
	return get[MintedCredentialList](ctx, c, path(account, "rlorTrainerJobs", id, "credentials"), nil)
}

// RotateIssuer withdraws the issuer's key and signs with the next at once. It
// needs the operator's key.
func (c *Client) RotateIssuer(ctx context.Context) (*IssuerKeyList, error) {
	return post[IssuerKeyList](ctx, c, "/v1/issuer:rotate", nil, struct{}{})
}

// ExportIssuer publishes the issuer's documents in a bucket. It needs the
// operator's key.
func (c *Client) ExportIssuer(ctx context.Context, to string) (*IssuerKeyList, error) {
	return post[IssuerKeyList](ctx, c, "/v1/issuer:export", nil, ExportIssuerRequest{to})
}

// IssuerDocument fetches one of the issuer's public documents; at is its path on
// this server.
func (c *Client) IssuerDocument(ctx context.Context, at string) (map[string]any, error) {
	out, err := get[map[string]any](ctx, c, (&url.URL{Path: at}).EscapedPath(), nil)
	if err != nil {
		return nil, err
	}
	return *out, nil
}
