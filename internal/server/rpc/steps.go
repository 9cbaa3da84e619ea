package rpc

import (
	"context"
	"strings"

	"google.golang.org/grpc/metadata"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/server/gatewaypb"
)

// CreateRlorTrainerJob queues a reinforcement step.
func (s *skin) CreateRlorTrainerJob(ctx context.Context, r *gatewaypb.CreateRlorTrainerJobRequest) (*gatewaypb.RlorTrainerJob, error) {
	account, err := parent(r.GetParent())
	if err != nil {
		return nil, err
	}
	j, err := s.control.CreateStep(ctx, caller(ctx), account, r.GetRlorTrainerJobId(), stepRequest(r.GetRlorTrainerJob()))
	if err != nil {
		return nil, err
	}
	return step(j), nil
}

// GetRlorTrainerJob returns a step. To the SDK, one that ended badly is an error:
// the loop that its documentation gives ends with COMPLETED or with an error
// only, because what should raise for bad states compares their names with
// numbers, and never raises. Others see the state.
func (s *skin) GetRlorTrainerJob(ctx context.Context, r *gatewaypb.GetRlorTrainerJobRequest) (*gatewaypb.RlorTrainerJob, error) {
	account, id, err := named(r.GetName(), rft.Steps)
	if err != nil {
		return nil, err
	}
	j, err := s.control.GetStep(ctx, caller(ctx), account, id)
	if err != nil {
		return nil, err
	}
	if state := rft.JobState(j.State); state.Terminal() && state != rft.StateCompleted && isSDK(ctx) {
		return nil, endedBadly(j)
	}
	return step(j), nil
}

// isSDK reports whether the call comes from the Build SDK.
func isSDK(ctx context.Context) bool {
	md, _ := metadata.FromIncomingContext(ctx)
	return strings.HasPrefix(first(md, "user-agent"), "fireworks-python-sdk/")
}

// endedBadly is a step that will never complete, with its own message.
func endedBadly(j *api.RlorTrainerJob) error {
	state := strings.ToLower(strings.TrimPrefix(j.State, "JOB_STATE_"))
	if j.Status.Message == "" {
		return rft.Errorf(rft.KindAborted, "%s is %s", j.Name, state)
	}
	return rft.Errorf(rft.KindAborted, "%s is %s: %s", j.Name, state, j.Status.Message)
}

func stepRequest(j *gatewaypb.RlorTrainerJob) *api.RlorTrainerJob {
	r := &api.RlorTrainerJob{DisplayName: j.GetDisplayName(), Dataset: j.GetDataset(), EvalDataset: j.GetEvaluationDataset(),
		EvalCarveout: j.GetEvalAutoCarveout(), RewardWeights: j.GetRewardWeights(), Wandb: &api.WandbConfig{Enabled: j.GetWandbConfig().GetEnabled()}}
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
