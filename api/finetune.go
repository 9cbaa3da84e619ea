package api

// SupervisedFineTuningJob trains a LoRA on conversations. Its fields are flat; zero
// means unset.
type SupervisedFineTuningJob struct {
	Name             string       `json:"name"`
	DisplayName      string       `json:"displayName"`
	CreateTime       Time         `json:"createTime"`
	UpdateTime       Time         `json:"updateTime,omitzero"`
	CompletedTime    Time         `json:"completedTime,omitzero"`
	State            string       `json:"state"` // JOB_STATE_...
	Status           Status       `json:"status"`
	CreatedBy        string       `json:"createdBy"`
	Dataset          string       `json:"dataset"`
	OutputModel      string       `json:"outputModel"`
	BaseModel        string       `json:"baseModel,omitempty"`
	WarmStartFrom    string       `json:"warmStartFrom,omitempty"`
	JinjaTemplate    string       `json:"jinjaTemplate,omitempty"`
	EarlyStop        bool         `json:"earlyStop,omitempty"`
	Epochs           int          `json:"epochs,omitempty"`
	LearningRate     float64      `json:"learningRate,omitempty"`
	MaxContextLength int          `json:"maxContextLength,omitempty"`
	LoraRank         int          `json:"loraRank,omitempty"`
	BatchSize        int          `json:"batchSize,omitempty"`
	BatchSizeSamples *int         `json:"batchSizeSamples,omitempty"`
	GradAccumulation int          `json:"gradientAccumulationSteps,omitempty"`
	WarmupSteps      *int         `json:"learningRateWarmupSteps,omitempty"`
	WeightDecay      *float64     `json:"optimizerWeightDecay,omitempty"`
	Region           string       `json:"region,omitempty"`
	EvalDataset      string       `json:"evaluationDataset,omitempty"`
	EvalCarveout     bool         `json:"evalAutoCarveout,omitempty"`
	MTPEnabled       bool         `json:"mtpEnabled,omitempty"`
	JobProgress      *JobProgress `json:"jobProgress,omitempty"`
	Wandb            *WandbConfig `json:"wandbConfig,omitempty"`
	StorageAccess

	Firekeep *StepExtension `json:"firekeep,omitempty"`
}

// DpoJob trains a LoRA on preferences.
type DpoJob struct {
	Name           string          `json:"name"`
	DisplayName    string          `json:"displayName"`
	CreateTime     Time            `json:"createTime"`
	CompletedTime  Time            `json:"completedTime,omitzero"`
	State          string          `json:"state"`
	Status         Status          `json:"status"`
	CreatedBy      string          `json:"createdBy"`
	Dataset        string          `json:"dataset"`
	TrainingConfig *TrainingConfig `json:"trainingConfig,omitempty"`
	LossConfig     *LossConfig     `json:"lossConfig,omitempty"` // DPO unless it says ORPO
	Wandb          *WandbConfig    `json:"wandbConfig,omitempty"`
	StorageAccess

	Firekeep *StepExtension `json:"firekeep,omitempty"`
}

// SFTJobList answers GET supervisedFineTuningJobs.
type SFTJobList struct {
	Jobs []SupervisedFineTuningJob `json:"supervisedFineTuningJobs"`
	Page
}

// DPOJobList answers GET dpoJobs.
type DPOJobList struct {
	Jobs []DpoJob `json:"dpoJobs"`
	Page
}

// SignedURL answers for one file that the server signed a URL for.
type SignedURL struct {
	SignedURL string `json:"signedUrl"`
}

// Checkpoint is a state of a job's weights.
type Checkpoint struct {
	Name           string `json:"name"`
	CreateTime     Time   `json:"createTime"`
	UpdateTime     Time   `json:"updateTime"`
	CheckpointType string `json:"checkpointType"` // CHECKPOINT_TYPE_TRAINING_LORA, CHECKPOINT_TYPE_INFERENCE_LORA
	Promotable     bool   `json:"promotable"`
	Model          string `json:"model,omitempty"` // of an INFERENCE_LORA; not of the contract
}

// PromoteCheckpointRequest makes a model of a checkpoint.
type PromoteCheckpointRequest struct {
	OutputModel  string `json:"outputModel"`            // must not exist
	TrainerJobID string `json:"trainerJobId,omitempty"` // the job, where the path does not name it
	BaseModel    string `json:"baseModel"`              // that of the checkpoint
	// AsyncPromotion asks for an operation; the model is there at once either way.
	AsyncPromotion      bool   `json:"asyncPromotion,omitempty"`
	HotLoadDeploymentID string `json:"hotLoadDeploymentId,omitempty"` // of no use here
}

// PromoteCheckpointResponse holds the new model, which is READY.
type PromoteCheckpointResponse struct {
	Model *Model `json:"model"`
}

// CheckpointList answers GET rlorTrainerJobs/{id}/checkpoints, and those of the other jobs that train.
type CheckpointList struct {
	Checkpoints []Checkpoint `json:"checkpoints"`
	Page
}
