package api

// RlorTrainerJob is a reinforcement step: a dataset of scored samples in, a new
// LoRA checkpoint out.
type RlorTrainerJob struct {
	Name           string          `json:"name"`
	DisplayName    string          `json:"displayName"`
	CreateTime     Time            `json:"createTime"`
	CompletedTime  Time            `json:"completedTime,omitzero"`
	State          string          `json:"state"` // JOB_STATE_...
	Status         Status          `json:"status"`
	CreatedBy      string          `json:"createdBy"`
	Dataset        string          `json:"dataset"`
	TrainingConfig *TrainingConfig `json:"trainingConfig,omitempty"`
	// RewardWeights entries are "key=weight" or a bare key of weight 1.
	RewardWeights   []string     `json:"rewardWeights"`
	LossConfig      *LossConfig  `json:"lossConfig,omitempty"`
	JobProgress     *JobProgress `json:"jobProgress,omitempty"`
	KeepAlive       bool         `json:"keepAlive"`
	NodeCount       int          `json:"nodeCount,omitempty"`
	ServiceMode     bool         `json:"serviceMode,omitempty"`
	EvalDataset     string       `json:"evaluationDataset,omitempty"`
	EvalCarveout    bool         `json:"evalAutoCarveout,omitempty"`
	RolloutDeployed string       `json:"rolloutDeploymentName,omitempty"`
	// OutputModel is a tolerated alias of trainingConfig.outputModel, input only.
	OutputModel string       `json:"outputModel,omitempty"`
	Wandb       *WandbConfig `json:"wandbConfig,omitempty"`
	StorageAccess

	Firekeep *StepExtension `json:"firekeep,omitempty"`
}

// StorageAccess names credentials for buckets. Jobs take those of the account's
// connections, so these are refused by name.
type StorageAccess struct {
	AwsS3Config            *AwsS3Config            `json:"awsS3Config,omitempty"`
	AzureBlobStorageConfig *AzureBlobStorageConfig `json:"azureBlobStorageConfig,omitempty"`
}

// AwsS3Config is the contract's.
type AwsS3Config struct {
	CredentialsSecret string `json:"credentialsSecret,omitempty"`
	IAMRoleARN        string `json:"iamRoleArn,omitempty"`
}

// AzureBlobStorageConfig is the contract's.
type AzureBlobStorageConfig struct {
	CredentialsSecret       string `json:"credentialsSecret,omitempty"`
	ManagedIdentityClientID string `json:"managedIdentityClientId,omitempty"`
	TenantID                string `json:"tenantId,omitempty"`
}

// WandbConfig asks for metrics to be sent to Weights & Biases. Nothing of it but
// this is read, its API key least of all.
type WandbConfig struct {
	Enabled bool `json:"enabled,omitempty"`
}

// TrainingConfig is the contract's BaseTrainingConfig. Zero means unset, but for
// the pointers: their zero has a meaning.
type TrainingConfig struct {
	OutputModel      string   `json:"outputModel,omitempty"`
	BaseModel        string   `json:"baseModel,omitempty"`
	WarmStartFrom    string   `json:"warmStartFrom,omitempty"`
	JinjaTemplate    string   `json:"jinjaTemplate,omitempty"`
	LearningRate     float64  `json:"learningRate,omitempty"`
	MaxContextLength int      `json:"maxContextLength,omitempty"`
	LoraRank         int      `json:"loraRank,omitempty"`
	Epochs           int      `json:"epochs,omitempty"`
	BatchSize        int      `json:"batchSize,omitempty"`
	BatchSizeSamples *int     `json:"batchSizeSamples,omitempty"`
	GradAccumulation int      `json:"gradientAccumulationSteps,omitempty"`
	WarmupSteps      *int     `json:"learningRateWarmupSteps,omitempty"`
	WeightDecay      *float64 `json:"optimizerWeightDecay,omitempty"`
	LoraAlpha        float64  `json:"loraAlpha,omitempty"`
	LoraDropout      float64  `json:"loraDropout,omitempty"`
	LoraTargets      []string `json:"loraTargetModules,omitempty"`
	Region           string   `json:"region,omitempty"`
	AcceleratorType  string   `json:"acceleratorType,omitempty"`
	AcceleratorCount int      `json:"acceleratorCount,omitempty"`
}

// LossConfig chooses the loss.
type LossConfig struct {
	Method string    `json:"method,omitempty"` // GRPO, DAPO, GSPO_TOKEN, DPO, ORPO; METHOD_UNSPECIFIED for those of StepExtension
	KLBeta *float64  `json:"klBeta,omitempty"`
	DPO    *DPOLoss  `json:"dpo,omitempty"`
	ORPO   *ORPOLoss `json:"orpo,omitempty"`
}

