package rpc

import (
	"context"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/server/gatewaypb"
)

// CreateDeployment makes a deployment.
func (s *skin) CreateDeployment(ctx context.Context, r *gatewaypb.CreateDeploymentRequest) (*gatewaypb.Deployment, error) {
	account, err := parent(r.GetParent())
	if err != nil {
		return nil, err
	}
	d := &api.Deployment{}
	if err := resource(r.GetDeployment(), d); err != nil {
		return nil, err
	}
	d.Name = "" // the SDK's ids go beside the resource
	made, err := s.control.CreateDeployment(ctx, caller(ctx), account, r.GetDeploymentId(), d, control.DeploymentOptions{ValidateOnly: r.GetDryRun()})
	if err != nil {
		return nil, err
	}
	return message(made, &gatewaypb.Deployment{})
}

// GetDeployment returns a deployment.
func (s *skin) GetDeployment(ctx context.Context, r *gatewaypb.GetDeploymentRequest) (*gatewaypb.Deployment, error) {
	account, id, err := named(r.GetName(), rft.Deployments)
	if err != nil {
		return nil, err
	}
	d, err := s.control.GetDeployment(ctx, caller(ctx), account, id)
	if err != nil {
		return nil, err
	}
	return message(d, &gatewaypb.Deployment{})
}

// ListDeployments lists deployments.
func (s *skin) ListDeployments(ctx context.Context, r *gatewaypb.ListDeploymentsRequest) (*gatewaypb.ListDeploymentsResponse, error) {
	account, q, err := listed(r)
	if err != nil {
		return nil, err
	}
	p, err := s.control.ListDeployments(ctx, caller(ctx), account, q, r.GetShowDeleted())
	if err != nil {
		return nil, err
	}
	all, err := messages(p.Deployments, func() *gatewaypb.Deployment { return &gatewaypb.Deployment{} })
	return &gatewaypb.ListDeploymentsResponse{Deployments: all, NextPageToken: p.NextPageToken, TotalSize: int32(p.TotalSize)}, err
}

// UpdateDeployment changes what the mask names, or all that is given.
func (s *skin) UpdateDeployment(ctx context.Context, r *gatewaypb.UpdateDeploymentRequest) (*gatewaypb.Deployment, error) {
	account, id, err := named(r.GetDeployment().GetName(), rft.Deployments)
	if err != nil {
		return nil, err
	}
	body, err := protojson.Marshal(r.GetDeployment())
	if err != nil {
		return nil, rft.Wrap(rft.KindInvalidArgument, err, "the request cannot be read")
	}
	d, err := s.control.UpdateDeployment(ctx, caller(ctx), account, id, api.Patch{Body: body, Mask: r.GetUpdateMask().GetPaths()})
	if err != nil {
		return nil, err
	}
	return message(d, &gatewaypb.Deployment{})
}

// DeleteDeployment deletes a deployment. After a hard one its id is free.
func (s *skin) DeleteDeployment(ctx context.Context, r *gatewaypb.DeleteDeploymentRequest) (*emptypb.Empty, error) {
	account, id, err := named(r.GetName(), rft.Deployments)
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, s.control.DeleteDeployment(ctx, caller(ctx), account, id, r.GetHard())
}

// ScaleDeployment sets how many replicas a deployment has.
func (s *skin) ScaleDeployment(ctx context.Context, r *gatewaypb.ScaleDeploymentRequest) (*emptypb.Empty, error) {
	account, id, err := named(r.GetName(), rft.Deployments)
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, s.control.ScaleDeployment(ctx, caller(ctx), account, id, int(r.GetReplicaCount()))
}

// CreateDeployedModel loads a model.
func (s *skin) CreateDeployedModel(ctx context.Context, r *gatewaypb.CreateDeployedModelRequest) (*gatewaypb.DeployedModel, error) {
	account, err := parent(r.GetParent())
	if err != nil {
		return nil, err
	}
	d := &api.DeployedModel{}
	if err := resource(r.GetDeployedModel(), d); err != nil {
		return nil, err
	}
	made, err := s.control.CreateDeployedModel(ctx, caller(ctx), account, d, false)
	if err != nil {
		return nil, err
	}
	return message(made, &gatewaypb.DeployedModel{})
}

// GetDeployedModel returns a loaded model.
func (s *skin) GetDeployedModel(ctx context.Context, r *gatewaypb.GetDeployedModelRequest) (*gatewaypb.DeployedModel, error) {
	account, id, err := named(r.GetName(), rft.Deployed)
	if err != nil {
		return nil, err
	}
	d, err := s.control.GetDeployedModel(ctx, caller(ctx), account, id)
	if err != nil {
		return nil, err
	}
	return message(d, &gatewaypb.DeployedModel{})
}

// ListDeployedModels lists loaded models.
func (s *skin) ListDeployedModels(ctx context.Context, r *gatewaypb.ListDeployedModelsRequest) (*gatewaypb.ListDeployedModelsResponse, error) {
	account, q, err := listed(r)
	if err != nil {
		return nil, err
	}
	p, err := s.control.ListDeployedModels(ctx, caller(ctx), account, q)
	if err != nil {
		return nil, err
	}
	all, err := messages(p.DeployedModels, func() *gatewaypb.DeployedModel { return &gatewaypb.DeployedModel{} })
	return &gatewaypb.ListDeployedModelsResponse{DeployedModels: all, NextPageToken: p.NextPageToken, TotalSize: int32(p.TotalSize)}, err
}

// DeleteDeployedModel unloads a model.
func (s *skin) DeleteDeployedModel(ctx context.Context, r *gatewaypb.DeleteDeployedModelRequest) (*emptypb.Empty, error) {
	account, id, err := named(r.GetName(), rft.Deployed)
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, s.control.DeleteDeployedModel(ctx, caller(ctx), account, id)
}
