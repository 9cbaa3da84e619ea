package rpc

import (
	"context"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/server/gatewaypb"
)

// GetModel returns a model.
func (s *skin) GetModel(ctx context.Context, r *gatewaypb.GetModelRequest) (*gatewaypb.Model, error) {
	who := caller(ctx)
	account, id, err := named(r.GetName(), rft.Models)
	if err != nil {
		return nil, err
	}
	m, err := s.control.GetModel(ctx, who, account, id)
	if err != nil {
		return nil, err
	}
	return model(m), nil
}

// CreateRlorTrainerJob queues a reinforcement step.
func (s *skin) CreateRlorTrainerJob(ctx context.Context, r *gatewaypb.CreateRlorTrainerJobRequest) (*gatewaypb.RlorTrainerJob, error) {
	account, ok := strings.CutPrefix(r.GetParent(), "accounts/")
	if !ok || strings.Contains(account, "/") {
		return nil, rft.FieldErrorf("parent", "parent: must be accounts/{account}")
	}
	j, err := s.control.CreateStep(ctx, caller(ctx), account, r.GetRlorTrainerJobId(), stepRequest(r.GetRlorTrainerJob()))
	if err != nil {
		return nil, err
	}
	return step(j), nil
}

// GetRlorTrainerJob returns a step.
func (s *skin) GetRlorTrainerJob(ctx context.Context, r *gatewaypb.GetRlorTrainerJobRequest) (*gatewaypb.RlorTrainerJob, error) {
	account, id, err := named(r.GetName(), rft.Steps)
	if err != nil {
		return nil, err
	}
	j, err := s.control.GetStep(ctx, caller(ctx), account, id)
	if err != nil {
		return nil, err
	}
	return step(j), nil
}

// named splits a full resource name. A name that cannot be one is NOT_FOUND: the
// SDK asks for such names to learn whether they are free.
func named(name string, c rft.Collection) (account, id string, err error) {
	part := strings.SplitN(name, "/", 4)
	if len(part) != 4 || part[0] != "accounts" || part[2] != string(c) || part[3] == "" {
		return "", "", rft.Errorf(rft.KindNotFound, "no resource has this name; names are accounts/{account}/%s/{id}", c)
	}
	return part[1], part[3], nil
}

func stepRequest(j *gatewaypb.RlorTrainerJob) *api.RlorTrainerJob {
	r := &api.RlorTrainerJob{DisplayName: j.GetDisplayName(), Dataset: j.GetDataset(), EvalDataset: j.GetEvaluationDataset(),
		EvalCarveout: j.GetEvalAutoCarveout(), RewardWeights: j.GetRewardWeights()}
	t := j.GetTrainingConfig()
	if t == nil {
		return r
	}
	r.TrainingConfig = &api.TrainingConfig{OutputModel: t.GetOutputModel(), BaseModel: t.GetBaseModel(), WarmStartFrom: t.GetWarmStartFrom(),
		JinjaTemplate: t.GetJinjaTemplate(), LearningRate: float64(t.GetLearningRate()), MaxContextLength: int(t.GetMaxContextLength()),
		LoraRank: int(t.GetLoraRank()), Epochs: int(t.GetEpochs()), BatchSize: int(t.GetBatchSize()), AcceleratorCount: int(t.GetAcceleratorCount())}
	if t.GetAcceleratorType() != 0 {
		r.TrainingConfig.AcceleratorType = t.GetAcceleratorType().String()
	}
	if t.GetRegion() != 0 {
		r.TrainingConfig.Region = t.GetRegion().String()
	}
	return r
}

func step(j *api.RlorTrainerJob) *gatewaypb.RlorTrainerJob {
	out := &gatewaypb.RlorTrainerJob{Name: j.Name, DisplayName: j.DisplayName, CreateTime: at(j.CreateTime), CompletedTime: at(j.CompletedTime),
		Dataset: j.Dataset, State: stateOf(j.State), Status: statusOf(j.Status), CreatedBy: j.CreatedBy, RewardWeights: j.RewardWeights}
	if p := j.JobProgress; p != nil {
		out.JobProgress = &gatewaypb.JobProgress{Percent: int32(p.Percent), Epoch: int32(p.Epoch)}
	}
	if t := j.TrainingConfig; t != nil {
		out.TrainingConfig = &gatewaypb.BaseTrainingConfig{OutputModel: t.OutputModel, BaseModel: t.BaseModel, WarmStartFrom: t.WarmStartFrom,
			JinjaTemplate: t.JinjaTemplate, LearningRate: float32(t.LearningRate), MaxContextLength: int32(t.MaxContextLength), LoraRank: int32(t.LoraRank),
			AcceleratorType: gatewaypb.AcceleratorType(gatewaypb.AcceleratorType_value[t.AcceleratorType]), AcceleratorCount: int32(t.AcceleratorCount),
			Region: gatewaypb.Region(gatewaypb.Region_value[t.Region]), Epochs: int32(t.Epochs), BatchSize: int32(t.BatchSize)}
	}
	return out
}

// stateOf is a state of the SDK's own table: a number that it does not know
// raises inside its users' loops.
func stateOf(s string) gatewaypb.JobState {
	switch rft.JobState(s) {
	case rft.StateCancelling:
		return gatewaypb.JobState_JOB_STATE_RUNNING
	case rft.StateDeleted:
		return gatewaypb.JobState_JOB_STATE_DELETING
	}
	return gatewaypb.JobState(gatewaypb.JobState_value[s])
}

func model(m *api.Model) *gatewaypb.Model {
	out := &gatewaypb.Model{Name: m.Name, DisplayName: m.DisplayName, Description: m.Description, CreateTime: at(m.CreateTime), UpdateTime: at(m.UpdateTime),
		Kind: gatewaypb.Model_Kind(gatewaypb.Model_Kind_value[m.Kind]), State: gatewaypb.Model_State(gatewaypb.Model_State_value[m.State]), Status: statusOf(m.Status),
		Public: m.Public, ContextLength: int32(m.ContextLength), ImportedFrom: m.ImportedFrom, FineTuningJob: m.FineTuningJob,
		Tunable: m.Tunable, SupportsLora: m.SupportsLora, RlTunable: m.RLTunable}
	if p := m.PeftDetails; p != nil {
		out.PeftDetails = &gatewaypb.PEFTDetails{BaseModel: p.BaseModel, R: int32(p.R), TargetModules: p.TargetModules}
	}
	if b := m.BaseModelDetails; b != nil {
		out.BaseModelDetails = &gatewaypb.BaseModelDetails{CheckpointFormat: gatewaypb.BaseModelDetails_HUGGINGFACE, ParameterCount: int64(b.ParameterCount),
			Tunable: b.Tunable, ModelType: b.ModelType}
	}
	for _, d := range m.DeployedModelRefs {
		out.DeployedModelRefs = append(out.DeployedModelRefs, &gatewaypb.DeployedModelRef{Name: d.Name, Deployment: d.Deployment,
			State: gatewaypb.DeployedModel_State(gatewaypb.DeployedModel_State_value[d.State]), Default: d.Default, Public: d.Public})
	}
	return out
}

func statusOf(s api.Status) *gatewaypb.Status {
	return &gatewaypb.Status{Code: gatewaypb.Code(gatewaypb.Code_value[s.Code]), Message: s.Message}
}

func at(t api.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(time.Time(t.Time))
}