// DPOLoss are the parameters of DPO. How the reference is cached is the
// server's affair; the two last fields are accepted and not used.
type DPOLoss struct {
	Beta                float64 `json:"beta,omitempty"` // above 0, below 0.5
	RefCacheConcurrency int     `json:"refCacheConcurrency,omitempty"`
	RefCacheBatchSize   int     `json:"refCacheBatchSize,omitempty"`
}

// ORPOLoss are the parameters of ORPO.
type ORPOLoss struct {
	Lambda float64 `json:"lambda,omitempty"`
}

// JobProgress is how far a job is.
type JobProgress struct {
	Percent                int `json:"percent"`
	Epoch                  int `json:"epoch"`
	TotalInputRequests     int `json:"totalInputRequests"`
	TotalProcessedRequests int `json:"totalProcessedRequests"`
	InputTokens            int `json:"inputTokens"`
	OutputRows             int `json:"outputRows"`
	// Of batch inference jobs.
	SucceededRequests int `json:"successfullyProcessedRequests,omitempty"`
	FailedRequests    int `json:"failedRequests,omitempty"`
	OutputTokens      int `json:"outputTokens,omitempty"`
	CachedInputTokens int `json:"cachedInputTokenCount,omitempty"`
}

// StepExtension holds the parameters and the answers that the contract has no
// place for. A nil pointer is the default of docs/reinforcement.md.
type StepExtension struct {
	// LossMethod names a loss that the contract has no name for: PPO, DR_GRPO,
	// CISPO, IMPORTANCE_SAMPLING, SFT. In answers it names every loss.
	LossMethod           string   `json:"lossMethod,omitempty"`
	OverlongMaxTokens    *int     `json:"overlongMaxTokens,omitempty"`
	OverlongBufferTokens *int     `json:"overlongBufferTokens,omitempty"`
	Seed                 *Int64   `json:"seed,omitempty"`
	LoraAlpha            *float64 `json:"loraAlpha,omitempty"`
	LoraTargetModules    []string `json:"loraTargetModules,omitempty"`
	ScaleRewards         string   `json:"scaleRewards,omitempty"`      // "group", "none"
	AdvantageBaseline    string   `json:"advantageBaseline,omitempty"` // "group", "batch", "constant"
	AdvantageConstant    *float64 `json:"advantageConstant,omitempty"`
	KLReference          string   `json:"klReference,omitempty"` // "base", "incoming"
	TISCap               *float64 `json:"tisCap,omitempty"`
	OffPolicyThreshold   *float64 `json:"offPolicyThreshold,omitempty"`
	ClipLow              *float64 `json:"clipLow,omitempty"`
	ClipHigh             *float64 `json:"clipHigh,omitempty"`
	DualClip             *float64 `json:"dualClip,omitempty"`
	Beta1                *float64 `json:"beta1,omitempty"`
	Beta2                *float64 `json:"beta2,omitempty"`
	Epsilon              *float64 `json:"epsilon,omitempty"`
	MaxGradNorm          *float64 `json:"maxGradNorm,omitempty"`
	OnNoSignal           string   `json:"onNoSignal,omitempty"` // "complete", "fail"
	ResumeEvery          *int     `json:"resumeEvery,omitempty"`
	AllowParameterChange bool     `json:"allowParameterChange,omitempty"`
	AllowKernelChange    bool     `json:"allowKernelChange,omitempty"`
	Precision            string   `json:"precision,omitempty"` // "auto", "float32", "bfloat16"
	// MemoryBytes limits what the step may use besides the base weights, which all
	// engines of the host share: blocks are computed twice rather than kept where it
	// asks for that, and the result is the same to the byte. The host's own limit
	// stands; 0 = that.
	MemoryBytes Int64 `json:"memoryBytes,omitempty"`
	// MetricsURL is a prefix such as s3://acme/runs/, under which a connection may
	// write: the metrics of the job go to {outputModel id}/metrics.jsonl there.
	MetricsURL  string            `json:"metricsUrl,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`

	// Output only.
	// Evaluation is what the rows of evaluationDataset said about the result.
	Evaluation *StepEvaluation `json:"evaluation,omitempty"`
	// Steps are the newest steps of a keep-alive trainer, the newest first.
	Steps []TrainerStep `json:"steps,omitempty"`
	Ran   *RanOn        `json:"ran,omitempty"`
	// NoSignal: the step is COMPLETED, but no sample carried a gradient and the
	// new checkpoint has the incoming weights. status.message says so too.
	NoSignal   bool    `json:"noSignal,omitempty"`
	Attempt    int     `json:"attempt,omitempty"`
	Update     Int64   `json:"update,omitempty"`
	ETASeconds float64 `json:"etaSeconds,omitempty"`
	Stage      string  `json:"stage,omitempty"`
}

