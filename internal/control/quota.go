package control

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
)

// Admit takes a request from the rate of the caller's account. The skins ask
// before they do anything else for a caller whom they know.
func (c *Control) Admit(who Caller) error {
	after, ok := c.Keys.Admit(who.Principal, time.Now())
	if ok {
		return nil
	}
	return rft.Wrap(rft.KindResourceExhausted, &serving.Busy{After: after}, "the account makes more than %d requests per second; try again in a moment", who.Limits.RequestsPerSecond)
}

// Room is what is left of that rate, as authz.Keys.Room says it.
func (c *Control) Room(who Caller) (limit, left int64, full time.Duration, ok bool) {
	return c.Keys.Room(who.Principal)
}

// retryQuota is when to look again after a quota refused: jobs end in minutes.
const retryQuota = 30 * time.Second

func full(what string, limit int64) error {
	return rft.Wrap(rft.KindResourceExhausted, &serving.Busy{After: retryQuota}, "the account's quota %s of %d is used up; `firekeep quota list` shows it", what, limit)
}

// room is what the caller's account may store. The transaction that stores asks it,
// so that two at the same instant do not both get the last of it.
func room(who Caller) store.Room {
	return store.Room{Account: who.Account, Limit: who.Limits.StorageBytes}
}

// quoted names the quota behind a refusal for want of room.
func quoted(who Caller, err error) error {
	if errors.Is(err, store.ErrNoRoom) {
		return full(authz.QuotaStorage, who.Limits.StorageBytes)
	}
	return err
}

// checkQuotas refuses what would add to a full account, before any work. What stores
// something asks for its room again as it does; two requests for jobs at the same
// instant may both find the last place.
func (c *Control) checkQuotas(ctx context.Context, who Caller) error {
	l := who.Limits
	if l.QueuedJobs == 0 && l.StorageBytes == 0 {
		return nil
	}
	u, err := c.DB.AccountUsage(ctx, who.Account)
	if err != nil {
		return err
	}
	switch {
	case l.QueuedJobs > 0 && u.Queued >= l.QueuedJobs:
		return full(authz.QuotaJobs, l.QueuedJobs)
	case l.StorageBytes > 0 && u.Bytes >= l.StorageBytes:
		return full(authz.QuotaStorage, l.StorageBytes)
	}
	return nil
}

// checkStorage refuses what would add to a full store.
func (c *Control) checkStorage(ctx context.Context, who Caller) error {
	limit := who.Limits.StorageBytes
	if limit == 0 {
		return nil
	}
	u, err := c.DB.AccountUsage(ctx, who.Account)
	if err == nil && u.Bytes >= limit {
		err = full(authz.QuotaStorage, limit)
	}
	return err
}

// ListQuotas lists the limits of an account with what is used of them.
func (c *Control) ListQuotas(ctx context.Context, who Caller, account string) (*api.QuotaList, error) {
	if err := c.allow(ctx, who, authz.ListQuotas, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	out := &api.QuotaList{Quotas: []api.Quota{}}
	for _, id := range authz.Quotas() {
		q, err := c.quota(ctx, account, id)
		if err != nil {
			return nil, err
		}
		out.Quotas = append(out.Quotas, q)
	}
	out.TotalSize = len(out.Quotas)
	return out, nil
}

// GetQuota returns one limit.
func (c *Control) GetQuota(ctx context.Context, who Caller, account, id string) (*api.Quota, error) {
	if err := c.allow(ctx, who, authz.GetQuota, account, quotaName(account, id)); err != nil {
		return nil, err
	}
	q, err := c.quota(ctx, account, id)
	return &q, err
}

func (c *Control) quota(ctx context.Context, account, id string) (api.Quota, error) {
	if !slices.Contains(authz.Quotas(), id) {
		return api.Quota{}, authz.NotFound(quotaName(account, id))
	}
	a, err := c.DB.Account(ctx, account)
	if err != nil {
		return api.Quota{}, err
	}
	u, err := c.DB.AccountUsage(ctx, account)
	if err != nil {
		return api.Quota{}, err
	}
	q := api.Quota{Name: quotaName(account, id), Value: api.Int64(c.Keys.LimitsOf(a).Of(id)), MaxValue: api.Int64(a.Quotas[id].Max), UpdateTime: api.At(a.Updated)}
	switch id {
	case authz.QuotaJobs:
		q.Usage = float64(u.Queued)
	case authz.QuotaSteps:
		q.Usage = float64(u.Running)
	case authz.QuotaStorage:
		q.Usage = float64(u.Bytes)
	}
	return q, nil
}

// UpdateQuota changes a limit: the account's admins choose its value, the
// operator the ceiling as well.
func (c *Control) UpdateQuota(ctx context.Context, who Caller, account, id string, q *api.Quota) (*api.Quota, error) {
	name, action := quotaName(account, id), authz.UpdateQuota
	if q.MaxValue != 0 {
		action = authz.RaiseQuota
	}
	if err := c.allow(ctx, who, action, account, name); err != nil {
		return nil, err
	}
	old, err := c.quota(ctx, account, id)
	if err != nil {
		return nil, err
	}
	ceiling := max(q.MaxValue, 0)
	if ceiling == 0 {
		ceiling = old.MaxValue
	}
	switch {
	case q.Value < 0 || q.MaxValue < -1:
		return nil, rft.FieldErrorf("value", "value: must not be negative; a maxValue of -1 takes the ceiling away")
	case ceiling > 0 && q.Value > ceiling:
		return nil, rft.FieldErrorf("value", "value: %d is more than the ceiling of %d that the operator set", q.Value, ceiling)
	}
	change := func(set store.Quota) store.Quota {
		if q.Value > 0 || q.MaxValue == 0 { // a ceiling alone leaves the value
			set.Value = int64(q.Value)
		}
		switch {
		case q.MaxValue > 0:
			set.Max = int64(q.MaxValue)
		case q.MaxValue < 0:
			set.Max = 0
		}
		return set
	}
	act := who.act("UpdateQuota", name, "value", itoa(int64(q.Value)), "maxValue", itoa(int64(q.MaxValue)))
	act.Account = account
	if _, err := c.DB.SetQuota(ctx, account, id, change, act); err != nil {
		return nil, err
	}
	now, err := c.quota(ctx, account, id)
	return &now, err
}

func quotaName(account, id string) string {
	return rft.Name{Account: account, Collection: "quotas", ID: clip(id, 63)}.String()
}
