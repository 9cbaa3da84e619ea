package rpc

import (
	"context"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/server/gatewaypb"
)

// GetModel returns a model.
func (s *skin) GetModel(ctx context.Context, r *gatewaypb.GetModelRequest) (*gatewaypb.Model, error) {
	account, id, err := named(r.GetName(), rft.Models)
	if err != nil {
		return nil, err
	}
	m, err := s.control.GetModel(ctx, caller(ctx), account, id)
	if err != nil {
		return nil, err
	}
	return model(m), nil
}

// ListModels lists models; the SDK begins everything with those of
// accounts/fireworks.
func (s *skin) ListModels(ctx context.Context, r *gatewaypb.ListModelsRequest) (*gatewaypb.ListModelsResponse, error) {
	account, q, err := listed(r)
	if err != nil {
		return nil, err
	}
	list := s.control.ListModels
	if r.GetIncludeDeployedModelRefs() {
		list = s.control.ListModelsWithRefs
	}
	p, err := list(ctx, caller(ctx), account, q)
	if err != nil {
		return nil, err
	}
	out := &gatewaypb.ListModelsResponse{NextPageToken: p.NextPageToken, TotalSize: int32(p.TotalSize)}
	for i := range p.Models {
		out.Models = append(out.Models, model(&p.Models[i]))
	}
	return out, nil
}

// ListServerlessLoraModels lists the bases whose adapters need no deployment.
func (s *skin) ListServerlessLoraModels(ctx context.Context, _ *gatewaypb.ListServerlessLoraModelsRequest) (*gatewaypb.ListServerlessLoraModelsResponse, error) {
	names, err := s.control.ListServerlessBases(ctx, caller(ctx))
	if err != nil {
		return nil, err
	}
	return &gatewaypb.ListServerlessLoraModelsResponse{Models: names}, nil
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
