package control

import (
	"context"
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// ListSteps lists reinforcement steps.
func (c *Control) ListSteps(ctx context.Context, who Caller, account string, q ListQuery) (*api.StepList, error) {
	p, page, err := c.page(ctx, who, reinforcement, account, q)
	if err != nil {
		return nil, err
	}
	return &api.StepList{Steps: items(p.Items, wireStep), Page: page}, nil
}

// GetStep returns a step.
func (c *Control) GetStep(ctx context.Context, who Caller, account, id string) (*api.RlorTrainerJob, error) {
	j, err := c.one(ctx, who, reinforcement, account, id)
	if err != nil {
		return nil, err
	}
	w := wireStep(j)
	return &w, c.showSteps(ctx, j, &w)
}

// CreateStep queues a reinforcement step, or makes a keep-alive trainer.
func (c *Control) CreateStep(ctx context.Context, who Caller, account, id string, r *api.RlorTrainerJob) (*api.RlorTrainerJob, error) {
	j, err := c.submit(ctx, who, reinforcement, account, id, r, nil)
	if err != nil {
		return nil, err
	}
	w := wireStep(j)
	return &w, c.showSteps(ctx, j, &w)
}

// stepRequest reads a request for a job.
func (c *Control) stepRequest(ctx context.Context, account string, r *api.RlorTrainerJob) (req job.StepRequest, err error) {
	t := r.TrainingConfig
	if t == nil {
		t = &api.TrainingConfig{}
	}
	x := r.Firekeep
	if x == nil {
		x = &api.StepExtension{}
	}
	if err := c.clampContext(ctx, account, t); err != nil {
		return req, err
	}
	params, err := stepParams(r, t, x)
	if err != nil {
		return req, err
	}
	place, err := c.metricsPlace(ctx, account, x.MetricsURL)
	if err != nil {
		return req, err
	}
	echo, err := json.Marshal(api.TrainingConfig{Region: t.Region, AcceleratorType: t.AcceleratorType, AcceleratorCount: t.AcceleratorCount})
	return job.StepRequest{Account: account, KeepAlive: r.KeepAlive, DisplayName: r.DisplayName, Dataset: r.Dataset, EvalDataset: r.EvalDataset, BaseModel: t.BaseModel, WarmStartFrom: t.WarmStartFrom,
		OutputModel: orElse(t.OutputModel, r.OutputModel), Params: params, AllowParameterChange: x.AllowParameterChange, AllowKernelChange: x.AllowKernelChange, Precision: x.Precision, MemoryBytes: int64(x.MemoryBytes), MetricsURL: place, Echo: echo}, err
}

// stepResource is what policies can look at: the account, and what the step reads
// and makes.
func stepResource(account string, r *api.RlorTrainerJob) authz.Resource {
	refs := []reference{{r.Dataset, rft.Datasets}, {r.EvalDataset, rft.Datasets}}
	output := r.OutputModel
	if t := r.TrainingConfig; t != nil {
		refs = append(refs, reference{t.BaseModel, rft.Models}, reference{t.WarmStartFrom, rft.Models})
		output = orElse(t.OutputModel, output)
	}
	return touching(account, append(refs, reference{output, rft.Models})...)
}

// clampContext lowers maxContextLength to what the model has positions for.
// Clients of the contract send its default of 8192 whatever the model is, and a
// sample longer than the model can hold is cut either way. The answer shows the
// value in use.
func (c *Control) clampContext(ctx context.Context, account string, t *api.TrainingConfig) error {
	ref := orElse(t.BaseModel, t.WarmStartFrom)
	if t.MaxContextLength == 0 || ref == "" {
		return nil
	}
	m, err := c.model(ctx, "trainingConfig", ref, account)
	switch rft.KindOf(err) {
	case "":
	case rft.KindNotFound, rft.KindInvalidArgument:
		return nil // CreateStep says so, naming the field
	default:
		return err
	}
	if m.ContextLength > 0 {
		t.MaxContextLength = min(t.MaxContextLength, m.ContextLength)
	}
	return nil
}

// refuseStep names what a request asks for and this server does not do.
func (c *Control) refuseStep(r *api.RlorTrainerJob) error {
	if err := checkDisplayName(r.DisplayName); err != nil {
		return err
	}
	switch {
	case r.ServiceMode:
		return rft.Errorf(rft.KindUnimplemented, "serviceMode: this server runs steps, one-shot or executed by a keepAlive trainer; it has no training protocol")
	case r.Wandb != nil && r.Wandb.Enabled:
		return rft.Errorf(rft.KindUnimplemented, "wandbConfig: this server sends nothing to other services; log from your own process with job.wait(on_metrics=firekeep.track(run)) of the Python SDK, or let firekeep.metricsUrl put metrics.jsonl into your bucket")
	case storageAccess(r.StorageAccess) != "":
		field := storageAccess(r.StorageAccess)
		return rft.FieldErrorf(field, "%s: a job reads with the credentials of the account's connections; create one for the bucket with `firekeep connection create` and leave this out", field)
	case r.EvalCarveout:
		return rft.FieldErrorf("evalAutoCarveout", "evalAutoCarveout: name the rows that are held out as evaluationDataset")
	case r.Dataset == "" && !r.KeepAlive:
		return rft.FieldErrorf("dataset", "dataset: is required")
	}
	t := r.TrainingConfig
	if t == nil {
		return nil
	}
	if t.LoraDropout != 0 {
		return rft.FieldErrorf("trainingConfig.loraDropout", "trainingConfig.loraDropout: only 0 is supported")
	}
	if c.StrictAccelerators && t.AcceleratorType != "" && t.AcceleratorType != "ACCELERATOR_TYPE_UNSPECIFIED" {
		return rft.Errorf(rft.KindFailedPrecondition, "trainingConfig.acceleratorType: this host has no %q; leave it out, or configure accelerators: substitute", clip(t.AcceleratorType, 40))
	}
	return nil
}

// storageAccess is the field of a request that names credentials, "" = none.
func storageAccess(a api.StorageAccess) string {
	if s := a.AwsS3Config; s != nil {
		switch {
		case s.CredentialsSecret != "":
			return "awsS3Config.credentialsSecret"
		case s.IAMRoleARN != "":
			return "awsS3Config.iamRoleArn"
		}
	}
	if s := a.AzureBlobStorageConfig; s != nil {
		switch {
		case s.CredentialsSecret != "":
			return "azureBlobStorageConfig.credentialsSecret"
		case s.ManagedIdentityClientID != "":
			return "azureBlobStorageConfig.managedIdentityClientId"
		case s.TenantID != "":
			return "azureBlobStorageConfig.tenantId"
		}
	}
	return ""
}

// stepParams collects the hyper-parameters that the request gives.
func stepParams(r *api.RlorTrainerJob, t *api.TrainingConfig, x *api.StepExtension) (job.Params, error) {
	p := job.Params{
		LoraRank: given(t.LoraRank), LoraAlpha: given(t.LoraAlpha), LoraTargets: t.LoraTargets, LearningRate: given(t.LearningRate),
		WarmupSteps: t.WarmupSteps, WeightDecay: t.WeightDecay, Beta1: x.Beta1, Beta2: x.Beta2, Epsilon: x.Epsilon, MaxGradNorm: x.MaxGradNorm,
		Epochs: given(t.Epochs), BatchSize: given(t.BatchSize), BatchSizeSamples: t.BatchSizeSamples, GradAccumulation: given(t.GradAccumulation),
		MaxContextLength: given(t.MaxContextLength), Seed: (*int64)(x.Seed), ClipLow: x.ClipLow, ClipHigh: x.ClipHigh, DualClip: x.DualClip,
		KLReference: given(x.KLReference), TISCap: x.TISCap, OffPolicy: x.OffPolicyThreshold, ScaleRewards: given(x.ScaleRewards),
		Baseline: given(x.AdvantageBaseline), BaselineB: x.AdvantageConstant, OnNoSignal: given(x.OnNoSignal), ResumeEvery: x.ResumeEvery,
		Template: given(t.JinjaTemplate), OverlongTokens: x.OverlongMaxTokens, OverlongBuffer: x.OverlongBufferTokens,
	}
	if x.LoraAlpha != nil {
		p.LoraAlpha = x.LoraAlpha
	}
	if x.LoraTargetModules != nil {
		p.LoraTargets = x.LoraTargetModules
	}
	var err error
	if p.Method, err = lossParams(&p, r.LossConfig, x); err != nil {
		return p, err
	}
	p.Rewards, err = rewardWeights(r.RewardWeights)
	return p, err
}

// lossParams reads the loss's own parameters and returns its method, nil = not given.
func lossParams(p *job.Params, l *api.LossConfig, x *api.StepExtension) (*string, error) {
	method := given(x.LossMethod)
	if l == nil {
		return method, nil
	}
	p.KLBeta = l.KLBeta
	if l.DPO != nil {
		p.DPOBeta = given(l.DPO.Beta)
	}
	if l.ORPO != nil {
		p.ORPOLambda = given(l.ORPO.Lambda)
	}
	if l.Method == "" || l.Method == "METHOD_UNSPECIFIED" {
		return method, nil
	}
	if method != nil && *method != l.Method {
		return nil, rft.FieldErrorf("firekeep.lossMethod", "firekeep.lossMethod: %q and lossConfig.method: %q exclude each other", clip(*method, 40), clip(l.Method, 40))
	}
	return &l.Method, nil
}

// wireLoss shows a loss.
func wireLoss(s engine.Spec) *api.LossConfig {
	l := &api.LossConfig{Method: s.Method, KLBeta: &s.KLBeta}
	switch s.Method {
	case "GRPO", "DAPO", "GSPO_TOKEN":
	case "DPO":
		l.DPO = &api.DPOLoss{Beta: s.DPOBeta}
	case "ORPO":
		l.ORPO = &api.ORPOLoss{Lambda: s.ORPOLambda}
	default:
		l.Method = "METHOD_UNSPECIFIED" // firekeep.lossMethod names it
	}
	return l
}

// given is nil for a zero value, which the wire cannot tell from an absent field.
func given[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// rewardWeights reads entries "key=weight", or a bare key of weight 1.
func rewardWeights(entries []string) (map[string]float64, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	m := map[string]float64{}
	for i, e := range entries {
		bad := func(why string) error {
			return rft.FieldErrorf("rewardWeights", "rewardWeights[%d]: %s", i, why)
		}
		key, weight, hasWeight := strings.Cut(e, "=")
		key = strings.TrimSpace(key)
		w := 1.0
		if hasWeight {
			var err error
			if w, err = strconv.ParseFloat(strings.TrimSpace(weight), 64); err != nil || math.IsInf(w, 0) || math.IsNaN(w) {
				return nil, bad(`want "key=weight" with a finite number`)
			}
		}
		if key == "" || len(key) > 128 {
			return nil, bad("want a key of 1 to 128 bytes")
		}
		if _, twice := m[key]; twice {
			return nil, bad("the key is there twice")
		}
		m[key] = w
	}
	return m, nil
}

// CancelStep asks a step to end.
func (c *Control) CancelStep(ctx context.Context, who Caller, account, id string) error {
	return c.cancel(ctx, who, reinforcement, account, id)
}

// DeleteStep removes the record of a step; its checkpoint stays.
func (c *Control) DeleteStep(ctx context.Context, who Caller, account, id string) error {
	return c.remove(ctx, who, reinforcement, account, id)
}

func stepName(account, id string) string {
	return rft.Name{Account: account, Collection: rft.Steps, ID: id}.String()
}

// wireStep shows a step with every parameter resolved.
func wireStep(j store.Job) api.RlorTrainerJob {
	w := api.RlorTrainerJob{Name: j.Name(), DisplayName: j.DisplayName, CreateTime: api.At(j.Created), CompletedTime: api.At(j.Completed),
		State: string(j.State), Status: wireStatus(j.Status), CreatedBy: j.CreatedBy, Dataset: j.Dataset, KeepAlive: j.KeepsAlive(), RewardWeights: []string{}, NodeCount: 1,
		JobProgress: &api.JobProgress{Percent: j.Progress.Percent, Epoch: j.Progress.Epoch}}
	x := &api.StepExtension{Attempt: j.Attempt, Update: api.Int64(j.Progress.Update), ETASeconds: j.Progress.ETASeconds, Stage: j.Progress.Stage}
	w.Firekeep = x
	var spec job.StepSpec
	if json.Unmarshal(j.Spec, &spec) != nil {
		return w
	}
	w.TrainingConfig, w.EvalDataset = wireTraining(spec), spec.EvalDataset
	s := spec.Train
	w.LossConfig, x.LossMethod = wireLoss(s), s.Method
	for _, k := range sortedKeys(s.Rewards) {
		w.RewardWeights = append(w.RewardWeights, k+"="+strconv.FormatFloat(s.Rewards[k], 'g', -1, 64))
	}
	x.Seed, x.LoraAlpha, x.LoraTargetModules = (*api.Int64)(&s.Seed), &s.LoraAlpha, s.LoraTargets
	x.ScaleRewards, x.AdvantageBaseline, x.KLReference, x.OnNoSignal = s.ScaleRewards, s.Baseline, s.KLReference, s.OnNoSignal
	x.TISCap, x.OffPolicyThreshold, x.ClipLow, x.ClipHigh, x.DualClip = &s.TISCap, &s.OffPolicy, &s.ClipLow, &s.ClipHigh, &s.DualClip
	if s.OverlongMaxTokens > 0 {
		x.OverlongMaxTokens, x.OverlongBufferTokens = &s.OverlongMaxTokens, &s.OverlongBufferTokens
	}
	x.Beta1, x.Beta2, x.Epsilon, x.MaxGradNorm, x.ResumeEvery = &s.Beta1, &s.Beta2, &s.Epsilon, &s.MaxGradNorm, &s.ResumeEvery
	x.AllowParameterChange, x.AllowKernelChange, x.Precision = len(spec.Changed) > 0, spec.AllowKernelChange, spec.Precision
	x.MetricsURL, x.MemoryBytes = spec.MetricsURL, api.Int64(spec.MemoryBytes)
	if j.KeepsAlive() {
		if state, err := j.TrainerState(); err == nil {
			x.Update = api.Int64(state.Updates)
		}
		return w
	}
	var done job.StepResult
	if len(j.Result) > 0 && json.Unmarshal(j.Result, &done) == nil {
		x.Ran = &api.RanOn{Accelerator: "CPU", KernelLevel: done.Level, Precision: done.Precision}
		x.Update, x.NoSignal, x.Evaluation = api.Int64(done.Updates), done.NoSignal, evaluation(done)
	}
	return w
}

// evaluation shows what the held-out rows said; nil without any.
func evaluation(done job.StepResult) *api.StepEvaluation {
	if len(done.Evaluation) == 0 {
		return nil
	}
	e := &api.StepEvaluation{}
	if json.Unmarshal(done.Evaluation, e) != nil {
		return nil
	}
	return e
}

func wireTraining(spec job.StepSpec) *api.TrainingConfig {
	t := &api.TrainingConfig{}
	if len(spec.Echo) > 0 {
		_ = json.Unmarshal(spec.Echo, t) // written by CreateStep
	}
	s := spec.Train
	t.OutputModel = spec.OutputModel
	if t.WarmStartFrom = spec.WarmStartFrom; t.WarmStartFrom == "" {
		t.BaseModel = spec.BaseModel
	}
	t.JinjaTemplate, t.LearningRate, t.MaxContextLength, t.LoraRank, t.Epochs = s.Template, s.LearningRate, s.MaxContextLength, s.LoraRank, s.Epochs
	t.BatchSize, t.GradAccumulation = s.BatchSize, s.GradAccumulation
	t.BatchSizeSamples, t.WarmupSteps, t.WeightDecay = &s.BatchSizeSamples, &s.WarmupSteps, &s.WeightDecay
	t.LoraAlpha, t.LoraTargets = s.LoraAlpha, s.LoraTargets
	return t
}
