package api

// Roles of the contract are strings of User.Role. What follows here is
// Firekeep's own where no contract has it.

// KeyScope narrows an API key: never more than its user may do.
type KeyScope struct {
	Roles     []string `json:"roles,omitempty"`     // "inference-user"
	Actions   []string `json:"actions,omitempty"`   // "models.get", "models.*"
	Resources []string `json:"resources,omitempty"` // "accounts/a/models/m", "accounts/a/models/m*"
}

// RotateAPIKeyRequest is the body of POST users/{user}/apiKeys:rotate. The old
// key works on for OverlapSeconds, a day if absent.
type RotateAPIKeyRequest struct {
	KeyID          string `json:"keyId"`
	OverlapSeconds *Int64 `json:"overlapSeconds"`
	ExpireTime     Time   `json:"expireTime,omitzero"`
}

// NewAccount is the answer to the creation of a tenant: the only place where its
// first key is shown.
type NewAccount struct {
	Account Account `json:"account"`
	APIKey  APIKey  `json:"apiKey"`
}

// Role is a custom role: Cedar policies that users with role "custom" and this
// permissionPreset have.
type Role struct {
	Name        string `json:"name"`
	DisplayName string `json:"displayName"`
	Policy      string `json:"policy"`
	CreatedBy   string `json:"createdBy"`
	CreateTime  Time   `json:"createTime"`
	UpdateTime  Time   `json:"updateTime,omitzero"`
}

// CreateRoleRequest is the body of POST roles.
type CreateRoleRequest struct {
	RoleID string `json:"roleId"`
	Role   *Role  `json:"role"`
}

// Quota is a limit of an account.
type Quota struct {
	Name       string  `json:"name"`
	Value      Int64   `json:"value"`
	MaxValue   Int64   `json:"maxValue"`
	Usage      float64 `json:"usage"`
	UpdateTime Time    `json:"updateTime,omitzero"`
}

// IdentityProvider is an issuer of tokens that an account trusts.
type IdentityProvider struct {
	Name        string      `json:"name"`
	DisplayName string      `json:"displayName"`
	OIDCConfig  *OIDCConfig `json:"oidcConfig"`
	// Kind is "login" (people) or "workload" (jobs outside).
	Kind       string `json:"kind"`
	Trust      *Trust `json:"trust"`
	CreatedBy  string `json:"createdBy"`
	CreateTime Time   `json:"createTime"`
	State      string `json:"state"`
	Status     Status `json:"status"`
}

// OIDCConfig names the issuer, and the audience that its tokens must have.
type OIDCConfig struct {
	IssuerURL string `json:"issuerUrl"`
	ClientID  string `json:"clientId"`
}

// Trust says who the subjects of an issuer are.
type Trust struct {
	Subject     string            `json:"subject,omitempty"`
	Claims      map[string]string `json:"claims,omitempty"`
	User        string            `json:"user,omitempty"`
	GroupsClaim string            `json:"groupsClaim,omitempty"`
	Roles       map[string]string `json:"roles,omitempty"`
	DefaultRole string            `json:"defaultRole,omitempty"`
	Scope       *KeyScope         `json:"scope,omitempty"`
	LifeSeconds Int64             `json:"lifeSeconds,omitempty"`
}

// CreateIdentityProviderRequest is the body of POST identityProviders.
type CreateIdentityProviderRequest struct {
	IdentityProviderID string            `json:"identityProviderId"`
	IdentityProvider   *IdentityProvider `json:"identityProvider"`
}

// Token is the answer to a token exchange, in the shape of RFC 8693.
type Token struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int64  `json:"expires_in"`
	Account         string `json:"account"`
	User            string `json:"user"`
}

// AccessReview says who can do what in an account, and with which keys.
type AccessReview struct {
	Name    string         `json:"name"`
	Account string         `json:"account"`
	Users   []AccessOfUser `json:"users"`
	Trusts  []AccessTrust  `json:"trusts"`
	// Digest is over all of the above except when keys were last used; signing off
	// names it, so that what is signed is what was seen.
	Digest     string `json:"digest"`
	CreateTime Time   `json:"createTime,omitzero"`
	SignedBy   string `json:"signedBy,omitempty"`
	Comment    string `json:"comment,omitempty"`
}

// AccessOfUser is what one user may do.
type AccessOfUser struct {
	User           string `json:"user"`
	Email          string `json:"email,omitempty"`
	ServiceAccount bool   `json:"serviceAccount"`
	Role           string `json:"role"`
	Preset         string `json:"permissionPreset,omitempty"`
	Read           bool   `json:"read"`
	Train          bool   `json:"train"`
	Serve          bool   `json:"serve"`
	Export         bool   `json:"export"`
	Administer     bool   `json:"administer"`
	// Actions are allowed on everything of the account, OwnActions on what the
	// user made, SomeActions on the resources listed behind each.
	Actions     []string            `json:"actions"`
	OwnActions  []string            `json:"ownActions"`
	SomeActions map[string][]string `json:"someActions,omitempty"`
	Keys        []AccessKey         `json:"keys"`
}

// AccessKey is a key that works.
type AccessKey struct {
	KeyID       string    `json:"keyId"`
	DisplayName string    `json:"displayName"`
	Kind        string    `json:"kind"`
	Scope       *KeyScope `json:"scope,omitempty"`
	CreateTime  Time      `json:"createTime"`
	ExpireTime  Time      `json:"expireTime,omitzero"`
	LastUsed    Time      `json:"lastUsed,omitzero"`
}

// AccessTrust is an issuer whose tokens open the account.
type AccessTrust struct {
	Provider string `json:"provider"`
	Kind     string `json:"kind"`
	Issuer   string `json:"issuer"`
	Audience string `json:"audience"`
	Trust    *Trust `json:"trust"`
}

// SignReviewRequest is the body of POST accessReviews.
type SignReviewRequest struct {
	Digest  string `json:"digest"`
	Comment string `json:"comment"`
}

// The list envelopes.
type (
	RoleList struct {
		Roles []Role `json:"roles"`
		Page
	}
	QuotaList struct {
		Quotas []Quota `json:"quotas"`
		Page
	}
	IdentityProviderList struct {
		IdentityProviders []IdentityProvider `json:"identityProviders"`
		Page
	}
	AccessReviewList struct {
		AccessReviews []AccessReview `json:"accessReviews"`
		Page
	}
)
