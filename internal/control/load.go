package control

import (
	"context"

	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
)

// load brings an adapter into the child that will answer with it, which proves
// it there, and returns the status that says how. A base has nothing to be
// proven by: its engine starts with the first request.
func (c *Control) load(ctx context.Context, account string, m store.Model) (store.Status, error) {
	status := store.OK()
	if c.Router == nil || m.Kind != store.KindAdapter {
		return status, nil
	}
	t, err := targetOf(ctx, c.DB, account, m)
	if err != nil {
		return status, err
	}
	proof, err := c.Router.Warm(ctx, t)
	if err != nil {
		return status, c.keyed(ctx, account, err)
	}
	if proof == serving.Unrecorded {
		status.Message = "loaded without a proof: the checkpoint records no canary to compare log-probs with"
	}
	return status, nil
}

// AdapterLoads counts the loads of adapters since the start.
func (c *Control) AdapterLoads() serving.Loads {
	if c.Router == nil {
		return serving.Loads{}
	}
	return c.Router.Loads()
}
