package control

import (
	"context"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// approvalLife is how long an export waits for approval.
const approvalLife = 7 * 24 * time.Hour

// ExportModel queues the export of a model to a prefix of a bucket or to an OCI
// registry, or a request for it where the account's policy wants another
// principal's approval. What the policy refuses is audited.
func (c *Control) ExportModel(ctx context.Context, who Caller, account, id, destination string) (*api.Operation, error) {
	name := modelName(account, id)
	if err := c.allow(ctx, who, authz.ExportModel, account, name); err != nil {
		return nil, err
	}
	if destination == "" {
		return nil, rft.FieldErrorf("destination", "destination: is required: a prefix such as s3://bucket/models/m1/, or oci://HOST/REPOSITORY:TAG")
	}
	if !provenance.IsOCI(destination) {
		if err := c.Files.check("destination", destination); err != nil {
			return nil, err
		}
	}
	_, m, spec, err := c.Jobs.PrepareExport(ctx, account, name, destination, who.Name)
	if err != nil {
		return nil, err
	}
	act := who.act("ExportModel", name, "destination", spec.URL, "digest", m.Digest)
	policy, err := c.mayLeave(ctx, account, m, spec)
	if err != nil {
		if e := c.DB.Record(ctx, act, err); e != nil {
			return nil, e
		}
		return nil, err
	}
	if policy.RequireApproval {
		act.Method = "RequestExport"
		r, err := c.DB.CreateExportRequest(ctx, store.ExportRequest{Account: account, Model: m.Name(), ModelUID: m.UID, ModelDigest: m.Digest,
			Destination: spec.URL, RequestedBy: principal(who)}, approvalLife, act)
		if err != nil {
			return nil, err
		}
		return c.requestOperation(r), nil
	}
	j, err := c.Jobs.Export(ctx, account, name, destination, who.Name, act)
	if err != nil {
		return nil, err
	}
	return wireOperation(j), nil
}

// mayLeave asks the policy all that can be asked before an approval.
func (c *Control) mayLeave(ctx context.Context, account string, m store.Model, spec catalog.ExportSpec) (provenance.Policy, error) {
	policy, err := c.Catalog.Policy(ctx, account)
	if err != nil {
		return policy, err
	}
	if err := policy.AllowDestination(spec.URL); err != nil {
		return policy, err
	}
	signed, err := c.Catalog.Attestation(ctx, m)
	if err != nil {
		return policy, rft.Wrap(rft.KindOf(err), err, "%s is not exported: %s", m.Name(), rft.PublicMessage(err))
	}
	return policy, policy.AllowResults(signed.Record)
}

// principal is who a caller is for the rule of two: the user, whatever key or
// name it comes with.
func principal(who Caller) string {
	if who.User != "" {
		return who.User
	}
	return who.Name
}

// ListExportRequests lists export requests.
func (c *Control) ListExportRequests(ctx context.Context, who Caller, account string, q ListQuery) (*api.ExportRequestList, error) {
	if err := c.allow(ctx, who, authz.ListExportRequests, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	scope := "exportRequests/" + account
	o, err := q.options(scope, "")
	if err != nil {
		return nil, err
	}
	p, err := c.DB.ListExportRequests(ctx, account, o)
	if err != nil {
		return nil, err
	}
	return &api.ExportRequestList{Requests: items(p.Items, c.wireRequest), Page: q.page(scope, p.Next, p.Total)}, nil
}

// GetExportRequest returns an export request.
func (c *Control) GetExportRequest(ctx context.Context, who Caller, account, id string) (*api.ExportRequest, error) {
	if err := c.allow(ctx, who, authz.GetExportRequest, account, requestName(account, id)); err != nil {
		return nil, err
	}
	r, err := c.DB.ExportRequest(ctx, account, id)
	if err != nil {
		return nil, err
	}
	w := c.wireRequest(r)
	return &w, nil
}

// ApproveExport queues an export that another principal asked for.
func (c *Control) ApproveExport(ctx context.Context, who Caller, account, id string) (*api.ExportRequest, error) {
	name := requestName(account, id)
	if err := c.allow(ctx, who, authz.DecideExport, account, name); err != nil {
		return nil, err
	}
	r, err := c.DB.ExportRequest(ctx, account, id)
	if err != nil {
		return nil, err
	}
	j, m, spec, err := c.Jobs.PrepareExport(ctx, account, r.Model, r.Destination, r.RequestedBy)
	if err != nil {
		return nil, err
	}
	if m.UID != r.ModelUID || m.Digest != r.ModelDigest {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "%s is not the version any more that the request named; ask for the export again", r.Model)
	}
	j.ID = r.ID
	spec.Approval = r.ID
	if j.Spec, err = spec.JSON(); err != nil {
		return nil, err
	}
	act := who.act("ApproveExport", name, "model", r.Model, "digest", r.ModelDigest, "destination", r.Destination, "requestedBy", r.RequestedBy)
	return c.decide(ctx, who, account, id, "", &j, act)
}

// RejectExport ends an export request. Who asked may take it back.
func (c *Control) RejectExport(ctx context.Context, who Caller, account, id, reason string) (*api.ExportRequest, error) {
	name := requestName(account, id)
	if err := c.allow(ctx, who, authz.DecideExport, account, name); err != nil {
		return nil, err
	}
	if len(reason) > 500 {
		return nil, rft.FieldErrorf("reason", "reason: is longer than 500 bytes")
	}
	return c.decide(ctx, who, account, id, reason, nil, who.act("RejectExport", name))
}

func (c *Control) decide(ctx context.Context, who Caller, account, id, reason string, j *store.Job, act store.Act) (*api.ExportRequest, error) {
	r, err := c.DB.DecideExport(ctx, account, id, principal(who), reason, j, act)
	if err != nil {
		if rft.KindOf(err) == rft.KindPermissionDenied {
			if e := c.DB.Record(ctx, act, err); e != nil {
				return nil, e
			}
		}
		return nil, err
	}
	w := c.wireRequest(r)
	return &w, nil
}

func requestName(account, id string) string {
	return rft.AccountName(account) + "/exportRequests/" + id
}

func (c *Control) wireRequest(r store.ExportRequest) api.ExportRequest {
	return api.ExportRequest{Name: requestName(r.Account, r.ID), Model: r.Model, Digest: r.ModelDigest, Destination: r.Destination, State: r.Now(c.DB.Now()),
		RequestedBy: r.RequestedBy, DecidedBy: r.DecidedBy, Reason: r.Reason, CreateTime: api.At(r.Created), ExpireTime: api.At(r.Expires), DecideTime: api.At(r.Decided)}
}

// requestOperation is the operation of an export that has no job yet.
func (c *Control) requestOperation(r store.ExportRequest) *api.Operation {
	state := r.Now(c.DB.Now())
	o := &api.Operation{Name: rft.AccountName(r.Account) + "/operations/" + r.ID,
		Metadata: &api.OperationState{Kind: string(store.JobExport), Target: r.Destination, State: state}}
	switch state {
	case store.ExportRejected:
		o.Done, o.Error = true, &api.Status{Code: string(rft.KindPermissionDenied), Message: "the export was rejected by " + r.DecidedBy}
	case store.ExportExpired:
		o.Done, o.Error = true, &api.Status{Code: string(rft.KindFailedPrecondition), Message: "nobody approved the export in time"}
	}
	return o
}
