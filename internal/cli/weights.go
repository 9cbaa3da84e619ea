package cli

import (
	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

// weightFlags are the parameters of docs/reinforcement.md that every kind of
// training has. What is not given is the server's default or, on a LoRA, inherited.
type weightFlags struct {
	Rank    *int     `group:"LoRA" name:"lora-rank" help:"Rank."`
	Alpha   *float64 `group:"LoRA" name:"lora-alpha" help:"Alpha; twice the rank by default."`
	Targets []string `group:"LoRA" name:"lora-targets" aliases:"target-modules" help:"Linear layers, such as q_proj,v_proj; all by default."`

	Epochs           *int     `group:"Training" help:"Passes over the dataset."`
	LearningRate     *float64 `group:"Training" help:"Learning rate."`
	Warmup           *int     `group:"Training" name:"warmup-steps" aliases:"learning-rate-warmup-steps" help:"Updates of linear warm-up."`
	WeightDecay      *float64 `group:"Training" help:"Decoupled weight decay."`
	Beta1            *float64 `group:"Training" help:"AdamW."`
	Beta2            *float64 `group:"Training" help:"AdamW."`
	Epsilon          *float64 `group:"Training" help:"AdamW."`
	MaxGradNorm      *float64 `group:"Training" help:"Global norm of clipping."`
	BatchSize        *int     `group:"Training" help:"Tokens per batch."`
	BatchSizeSamples *int     `group:"Training" help:"Samples per batch; 0 = no bound."`
	GradAccumulation *int     `group:"Training" aliases:"gradient-accumulation-steps" help:"Batches per update."`
	MaxContextLength *int     `group:"Training" help:"Tokens per sample; longer ones are cut."`
	Seed             *int64   `group:"Training" help:"Seed of order and initial weights."`
	ResumeEvery      *int     `group:"Training" help:"Updates between resume points."`
	JinjaTemplate    string   `group:"Training" help:"Chat template instead of the model's." placeholder:"TEMPLATE"`
	AllowChange      bool     `group:"Training" name:"allow-parameter-change" help:"Let a continued LoRA differ in all but rank, alpha and targets."`
	AllowKernel      bool     `group:"Training" name:"allow-kernel-change" help:"Let a resume go on at another kernel level or precision."`
	MetricsURL       string   `group:"Training" name:"metrics-url" help:"Prefix in your bucket that the metrics go to, as {output}/metrics.jsonl." placeholder:"URL"`
	Memory           byteSize `group:"Training" help:"Limit of the step's memory beside the base weights, such as 4GiB; blocks are computed twice where it asks for that. The host's by default." placeholder:"SIZE"`
	Precision        string   `group:"Training" help:"auto, float32 or bfloat16; as config.json says by default."`
}

// config is the part of a request that the contract has.
func (w *weightFlags) config(output string) *api.TrainingConfig {
	return &api.TrainingConfig{OutputModel: output, JinjaTemplate: w.JinjaTemplate, LearningRate: given(w.LearningRate),
		MaxContextLength: given(w.MaxContextLength), LoraRank: given(w.Rank), Epochs: given(w.Epochs), BatchSize: given(w.BatchSize), BatchSizeSamples: w.BatchSizeSamples,
		GradAccumulation: given(w.GradAccumulation), WarmupSteps: w.Warmup, WeightDecay: w.WeightDecay}
}

// extension is the part that it has not.
func (w *weightFlags) extension() *api.StepExtension {
	return &api.StepExtension{Seed: (*api.Int64)(w.Seed), LoraAlpha: w.Alpha, LoraTargetModules: w.Targets, Beta1: w.Beta1, Beta2: w.Beta2, Epsilon: w.Epsilon,
		MaxGradNorm: w.MaxGradNorm, ResumeEvery: w.ResumeEvery, AllowParameterChange: w.AllowChange, AllowKernelChange: w.AllowKernel, Precision: w.Precision, MemoryBytes: api.Int64(w.Memory), MetricsURL: w.MetricsURL}
}

// positive refuses zeros: on the wire they stand for what was not given, so the
// default would silently take their place. Other values are the server's to judge.
func (w *weightFlags) positive() error {
	for name, p := range map[string]*int{"lora-rank": w.Rank, "epochs": w.Epochs, "batch-size": w.BatchSize, "grad-accumulation": w.GradAccumulation, "max-context-length": w.MaxContextLength} {
		if p != nil && *p == 0 {
			return rft.FieldErrorf(name, "--%s must be at least 1; leave it out for the default", name)
		}
	}
	if w.LearningRate != nil && *w.LearningRate == 0 {
		return rft.FieldErrorf("learning-rate", "--learning-rate must be greater than 0; leave it out for the default")
	}
	return nil
}

// given is the value of a flag, or the zero value that the wire leaves out.
func given[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// start puts a model into the field for what it is: a base to begin on, or a LoRA
// to continue.
func start(m *api.Model, base, warm *string) {
	if m.Kind == "HF_PEFT_ADDON" {
		*warm = m.Name
	} else {
		*base = m.Name
	}
}
