package control

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Bounds and defaults of scaling, from the contract.
const (
	maxReplicas    = 1000
	minScaleToZero = 5 * time.Minute
	scaleToZero    = time.Hour
)

// deploymentUses remembers when deployments were last asked. It starts empty: what
// nobody asked since the server began counts as used then.
type deploymentUses struct {
	mu    sync.Mutex
	since time.Time
	last  map[string]time.Time // uid -> last request
}

func (u *deploymentUses) touch(uid string, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last == nil {
		u.last = map[string]time.Time{}
	}
	u.last[uid] = now
}

func (u *deploymentUses) of(uid string, now time.Time) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.since.IsZero() {
		u.since = now
	}
	if at := u.last[uid]; at.After(u.since) {
		return at
	}
	return u.since
}

// ScaleDeployment sets how many replicas a deployment has: on one host that is
// one engine or none. At zero the engine ends; the next request starts it again.
func (c *Control) ScaleDeployment(ctx context.Context, who Caller, account, id string, replicas int) error {
	name := deploymentName(account, id)
	if err := c.allow(ctx, who, authz.ScaleDeployment, account, name); err != nil {
		return err
	}
	if replicas < 0 || replicas > maxReplicas {
		return rft.FieldErrorf("replicaCount", "replicaCount: want 0 to %d", maxReplicas)
	}
	return c.scale(ctx, account, id, replicas, who.act("ScaleDeployment", name))
}

func (c *Control) scale(ctx context.Context, account, id string, replicas int, act store.Act) error {
	d, err := c.DB.UpdateDeployment(ctx, account, id, act, func(row *store.Deployment) error {
		row.Replicas = replicas
		return nil
	})
	if err != nil || replicas > 0 {
		c.uses.touch(d.UID, c.now())
		return err
	}
	return c.stopEngine(ctx, d)
}

// stopEngine ends the engine of a deployment unless another one needs it.
func (c *Control) stopEngine(ctx context.Context, d store.Deployment) error {
	if c.Router == nil {
		return nil
	}
	base, err := c.baseOf(ctx, d)
	if err != nil {
		return err
	}
	needed := false
	err = pages(func(o store.ListOptions) (store.Page[store.Deployment], error) {
		return c.DB.ListDeployments(ctx, d.Account, o)
	}, func(other store.Deployment) error {
		on, err := c.baseOf(ctx, other)
		needed = needed || (err == nil && other.UID != d.UID && other.Replicas > 0 && on == base)
		return nil
	})
	if err == nil && !needed {
		c.Router.Stop(d.Account, base)
	}
	return err
}

// baseOf is the base that a deployment's engine maps: its model, or the model's own.
func (c *Control) baseOf(ctx context.Context, d store.Deployment) (string, error) {
	m, err := c.Catalog.Model(ctx, d.Account, "baseModel", d.BaseModel)
	if err != nil || m.Kind == store.KindBase {
		return m.Name(), err
	}
	return m.BaseModel, nil
}

// used notes a request for a deployment, and scales it up again from zero.
func (c *Control) used(ctx context.Context, d store.Deployment) error {
	c.uses.touch(d.UID, c.now())
	if d.Replicas > 0 {
		return nil
	}
	act := store.Act{Account: d.Account, Actor: "firekeep", Method: "ScaleDeployment", Resource: d.Name(), Detail: map[string]string{"replicas": "1", "reason": "request"}}
	_, err := c.DB.UpdateDeployment(ctx, d.Account, d.ID, act, func(row *store.Deployment) error {
		row.Replicas = max(row.Replicas, 1)
		return nil
	})
	return err
}

// zeroEvery is how often deployments are looked at that nobody uses.
const zeroEvery = time.Minute

// KeepDeployments scales deployments to zero that nobody asked for as long as
// their policy says, until ctx ends. tick wakes it, nil = every minute.
func (c *Control) KeepDeployments(ctx context.Context, tick <-chan time.Time) {
	if tick == nil {
		t := time.NewTicker(zeroEvery)
		defer t.Stop()
		tick = t.C
	}
	for {
		if err := c.scaleIdle(ctx); err != nil && ctx.Err() == nil {
			c.Log.WarnContext(ctx, "idle deployments were not scaled to zero", slog.String("message", rft.PublicMessage(err)), slog.Any("cause", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
	}
}

// scaleIdle is one round over all accounts.
func (c *Control) scaleIdle(ctx context.Context) error {
	now := c.now()
	return pages(func(o store.ListOptions) (store.Page[store.Account], error) {
		return c.DB.ListAccounts(ctx, o)
	}, func(a store.Account) error {
		return pages(func(o store.ListOptions) (store.Page[store.Deployment], error) {
			return c.DB.ListDeployments(ctx, a.ID, o)
		}, func(d store.Deployment) error {
			if d.MinReplicas > 0 || d.Replicas == 0 || now.Sub(c.uses.of(d.UID, now)) < zeroWindow(d) {
				return nil
			}
			act := store.Act{Account: d.Account, Actor: "firekeep", Method: "ScaleDeployment", Resource: d.Name(), Detail: map[string]string{"replicas": "0", "reason": "idle"}}
			return c.scale(ctx, d.Account, d.ID, 0, act)
		})
	})
}

// zeroWindow is how long nobody may ask before a deployment goes to zero.
func zeroWindow(d store.Deployment) time.Duration {
	var w api.Deployment
	if json.Unmarshal(d.Config, &w) == nil && w.AutoscalingPolicy != nil && w.AutoscalingPolicy.ScaleToZeroWindow != nil {
		return time.Duration(*w.AutoscalingPolicy.ScaleToZeroWindow)
	}
	return scaleToZero
}
