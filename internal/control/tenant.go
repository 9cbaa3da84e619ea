package control

import (
	"context"
	"slices"
	"strconv"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// The operations on tenants belong to the operator's credential: no key of a
// tenant reaches them, and the operator's reaches nothing inside a tenant.

// CreateAccount makes a tenant with its first admin and that admin's key, which
// is shown in the answer and never again.
func (c *Control) CreateAccount(ctx context.Context, who Caller, id string, a *api.Account) (*api.NewAccount, error) {
	if err := c.allow(ctx, who, authz.CreateAccount, id, rft.AccountName(id)); err != nil {
		return nil, err
	}
	if id == "" {
		return nil, rft.FieldErrorf("accountId", "accountId: is required")
	}
	if err := rft.CheckID("accountId", id); err != nil {
		return nil, err
	}
	if err := checkDisplayName(a.DisplayName); err != nil {
		return nil, err
	}
	if err := checkEmail(a.Email); err != nil {
		return nil, err
	}
	act := who.act("CreateAccount", rft.AccountName(id))
	act.Account = id
	made, err := c.DB.CreateAccount(ctx, store.Account{ID: id, DisplayName: a.DisplayName, Email: a.Email}, act)
	if err != nil {
		return nil, err
	}
	admin := store.User{Account: id, ID: firstUser, DisplayName: "Administrator", Email: a.Email, Role: string(authz.Admin)}
	act.Method, act.Resource = "CreateUser", userName(id, firstUser)
	u, err := c.DB.CreateUser(ctx, admin, act)
	if err != nil {
		return nil, err
	}
	k := seal.NewAPIKey()
	row := authz.KeyRow(k, id, firstUser, "first key", c.now().Add(defaultKeyLife))
	row.CreatedBy = who.Name
	act.Method, act.Resource = "CreateApiKey", userName(id, firstUser)+"/apiKeys/"+k.ID
	saved, err := c.DB.CreateAPIKey(ctx, row, act)
	if err != nil {
		return nil, err
	}
	w := wireKey(saved, u)
	w.Key = k.Text.Reveal() // the one time it is shown
	return &api.NewAccount{Account: wireAccount(made), APIKey: w}, nil
}

// firstUser is the admin that an account begins with.
const firstUser = "admin"

// SuspendAccount refuses an account's keys from the next request on; its queued
// jobs wait, its running jobs end by themselves.
func (c *Control) SuspendAccount(ctx context.Context, who Caller, id string) (*api.Account, error) {
	return c.setAccountState(ctx, who, id, store.AccountSuspended, "SuspendAccount")
}

// ResumeAccount lets a suspended account go on.
func (c *Control) ResumeAccount(ctx context.Context, who Caller, id string) (*api.Account, error) {
	return c.setAccountState(ctx, who, id, store.AccountActive, "ResumeAccount")
}

func (c *Control) setAccountState(ctx context.Context, who Caller, id, state, method string) (*api.Account, error) {
	name := rft.AccountName(id)
	if err := c.allow(ctx, who, authz.SuspendAccount, id, name); err != nil {
		return nil, err
	}
	if err := c.notOwnAccount(id); err != nil {
		return nil, err
	}
	act := who.act(method, name)
	act.Account = id
	a, err := c.DB.SetAccountState(ctx, id, state, act)
	if err != nil {
		return nil, err
	}
	w := wireAccount(a)
	return &w, nil
}

// notOwnAccount keeps the server's own accounts: without them it has no models
// and no way in.
func (c *Control) notOwnAccount(id string) error {
	if id == rft.OperatorAccount || id == c.Keys.Operator {
		return rft.Errorf(rft.KindFailedPrecondition, "%s belongs to the server itself", rft.AccountName(id))
	}
	return nil
}

// DeleteAccount ends a tenant for good: its keys, roles and identities go, its
// jobs are cancelled, its models, datasets and connections are deleted, and the
// key that everything was sealed under is shredded, so that what a backup still
// holds cannot be opened either. The name is not given to anybody again.
//
// It may be repeated: jobs need a moment to end, and until they have it answers
// ABORTED.
func (c *Control) DeleteAccount(ctx context.Context, who Caller, id string) error {
	name := rft.AccountName(id)
	if err := c.allow(ctx, who, authz.DeleteAccount, id, name); err != nil {
		return err
	}
	if err := c.notOwnAccount(id); err != nil {
		return err
	}
	act := who.act("DeleteAccount", name)
	act.Account = id
	if _, err := c.DB.SetAccountState(ctx, id, store.AccountSuspended, act); err != nil {
		return err
	}
	if err := c.endJobs(ctx, id, act); err != nil {
		return err
	}
	if err := c.removeResources(ctx, id, act); err != nil {
		return err
	}
	if c.Shred != nil {
		if err := c.Shred(ctx, id, act); err != nil {
			return err
		}
	}
	return c.DB.DisbandAccount(ctx, id, act)
}

// endJobs cancels the jobs of an account; ABORTED while some have not ended.
func (c *Control) endJobs(ctx context.Context, account string, act store.Act) error {
	waiting := 0
	for _, kind := range append(slices.Clone(store.TrainingKinds), store.JobValidation, store.JobImport, store.JobExport, store.JobProbe, store.JobBatch, store.JobMerge) {
		err := pages(func(o store.ListOptions) (store.Page[store.Job], error) { return c.DB.ListJobs(ctx, account, kind, o) }, func(j store.Job) error {
			if j.State.Terminal() {
				return nil
			}
			act.Method, act.Resource = "CancelJob", j.Name()
			j, err := c.Jobs.Cancel(ctx, account, kind, j.ID, act)
			if err == nil && !j.State.Terminal() {
				waiting++
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if waiting > 0 {
		return rft.Errorf(rft.KindAborted, "%d jobs of %s are still ending; repeat the deletion in a moment", waiting, rft.AccountName(account))
	}
	return nil
}

// removeResources deletes what an account holds, in the order of dependence.
func (c *Control) removeResources(ctx context.Context, account string, act store.Act) error {
	one := func(method, name string, remove func(store.Act) error) error {
		act.Method, act.Resource = method, name
		err := remove(act)
		if rft.KindOf(err) == rft.KindNotFound {
			return nil // a repetition
		}
		return err
	}
	err := pages(func(o store.ListOptions) (store.Page[store.Deployment], error) {
		return c.DB.ListDeployments(ctx, account, o)
	}, func(d store.Deployment) error {
		return one("DeleteDeployment", d.Name(), func(a store.Act) error { return c.DB.DeleteDeployment(ctx, account, d.ID, true, a) })
	})
	if err != nil {
		return err
	}
	for _, kind := range []store.JobKind{store.JobStep, store.JobSFT, store.JobDPO, store.JobBatch, store.JobMerge} { // steps of trainers go with them
		err = pages(func(o store.ListOptions) (store.Page[store.Job], error) {
			return c.DB.ListJobs(ctx, account, kind, o)
		}, func(j store.Job) error {
			return one("Delete"+jobNoun(kind), j.Name(), func(a store.Act) error { return c.Jobs.Delete(ctx, account, kind, j.ID, a) })
		})
		if err != nil {
			return err
		}
	}
	// Adapters go before the bases that they stand on.
	for _, kind := range []string{store.KindAdapter, store.KindBase} {
		err = pages(func(o store.ListOptions) (store.Page[store.Model], error) {
			o.Filter = []store.Term{{Field: "kind", Op: "=", Value: kind}}
			return c.DB.ListModels(ctx, account, o)
		}, func(m store.Model) error {
			return one("DeleteModel", m.Name(), func(a store.Act) error { return c.Catalog.DeleteModel(ctx, account, m.ID, a) })
		})
		if err != nil {
			return err
		}
	}
	err = pages(func(o store.ListOptions) (store.Page[store.Dataset], error) {
		return c.DB.ListDatasets(ctx, account, o)
	}, func(d store.Dataset) error {
		return one("DeleteDataset", d.Name(), func(a store.Act) error { return c.Catalog.DeleteDataset(ctx, account, d.ID, a) })
	})
	if err != nil {
		return err
	}
	return pages(func(o store.ListOptions) (store.Page[store.Connection], error) {
		return c.DB.ListConnections(ctx, account, o)
	}, func(x store.Connection) error {
		return one("DeleteConnection", connectionName(account, x.ID), func(a store.Act) error { return c.DB.DeleteConnection(ctx, account, x.ID, a) })
	})
}

// pages calls do for every row of a list. Rows that do removes do not disturb
// it: the cursor is a value, not a count.
func pages[T any](list func(store.ListOptions) (store.Page[T], error), do func(T) error) error {
	for o := (store.ListOptions{Limit: 200}); ; {
		p, err := list(o)
		if err != nil {
			return err
		}
		for _, item := range p.Items {
			if err := do(item); err != nil {
				return err
			}
		}
		if o.After = p.Next; o.After == "" {
			return nil
		}
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
