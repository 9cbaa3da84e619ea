package engine

// Spec is what a reinforcement step trains with: every hyper-parameter,
// resolved (no field means "default" any more). It is stored with the job,
// sent to the engine, recorded in provenance and compared on continuation.
// Formulas and defaults: docs/reinforcement.md.
type Spec struct {
	Method string `json:"method"` // one of Methods

	// LoRA: y = W x + (alpha/rank) B A x.
	LoraRank    int      `json:"loraRank"`
	LoraAlpha   float64  `json:"loraAlpha"`         // 2 x rank unless given
	LoraTargets []string `json:"loraTargetModules"` // suffixes: q_proj k_proj v_proj o_proj gate_proj up_proj down_proj

	// Optimiser: AdamW as in PyTorch, global norm clipping, linear warm-up.
	LearningRate float64 `json:"learningRate"`
	WarmupSteps  int     `json:"learningRateWarmupSteps"`
	WeightDecay  float64 `json:"optimizerWeightDecay"`
	Beta1        float64 `json:"beta1"`
	Beta2        float64 `json:"beta2"`
	Epsilon      float64 `json:"epsilon"`
	MaxGradNorm  float64 `json:"maxGradNorm"`

	// Batching. A batch ends at whichever of the two bounds is met first.
	Epochs           int   `json:"epochs"`
	BatchSize        int   `json:"batchSize"`        // max packed tokens, prompt + completion of every sample
	BatchSizeSamples int   `json:"batchSizeSamples"` // max samples, 0 = no bound
	GradAccumulation int   `json:"gradientAccumulationSteps"`
	MaxContextLength int   `json:"maxContextLength"`
	Seed             int64 `json:"seed"`

	// Loss.
	ClipLow      float64            `json:"clipLow"`            // lower bound of the ratio, 0.8
	ClipHigh     float64            `json:"clipHigh"`           // upper bound of the ratio, 1.2
	DualClip     float64            `json:"dualClip"`           // c, 0 = none
	KLBeta       float64            `json:"klBeta"`             // 0 = no reference pass
	KLReference  string             `json:"klReference"`        // "base" or "incoming"
	TISCap       float64            `json:"tisCap"`             // cap of the importance weight w, 2
	OffPolicy    float64            `json:"offPolicyThreshold"` // mean log-ratio above which a sample with A < 0 is dropped, 10
	ScaleRewards string             `json:"scaleRewards"`       // "group" or "none"
	Baseline     string             `json:"advantageBaseline"`  // "" (auto), "group", "batch", "constant"
	BaselineB    float64            `json:"advantageConstant"`
	Rewards      map[string]float64 `json:"rewardWeights"` // eval key -> weight

	// DPO and ORPO, which learn from pairs, have weights of their own.
	DPOBeta    float64 `json:"dpoBeta,omitempty"`    // of the log-ratios, 0.1
	ORPOLambda float64 `json:"orpoLambda,omitempty"` // of the odds ratio, 1

	// Penalty on long samples; OverlongMaxTokens 0 = none.
	OverlongMaxTokens    int `json:"overlongMaxTokens,omitempty"`
	OverlongBufferTokens int `json:"overlongBufferTokens,omitempty"`

	OnNoSignal  string `json:"onNoSignal"`  // "complete" or "fail": how a job without any live sample ends
	ResumeEvery int    `json:"resumeEvery"` // updates between resume points

	// Template overrides the model's chat template; "" keeps it.
	Template string `json:"jinjaTemplate,omitempty"`
}

// Methods are the losses that a step can have: those of the wire contract, then
// ours, then that of supervised jobs.
var Methods = []string{"GRPO", "DAPO", "GSPO_TOKEN", "DPO", "ORPO", "PPO", "DR_GRPO", "CISPO", "IMPORTANCE_SAMPLING", "SFT"}

// Targets are the linear layers that LoRA can adapt, in the order in which
// adapters store them.
var Targets = []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

// DefaultSpec returns the defaults of docs/reinforcement.md for method.
// rank is the caller's: 8 over REST, 16 for LLM.reinforcement_step.
func DefaultSpec(method string) Spec {
	s := Spec{
		Method: method, LoraRank: 8, LoraAlpha: 16, LoraTargets: append([]string(nil), Targets...),
		LearningRate: 1e-4, Beta1: 0.9, Beta2: 0.95, Epsilon: 1e-8, MaxGradNorm: 1,
		Epochs: 1, BatchSize: 32768, GradAccumulation: 1, MaxContextLength: 8192, Seed: 0,
		ClipLow: 0.8, ClipHigh: 1.2, DualClip: 3, KLReference: "base", TISCap: 2, OffPolicy: 10,
		ScaleRewards: "group", Rewards: map[string]float64{"score": 1},
		OnNoSignal: "complete", ResumeEvery: 1,
	}
	switch method {
	case "DAPO":
		s.ClipHigh = 1.28
	case "GSPO_TOKEN":
		s.ClipLow, s.ClipHigh, s.DualClip = 1-3e-4, 1+4e-4, 0
	case "PPO":
		s.DualClip, s.ScaleRewards = 0, "none"
	case "DR_GRPO":
		s.ScaleRewards = "none"
	case "DPO":
		s.DPOBeta = 0.1
	case "ORPO":
		s.ORPOLambda = 1
	}
	return s
}
