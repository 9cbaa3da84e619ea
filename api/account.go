package api

// Status is the condition of a resource. Code is the name of a gRPC status.
type Status struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Account is a tenant.
type Account struct {
	Name         string `json:"name"`
	DisplayName  string `json:"displayName"`
	CreateTime   Time   `json:"createTime"`
	UpdateTime   Time   `json:"updateTime,omitzero"`
	AccountType  string `json:"accountType"`
	Email        string `json:"email"`
	State        string `json:"state"`
	Status       Status `json:"status"`
	SuspendState string `json:"suspendState"`
}

// User is a person or a service account of an account.
type User struct {
	Name           string `json:"name"`
	DisplayName    string `json:"displayName"`
	ServiceAccount bool   `json:"serviceAccount"`
	CreateTime     Time   `json:"createTime"`
	UpdateTime     Time   `json:"updateTime,omitzero"`
	// Role is one of "admin", "user", "contributor", "inference-user" and "custom",
	// which needs a PermissionPreset: the id of a role of the account.
	Role             string `json:"role"`
	PermissionPreset string `json:"permissionPreset,omitempty"`
	Email            string `json:"email"`
	State            string `json:"state"`
	Status           Status `json:"status"`
}

// APIKey is an API key. Key is set in the answer to its creation and never again.
type APIKey struct {
	KeyID       string            `json:"keyId"`
	DisplayName string            `json:"displayName"`
	Key         string            `json:"key,omitempty"`
	CreateTime  Time              `json:"createTime"`
	ExpireTime  Time              `json:"expireTime,omitzero"`
	LastUsed    Time              `json:"lastUsed,omitzero"`
	Secure      bool              `json:"secure"`
	Email       string            `json:"email"`
	Prefix      string            `json:"prefix"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// Scope narrows the key; Kind is "key", "login" or "workload"; Replaces is the key
	// that this one was rotated from. Firekeep's own.
	Scope    *KeyScope `json:"scope,omitempty"`
	Kind     string    `json:"kind,omitempty"`
	Replaces string    `json:"replaces,omitempty"`
}

// CreateAPIKeyRequest is the body of POST users/{user}/apiKeys.
type CreateAPIKeyRequest struct {
	APIKey *APIKey `json:"apiKey"`
}

// DeleteAPIKeyRequest is the body of POST users/{user}/apiKeys:delete.
type DeleteAPIKeyRequest struct {
	KeyID string `json:"keyId"`
}

// Page is what every list answers beside its items.
type Page struct {
	NextPageToken string `json:"nextPageToken"`
	TotalSize     int    `json:"totalSize"`
}

// The list envelopes of the contract.
type (
	AccountList struct {
		Accounts []Account `json:"accounts"`
		Page
	}
	UserList struct {
		Users []User `json:"users"`
		Page
	}
	APIKeyList struct {
		APIKeys []APIKey `json:"apiKeys"`
		Page
	}
	DatasetList struct {
		Datasets []Dataset `json:"datasets"`
		Page
	}
	ModelList struct {
		Models []Model `json:"models"`
		Page
	}
	StepList struct {
		Steps []RlorTrainerJob `json:"rlorTrainerJobs"`
		Page
	}
	DeploymentList struct {
		Deployments []Deployment `json:"deployments"`
		Page
	}
	DeployedModelList struct {
		DeployedModels []DeployedModel `json:"deployedModels"`
		Page
	}
)
