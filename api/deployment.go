package api

// Deployment serves one base model. The fields that only a fleet of
// accelerators gives a meaning are accepted and echoed.
type Deployment struct {
	Name                string             `json:"name"`
	DisplayName         string             `json:"displayName"`
	Description         string             `json:"description"`
	CreateTime          Time               `json:"createTime"`
	UpdateTime          Time               `json:"updateTime,omitzero"`
	DeleteTime          Time               `json:"deleteTime,omitzero"`
	PurgeTime           Time               `json:"purgeTime,omitzero"`
	CreatedBy           string             `json:"createdBy"`
	State               string             `json:"state"` // CREATING, READY, DELETING, FAILED
	Status              Status             `json:"status"`
	BaseModel           string             `json:"baseModel"`
	MinReplicaCount     int                `json:"minReplicaCount"`
	MaxReplicaCount     int                `json:"maxReplicaCount"`
	DesiredReplicaCount int                `json:"desiredReplicaCount"`
	ReplicaCount        int                `json:"replicaCount"`
	ReplicaStats        *ReplicaStats      `json:"replicaStats,omitempty"`
	AutoscalingPolicy   *AutoscalingPolicy `json:"autoscalingPolicy,omitempty"`
	AcceleratorCount    int                `json:"acceleratorCount"`
	AcceleratorType     string             `json:"acceleratorType"`
	Precision           string             `json:"precision"`
	MaxContextLength    int                `json:"maxContextLength"`
	EnableAddons        bool               `json:"enableAddons"`
	EnableHotReload     bool               `json:"enableHotReloadLatestAddon"`
	DirectRouteType     string             `json:"directRouteType"`
	Placement           *Placement         `json:"placement,omitempty"`
	Region              string             `json:"region"`
	DeploymentShape     string             `json:"deploymentShape"`
	Annotations         map[string]string  `json:"annotations,omitempty"`
}

// ReplicaStats counts replicas by what they do. Output only.
type ReplicaStats struct {
	PendingScheduling int `json:"pendingSchedulingReplicaCount"`
	DownloadingModel  int `json:"downloadingModelReplicaCount"`
	Initializing      int `json:"initializingReplicaCount"`
	Ready             int `json:"readyReplicaCount"`
}

// ScaleDeploymentRequest is the body of PATCH deployments/{id}:scale.
type ScaleDeploymentRequest struct {
	ReplicaCount int `json:"replicaCount"`
}

// AutoscalingPolicy says when replicas come and go. Of it, scaleToZeroWindow has
// an effect on one host; the rest is echoed.
type AutoscalingPolicy struct {
	ScaleUpWindow     *Duration          `json:"scaleUpWindow,omitempty"`
	ScaleDownWindow   *Duration          `json:"scaleDownWindow,omitempty"`
	ScaleToZeroWindow *Duration          `json:"scaleToZeroWindow,omitempty"`
	LoadTargets       map[string]float64 `json:"loadTargets,omitempty"`
}

// Placement is echoed unchanged.
type Placement struct {
	Region      string   `json:"region,omitempty"`
	MultiRegion string   `json:"multiRegion,omitempty"`
	Regions     []string `json:"regions,omitempty"`
}

// DeployedModel is a model loaded on a deployment.
type DeployedModel struct {
	Name        string `json:"name"`
	DisplayName string `json:"displayName"`
	Description string `json:"description"`
	CreateTime  Time   `json:"createTime"`
	UpdateTime  Time   `json:"updateTime,omitzero"`
	Model       string `json:"model"`
	Deployment  string `json:"deployment"`
	Default     bool   `json:"default"`
	State       string `json:"state"` // DEPLOYING, DEPLOYED, UNDEPLOYING
	Serverless  bool   `json:"serverless"`
	Status      Status `json:"status"`
	Public      bool   `json:"public"`
}
