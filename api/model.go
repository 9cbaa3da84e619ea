package api

import "encoding/json"

// Model is a base model or a LoRA checkpoint.
type Model struct {
	Name             string            `json:"name"`
	DisplayName      string            `json:"displayName"`
	Description      string            `json:"description"`
	CreateTime       Time              `json:"createTime"`
	UpdateTime       Time              `json:"updateTime,omitzero"`
	State            string            `json:"state"` // UPLOADING, READY
	Status           Status            `json:"status"`
	Kind             string            `json:"kind"` // HF_BASE_MODEL, HF_PEFT_ADDON, ...
	BaseModelDetails *BaseModelDetails `json:"baseModelDetails,omitempty"`
	PeftDetails      *PeftDetails      `json:"peftDetails,omitempty"`
	Public           bool              `json:"public"`
	ContextLength    int               `json:"contextLength"`
	SupportsLora     bool              `json:"supportsLora"`
	// SupportsServerless: it answers by its own name, without a deployment.
	SupportsServerless bool               `json:"supportsServerless"`
	SupportsTools      bool               `json:"supportsTools"`
	ImportedFrom       string             `json:"importedFrom,omitempty"`
	FineTuningJob      string             `json:"fineTuningJob,omitempty"`
	DeployedModelRefs  []DeployedModelRef `json:"deployedModelRefs,omitempty"`
	Tunable            bool               `json:"tunable"`
	RLTunable          bool               `json:"rlTunable"`
	RLLoraTunable      bool               `json:"rlLoraTunable"`

	Firekeep *ModelExtension `json:"firekeep,omitempty"`
}

// BaseModelDetails describes a base model.
type BaseModelDetails struct {
	CheckpointFormat string `json:"checkpointFormat,omitempty"`
	ParameterCount   Int64  `json:"parameterCount"`
	ModelType        string `json:"modelType,omitempty"`
	Tunable          bool   `json:"tunable"`
}

// PeftDetails describes a LoRA.
type PeftDetails struct {
	BaseModel     string   `json:"baseModel"` // the root base model, never another LoRA
	R             int      `json:"r"`
	TargetModules []string `json:"targetModules"`
	BaseModelType string   `json:"baseModelType,omitempty"`
}

// DeployedModelRef says where a model is deployed.
type DeployedModelRef struct {
	Name       string `json:"name"`
	Deployment string `json:"deployment"`
	State      string `json:"state"`
	Default    bool   `json:"default"`
	Public     bool   `json:"public"`
}

// ModelExtension is what Firekeep adds to a model.
type ModelExtension struct {
	// Source is where to import from: file://, s3://, gs://, hf://ORG/NAME.
	// Input at creation; importedFrom repeats it.
	Source string `json:"source,omitempty"`
	// Digest of the prepared weights or of the checkpoint: "sha256:hex".
	Digest string `json:"digest,omitempty"`
	Bytes  Int64  `json:"bytes,omitempty"`
	// Family, Parameters and HasChatTemplate describe a base.
	Family          string `json:"family,omitempty"`
	HasChatTemplate bool   `json:"hasChatTemplate,omitempty"`
	// WarmStartFrom, LoraAlpha and Updates describe a checkpoint.
	WarmStartFrom string  `json:"warmStartFrom,omitempty"`
	LoraAlpha     float64 `json:"loraAlpha,omitempty"`
	Updates       Int64   `json:"updates,omitempty"`
	KernelLevel   string  `json:"kernelLevel,omitempty"`
	Precision     string  `json:"precision,omitempty"`
	// Signed says that a signature of this installation lies beside the model.
	Signed bool `json:"signed,omitempty"`
}

// CreateModelRequest is the body of POST models. A model with a source is
// imported; its state is UPLOADING until the import is done.
type CreateModelRequest struct {
	ModelID string `json:"modelId"`
	Cluster string `json:"cluster,omitempty"`
	Model   *Model `json:"model"`
}

// ImportModelRequest is the body of POST models/{id}:import: where the files of a
// model lie that waits for them. Credentials are those of the account's connections;
// the fields for others are refused by name.
type ImportModelRequest struct {
	AwsS3Source     *AwsS3ModelSource     `json:"awsS3Source,omitempty"`
	AzureBlobSource *AzureBlobModelSource `json:"azureBlobSource,omitempty"`
}

// AwsS3ModelSource is s3://{s3Bucket}/{s3Path}/, or the GGUF file of that name.
type AwsS3ModelSource struct {
	S3Bucket     string `json:"s3Bucket"`
	S3Path       string `json:"s3Path"`
	RoleARN      string `json:"roleArn,omitempty"`
	AccessKeyID  string `json:"accessKeyId,omitempty"`
	AccessSecret string `json:"accessSecret,omitempty"`
}

// AzureBlobModelSource is https://{storageAccount}.blob.core.windows.net/{container}/{path}/.
type AzureBlobModelSource struct {
	StorageAccount string `json:"storageAccount"`
	Container      string `json:"container"`
	Path           string `json:"path"`
	SASTokenSecret string `json:"sasTokenSecret,omitempty"`
	ClientID       string `json:"clientId,omitempty"`
	TenantID       string `json:"tenantId,omitempty"`
}

// ExportModelRequest is the body of POST models/{id}:export, Firekeep's own verb.
type ExportModelRequest struct {
	Destination string `json:"destination"` // a prefix of a bucket
}

// Operation is work that goes on after its request was answered.
type Operation struct {
	Name     string          `json:"name"`
	Done     bool            `json:"done"`
	Error    *Status         `json:"error,omitempty"`
	Metadata *OperationState `json:"metadata,omitempty"`
	// Response of a finished export: its url, files and bytes.
	Response json.RawMessage `json:"response,omitempty"`
}

// OperationState is the progress of an Operation.
type OperationState struct {
	Kind    string `json:"kind"` // "import", "export", "validation"
	Target  string `json:"target"`
	State   string `json:"state"`
	Percent int    `json:"percent"`
}

// ModelUploadVerdict answers GET models/{id}:validateUpload.
type ModelUploadVerdict struct {
	Warnings []string `json:"warnings"`
}
