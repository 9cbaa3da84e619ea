package api

import "context"

// EncryptionKey is the key-encryption key of an account: everything that
// Firekeep keeps of the account is sealed under it.
type EncryptionKey struct {
	Name  string `json:"name,omitempty"`  // accounts/{account}/encryptionKey
	KeyID string `json:"keyId,omitempty"` // what envelopes name it by
	// Kind is "local", "aws-kms", "gcp-kms", "azure-key-vault" or "vault-transit".
	Kind string `json:"kind"`
	// Settings say which key it is: {"key": ...}, nothing secret.
	Settings map[string]any `json:"settings,omitempty"`
	// Credential is what the service asks for. It is never returned.
	Credential map[string]any `json:"credential,omitempty"`
	State      string         `json:"state,omitempty"` // ENABLED, DISABLED, SHREDDED
	// Status says whether the key serves at this moment.
	Status     *Status `json:"status,omitempty"`
	Versions   int     `json:"versions,omitempty"` // of a local key
	CreateTime Time    `json:"createTime,omitzero"`
	CreatedBy  string  `json:"createdBy,omitempty"`
	// Before are earlier keys, which open what they wrapped until it is rewrapped.
	Before []EncryptionKey `json:"before,omitempty"`
	// Rewrapped is how many envelopes the operation wrote anew.
	Rewrapped int `json:"rewrapped,omitempty"`
}

// ShredRequest confirms that a key shall be destroyed.
type ShredRequest struct {
	// Confirm is the account's resource name.
	Confirm string `json:"confirm"`
}

func encryptionKey(account, verb string) string { return path(account, "encryptionKey") + verb }

// GetEncryptionKey returns an account's key and tries it.
func (c *Client) GetEncryptionKey(ctx context.Context, account string) (*EncryptionKey, error) {
	return get[EncryptionKey](ctx, c, encryptionKey(account, ""), nil)
}

// SetEncryptionKey gives an account another key and rewraps everything under it.
func (c *Client) SetEncryptionKey(ctx context.Context, account string, k *EncryptionKey) (*EncryptionKey, error) {
	return post[EncryptionKey](ctx, c, encryptionKey(account, ":set"), nil, k)
}

// RotateEncryptionKey gives a local key a new version and rewraps everything.
func (c *Client) RotateEncryptionKey(ctx context.Context, account string) (*EncryptionKey, error) {
	return post[EncryptionKey](ctx, c, encryptionKey(account, ":rotate"), nil, struct{}{})
}

// DisableEncryptionKey stops everything that the key opened, and opens nothing more.
func (c *Client) DisableEncryptionKey(ctx context.Context, account string) (*EncryptionKey, error) {
	return post[EncryptionKey](ctx, c, encryptionKey(account, ":disable"), nil, struct{}{})
}

// EnableEncryptionKey lets a disabled key serve again.
func (c *Client) EnableEncryptionKey(ctx context.Context, account string) (*EncryptionKey, error) {
	return post[EncryptionKey](ctx, c, encryptionKey(account, ":enable"), nil, struct{}{})
}

// ShredEncryptionKey destroys the key: what it sealed is gone for good.
func (c *Client) ShredEncryptionKey(ctx context.Context, account string, r *ShredRequest) (*EncryptionKey, error) {
	return post[EncryptionKey](ctx, c, encryptionKey(account, ":shred"), nil, r)
}