// TrainerStep is one executed step of a keep-alive trainer.
type TrainerStep struct {
	Dataset       string       `json:"dataset"`
	OutputModel   string       `json:"outputModel"`
	State         string       `json:"state"`
	Status        Status       `json:"status"`
	JobProgress   *JobProgress `json:"jobProgress,omitempty"`
	CreateTime    Time         `json:"createTime"`
	CompletedTime Time         `json:"completedTime,omitzero"`

	Evaluation *StepEvaluation `json:"evaluation,omitempty"`
}

// StepEvaluation describes the new checkpoint on rows that were held out.
type StepEvaluation struct {
	Loss         float64 `json:"loss"` // of the job's own kind
	Samples      int64   `json:"samples"`
	Groups       int64   `json:"groups"`
	Tokens       int64   `json:"tokens"`
	ScoredTokens int64   `json:"scoredTokens"`
	RewardMean   float64 `json:"rewardMean"`
	Perplexity   float64 `json:"perplexity"` // of scored tokens under the policy that the job began with; of SFT, DPO and ORPO under the result
	KL           float64 `json:"kl"`
	Pairs        int64   `json:"pairs,omitempty"`
	PairAccuracy float64 `json:"pairAccuracy,omitempty"`
	PairMargin   float64 `json:"pairMargin,omitempty"`
}

// ExecuteTrainStepRequest asks a keep-alive trainer for a step.
type ExecuteTrainStepRequest struct {
	Name        string `json:"name,omitempty"` // sent by some clients; the path names the trainer
	Dataset     string `json:"dataset"`
	OutputModel string `json:"outputModel"`
}

// ResumeJobRequest takes a failed or cancelled job up again.
type ResumeJobRequest struct {
	// DiscardSteps makes a trainer forget the steps that are not done, instead of
	// going on with them. Not of the contract.
	DiscardSteps bool `json:"discardSteps,omitempty"`
}

// RanOn says what a job really ran on, whatever acceleratorType asked for.
type RanOn struct {
	Accelerator string `json:"accelerator"` // "CPU"
	KernelLevel string `json:"kernelLevel"`
	Precision   string `json:"precision"`
}

// StepMetrics describes one optimiser batch; docs/metrics.md explains each
// number. It is not of the contract, so its integers are plain JSON numbers.
type StepMetrics struct {
	Update              int64   `json:"update"`
	Epoch               int     `json:"epoch"`
	Time                Time    `json:"time,omitzero"`
	Samples             int     `json:"samples"`
	Groups              int     `json:"groups"`
	DeadGroups          int     `json:"deadGroups"`
	EmptySamples        int     `json:"emptySamples"`
	TruncatedSamples    int     `json:"truncatedSamples"`
	Tokens              int64   `json:"tokens"`
	ScoredTokens        int64   `json:"scoredTokens"`
	ComputedTokens      int64   `json:"computedTokens"`
	RewardMean          float64 `json:"rewardMean"`
	RewardStd           float64 `json:"rewardStd"`
	RewardMin           float64 `json:"rewardMin"`
	RewardMax           float64 `json:"rewardMax"`
	Loss                float64 `json:"loss"`
	KL                  float64 `json:"kl"`
	ClipFraction        float64 `json:"clipFraction"`
	Entropy             float64 `json:"entropy"`
	GradNorm            float64 `json:"gradNorm"`
	LearningRate        float64 `json:"learningRate"`
	RatioMean           float64 `json:"ratioMean"`
	EffectiveSampleSize float64 `json:"effectiveSampleSize"`
	OffPolicyMasked     int     `json:"offPolicyMasked"`
	Pairs               int     `json:"pairs,omitempty"`        // of DPO and ORPO
	PairAccuracy        float64 `json:"pairAccuracy,omitempty"` // share of pairs in the right order
	PairMargin          float64 `json:"pairMargin,omitempty"`
	Updated             bool    `json:"updated"`
	Seconds             float64 `json:"seconds"`
	TokensPerSecond     float64 `json:"tokensPerSecond"`
	KernelLevel         string  `json:"kernelLevel,omitempty"`
	Precision           string  `json:"precision,omitempty"`
}

// StepMetricsList answers GET rlorTrainerJobs/{id}/metrics?after=N.
type StepMetricsList struct {
	Metrics []StepMetrics `json:"metrics"`
	Page
}

// StepEvent is one line of a job's history: a state, a resume, a warning.
type StepEvent struct {
	Seq     int64  `json:"seq"`
	Time    Time   `json:"time"`
	Type    string `json:"type"`
	State   string `json:"state,omitempty"`
	Update  int64  `json:"update,omitempty"`
	Message string `json:"message,omitempty"`
}

// StepEventList answers GET rlorTrainerJobs/{id}/events.
type StepEventList struct {
	Events []StepEvent `json:"events"`
	Page
}
