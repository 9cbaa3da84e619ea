package control

import (
	"context"
	"strings"

	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// nowhere is an account that cannot exist: ids are never empty.
const nowhere = ""

// lookNowhere runs the query that an operation would have run for a name that is
// not there. A refused foreign name thus leaves the same trace in the database as
// an absent one of the caller's own: one query by (account, id).
func (c *Control) lookNowhere(ctx context.Context, action authz.Action, name string) error {
	id := name[strings.LastIndexByte(name, '/')+1:]
	var err error
	switch action {
	case authz.GetModel, authz.DeleteModel, authz.ExportModel, authz.UpdateModel, authz.UploadModel, authz.GetServed, authz.Chat, authz.Complete:
		_, err = c.DB.Model(ctx, nowhere, id)
	case authz.GetDataset, authz.DeleteDataset, authz.UploadDataset, authz.ValidateDataset, authz.UpdateDataset, authz.DownloadDataset:
		_, err = c.DB.Dataset(ctx, nowhere, id)
	case authz.GetStep, authz.CancelStep, authz.DeleteStep, authz.StepMetrics, authz.StepEvents, authz.ListCheckpoints, authz.PromoteCheckpoint, authz.ExecuteStep, authz.ResumeStep:
		_, err = c.DB.Job(ctx, nowhere, store.JobStep, id)
	case authz.GetSFTJob, authz.CancelSFTJob, authz.DeleteSFTJob, authz.ResumeSFTJob, authz.SFTJobMetrics, authz.SFTJobEvents:
		_, err = c.DB.Job(ctx, nowhere, store.JobSFT, id)
	case authz.GetDPOJob, authz.CancelDPOJob, authz.DeleteDPOJob, authz.ResumeDPOJob, authz.DPOJobMetrics, authz.DPOJobEvents:
		_, err = c.DB.Job(ctx, nowhere, store.JobDPO, id)
	case authz.GetBatchJob, authz.DeleteBatchJob:
		_, err = c.DB.Job(ctx, nowhere, store.JobBatch, id)
	case authz.GetMergeJob, authz.DeleteMergeJob:
		_, err = c.DB.Job(ctx, nowhere, store.JobMerge, id)
	case authz.GetDeployment, authz.DeleteDeployment, authz.UpdateDeployment, authz.ScaleDeployment, authz.UndeleteDeployment:
		_, err = c.DB.Deployment(ctx, nowhere, id)
	case authz.GetDeployedModel, authz.DeleteDeployedModel, authz.UpdateDeployedModel:
		_, err = c.DB.DeployedModel(ctx, nowhere, id)
	case authz.GetConnection, authz.DeleteConnection:
		_, err = c.DB.Connection(ctx, nowhere, id)
	case authz.GetUser, authz.UpdateUser:
		_, err = c.DB.User(ctx, nowhere, id)
	case authz.GetSecret, authz.UpdateSecret, authz.DeleteSecret:
		_, err = c.DB.Secret(ctx, nowhere, id)
	case authz.GetRole, authz.DeleteRole:
		_, err = c.DB.Role(ctx, nowhere, id)
	case authz.GetProvider, authz.DeleteProvider:
		_, err = c.DB.IdentityProvider(ctx, nowhere, id)
	default:
		_, err = c.DB.Account(ctx, nowhere)
	}
	if rft.KindOf(err) == rft.KindNotFound {
		return nil
	}
	return err // the database failed: say so, for every name alike
}
