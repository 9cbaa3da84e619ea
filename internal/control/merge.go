package control

import (
	"context"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// merges is the collection of merges of a LoRA into its base. Deleting one that
// goes on ends it.
var merges = jobType{kind: store.JobMerge, collection: rft.MergeJobs, noun: "PeftMergeJob",
	list: authz.ListMergeJobs, get: authz.GetMergeJob, create: authz.CreateMergeJob, remove: authz.DeleteMergeJob}

// ListMergeJobs lists merges.
func (c *Control) ListMergeJobs(ctx context.Context, who Caller, account string, q ListQuery) (*api.PeftMergeJobList, error) {
	p, page, err := c.page(ctx, who, merges, account, q)
	if err != nil {
		return nil, err
	}
	return &api.PeftMergeJobList{Jobs: items(p.Items, wireMerge), Page: page}, nil
}

// GetMergeJob returns a merge.
func (c *Control) GetMergeJob(ctx context.Context, who Caller, account, id string) (*api.PeftMergeJob, error) {
	return shown(wireMerge)(c.one(ctx, who, merges, account, id))
}

// DeleteMergeJob ends a merge and removes its record. The model of one that is
// COMPLETED stays.
func (c *Control) DeleteMergeJob(ctx context.Context, who Caller, account, id string) error {
	return c.remove(ctx, who, merges, account, id)
}

// CreateMergeJob queues the merge of a LoRA into its base.
func (c *Control) CreateMergeJob(ctx context.Context, who Caller, account string, r *api.PeftMergeJob) (*api.PeftMergeJob, error) {
	if err := c.authorize(ctx, who, merges.create, mergeResource(account, r)); err != nil {
		return nil, err
	}
	if err := checkDisplayName(r.DisplayName); err != nil {
		return nil, err
	}
	switch {
	case r.PeftModel == "":
		return nil, rft.FieldErrorf("peftModel", "peftModel: is required: the LoRA to merge into its base")
	case r.MergedModel == "":
		return nil, rft.FieldErrorf("mergedModel", "mergedModel: is required: the name of the model to make")
	}
	if err := c.checkQuotas(ctx, who); err != nil {
		return nil, err
	}
	q := job.MergeRequest{Account: account, DisplayName: r.DisplayName, CreatedBy: who.Name}
	output, err := rft.ParseOwn("mergedModel", r.MergedModel, account, rft.Models)
	if err != nil {
		return nil, err
	}
	q.Output = output.ID
	if q.Adapter, q.Base, err = c.mergeable(ctx, account, r.PeftModel); err != nil {
		return nil, err
	}
	if err := c.authorize(ctx, who, merges.create, mergeOf(q, output.String())); err != nil {
		return nil, err
	}
	q.Room = room(who)
	j, err := c.Jobs.CreateMerge(ctx, q, who.act("CreatePeftMergeJob", merges.name(account, "-"), "peftModel", q.Adapter.Name(), "mergedModel", output.String()))
	return shown(wireMerge)(j, quoted(who, err))
}

// mergeable finds a LoRA and its base. The result holds the base whole, so the
// account must be able to read that too.
func (c *Control) mergeable(ctx context.Context, account, ref string) (adapter, base store.Model, err error) {
	if adapter, err = c.model(ctx, "peftModel", ref, account); err != nil {
		return adapter, base, err
	}
	if adapter.Kind != store.KindAdapter {
		return adapter, base, rft.FieldErrorf("peftModel", "peftModel: %s is not a LoRA adapter; there is nothing to merge", adapter.Name())
	}
	base, err = c.Catalog.Standing(ctx, account, "peftModel", adapter.BaseModel, adapter.BaseUID)
	return adapter, base, err
}

// mergeResource is what policies can look at: the account, and what the merge
// reads and makes.
func mergeResource(account string, r *api.PeftMergeJob) authz.Resource {
	return touching(account, reference{r.PeftModel, rft.Models}, reference{r.MergedModel, rft.Models})
}

// mergeOf is what a merge really reads and makes, once that is known: the base, which
// no request names, and the LoRA where a bare id found a published one.
func mergeOf(q job.MergeRequest, output string) authz.Resource {
	return authz.Resource{Account: q.Account, Name: rft.AccountName(q.Account), Refs: []string{q.Adapter.Name(), q.Base.Name(), output}}
}

func wireMerge(j store.Job) api.PeftMergeJob {
	return api.PeftMergeJob{Name: j.Name(), DisplayName: j.DisplayName, CreateTime: api.At(j.Created), UpdateTime: api.At(j.Updated), CreatedBy: j.CreatedBy,
		State: string(j.State), Status: wireStatus(j.Status), PeftModel: j.WarmStart, MergedModel: j.OutputModel}
}
