package rpc

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/server/gatewaypb"
)

// CreateDataset makes a dataset, or opens one again whose upload never ended.
func (s *skin) CreateDataset(ctx context.Context, r *gatewaypb.CreateDatasetRequest) (*gatewaypb.Dataset, error) {
	account, err := parent(r.GetParent())
	if err != nil {
		return nil, err
	}
	d := &api.Dataset{}
	if err := resource(r.GetDataset(), d); err != nil {
		return nil, err
	}
	made, err := s.control.OpenDataset(ctx, caller(ctx), account, &api.CreateDatasetRequest{DatasetID: r.GetDatasetId(), Dataset: d,
		SourceDatasetID: r.GetSourceDatasetId(), Filter: r.GetFilter()})
	if err != nil {
		return nil, err
	}
	return message(made, &gatewaypb.Dataset{})
}

// ListDatasets lists the datasets whose rows are there: the SDK uploads what it
// does not find, and asks nothing more about what it finds.
func (s *skin) ListDatasets(ctx context.Context, r *gatewaypb.ListDatasetsRequest) (*gatewaypb.ListDatasetsResponse, error) {
	account, q, err := listed(r)
	if err != nil {
		return nil, err
	}
	p, err := s.control.ListFilledDatasets(ctx, caller(ctx), account, q)
	if err != nil {
		return nil, err
	}
	all, err := messages(p.Datasets, func() *gatewaypb.Dataset { return &gatewaypb.Dataset{} })
	return &gatewaypb.ListDatasetsResponse{Datasets: all, NextPageToken: p.NextPageToken, TotalSize: int32(p.TotalSize)}, err
}

// DeleteDataset deletes a dataset.
func (s *skin) DeleteDataset(ctx context.Context, r *gatewaypb.DeleteDatasetRequest) (*emptypb.Empty, error) {
	account, id, err := named(r.GetName(), rft.Datasets)
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, s.control.DeleteDataset(ctx, caller(ctx), account, id)
}

// GetDatasetUploadEndpoint returns where the rows of a dataset are sent to.
func (s *skin) GetDatasetUploadEndpoint(ctx context.Context, r *gatewaypb.GetDatasetUploadEndpointRequest) (*gatewaypb.GetDatasetUploadEndpointResponse, error) {
	account, id, err := named(r.GetName(), rft.Datasets)
	if err != nil {
		return nil, err
	}
	paths, err := s.control.UploadEndpoint(ctx, caller(ctx), account, id, r.GetFilenameToSize())
	return &gatewaypb.GetDatasetUploadEndpointResponse{FilenameToSignedUrls: s.urls(ctx, paths)}, err
}

// ValidateDatasetUpload answers once the rows are found in order, or says which
// line is not.
func (s *skin) ValidateDatasetUpload(ctx context.Context, r *gatewaypb.ValidateDatasetUploadRequest) (*emptypb.Empty, error) {
	account, id, err := named(r.GetName(), rft.Datasets)
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, s.control.ValidateUpload(ctx, caller(ctx), account, id)
}

// GetDatasetDownloadEndpoint returns where the rows of an upload are read from.
// For rows in a bucket it is an empty file: the SDK wants one to name the dataset.
func (s *skin) GetDatasetDownloadEndpoint(ctx context.Context, r *gatewaypb.GetDatasetDownloadEndpointRequest) (*gatewaypb.GetDatasetDownloadEndpointResponse, error) {
	account, id, err := named(r.GetName(), rft.Datasets)
	if err != nil {
		return nil, err
	}
	paths, err := s.control.DownloadEndpoint(ctx, caller(ctx), account, id)
	return &gatewaypb.GetDatasetDownloadEndpointResponse{FilenameToSignedUrls: s.urls(ctx, paths)}, err
}

// urls makes paths of the HTTP API into URLs for the caller.
func (s *skin) urls(ctx context.Context, paths map[string]string) map[string]string {
	base := s.baseURL(ctx)
	out := map[string]string{}
	for file, path := range paths {
		out[file] = base + path
	}
	return out
}
