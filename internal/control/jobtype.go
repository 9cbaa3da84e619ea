package control

import (
	"context"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// jobType is a collection of jobs: its kind, what the wire and the audit
// log call it, and the actions of its operations.
type jobType struct {
	kind       store.JobKind
	collection rft.Collection
	noun       string

	list, get, create, cancel, remove, resume, metrics, events authz.Action
}

var (
	reinforcement = jobType{store.JobStep, rft.Steps, "RlorTrainerJob",
		authz.ListSteps, authz.GetStep, authz.CreateStep, authz.CancelStep, authz.DeleteStep, authz.ResumeStep, authz.StepMetrics, authz.StepEvents}
	supervised = jobType{store.JobSFT, rft.SFTJobs, "SupervisedFineTuningJob",
		authz.ListSFTJobs, authz.GetSFTJob, authz.CreateSFTJob, authz.CancelSFTJob, authz.DeleteSFTJob, authz.ResumeSFTJob, authz.SFTJobMetrics, authz.SFTJobEvents}
	preference = jobType{store.JobDPO, rft.DPOJobs, "DpoJob",
		authz.ListDPOJobs, authz.GetDPOJob, authz.CreateDPOJob, authz.CancelDPOJob, authz.DeleteDPOJob, authz.ResumeDPOJob, authz.DPOJobMetrics, authz.DPOJobEvents}
)

func (t jobType) name(account, id string) string {
	return rft.Name{Account: account, Collection: t.collection, ID: id}.String()
}

// typeOf is the type of jobs of a kind.
func typeOf(kind store.JobKind) (jobType, error) {
	for _, t := range []jobType{reinforcement, supervised, preference, batches, merges} {
		if t.kind == kind {
			return t, nil
		}
	}
	return jobType{}, rft.Errorf(rft.KindInternal, "jobs of kind %q have no operations", kind)
}

// trainingType is the type of the jobs of a collection, all of which train.
func trainingType(of rft.Collection) (jobType, error) {
	for _, t := range []jobType{reinforcement, supervised, preference} {
		if t.collection == of {
			return t, nil
		}
	}
	return jobType{}, rft.Errorf(rft.KindInternal, "%s are no jobs that train", of)
}

// jobNoun is what the audit log calls jobs of a kind.
func jobNoun(kind store.JobKind) string {
	t, err := typeOf(kind)
	if err != nil {
		return "Job"
	}
	return t.noun
}

// page lists the jobs of a type.
func (c *Control) page(ctx context.Context, who Caller, t jobType, account string, q ListQuery) (p store.Page[store.Job], page api.Page, err error) {
	if err := c.allow(ctx, who, t.list, account, rft.AccountName(account)); err != nil {
		return p, page, err
	}
	scope := string(t.collection) + "/" + account
	o, err := q.options(scope, "")
	if err != nil {
		return p, page, err
	}
	if p, err = c.DB.ListJobs(ctx, account, t.kind, o); err != nil {
		return p, page, err
	}
	return p, q.page(scope, p.Next, p.Total), nil
}

// one returns a job.
func (c *Control) one(ctx context.Context, who Caller, t jobType, account, id string) (store.Job, error) {
	if err := c.allow(ctx, who, t.get, account, t.name(account, id)); err != nil {
		return store.Job{}, err
	}
	return c.DB.Job(ctx, account, t.kind, id)
}

// submit checks what is common to the requests for jobs and queues one. wrong is
// what else is wrong with the request; nobody hears of it who may not create jobs.
func (c *Control) submit(ctx context.Context, who Caller, t jobType, account, id string, r *api.RlorTrainerJob, wrong error) (store.Job, error) {
	res := stepResource(account, r)
	if err := c.authorize(ctx, who, t.create, res); err != nil {
		return store.Job{}, err
	}
	if wrong != nil {
		return store.Job{}, wrong
	}
	if err := c.refuseStep(r); err != nil {
		return store.Job{}, err
	}
	if err := c.checkQuotas(ctx, who); err != nil {
		return store.Job{}, err
	}
	req, err := c.stepRequest(ctx, account, r)
	if err != nil {
		return store.Job{}, err
	}
	if id != "" {
		if err := rft.CheckID(idField(t.kind), id); err != nil {
			return store.Job{}, err
		}
	}
	req.Kind, req.ID, req.CreatedBy = t.kind, id, who.Name
	req.May = func(models []string) error {
		res.Refs = append(res.Refs, models...)
		return c.authorize(ctx, who, t.create, res)
	}
	return c.Jobs.CreateStep(ctx, req, who.act("Create"+t.noun, t.name(account, orElse(id, "-")), "dataset", r.Dataset, "outputModel", req.OutputModel))
}

// resume takes a job up again.
func (c *Control) resume(ctx context.Context, who Caller, t jobType, account, id string, discard bool) (store.Job, error) {
	name, err := c.mayChange(ctx, who, t, t.resume, account, id)
	if err != nil {
		return store.Job{}, err
	}
	if err := c.checkQuotas(ctx, who); err != nil {
		return store.Job{}, err
	}
	return c.Jobs.Resume(ctx, account, t.kind, id, discard, who.act("Resume"+t.noun, name))
}

// cancel asks a job to end.
func (c *Control) cancel(ctx context.Context, who Caller, t jobType, account, id string) error {
	name, err := c.mayChange(ctx, who, t, t.cancel, account, id)
	if err != nil {
		return err
	}
	_, err = c.Jobs.Cancel(ctx, account, t.kind, id, who.act("Cancel"+t.noun, name))
	return err
}

// remove deletes the record of a job; what it made stays.
func (c *Control) remove(ctx context.Context, who Caller, t jobType, account, id string) error {
	name, err := c.mayChange(ctx, who, t, t.remove, account, id)
	if err != nil {
		return err
	}
	return c.Jobs.Delete(ctx, account, t.kind, id, who.act("Delete"+t.noun, name))
}

// mayChange authorises what some roles may do to their own jobs only.
func (c *Control) mayChange(ctx context.Context, who Caller, t jobType, action authz.Action, account, id string) (name string, err error) {
	owner, err := c.jobOwner(ctx, who, account, t.kind, id)
	if err != nil {
		return "", err
	}
	name = t.name(account, id)
	return name, c.allowOwned(ctx, who, action, account, name, owner)
}

// jobOwner is who created a job; nothing is read of another account.
func (c *Control) jobOwner(ctx context.Context, who Caller, account string, kind store.JobKind, id string) (string, error) {
	if account != who.Account {
		return "", nil
	}
	j, err := c.DB.Job(ctx, account, kind, id)
	if err != nil && rft.KindOf(err) != rft.KindNotFound {
		return "", err
	}
	return j.CreatedBy, nil
}
